import { Injectable } from '@nestjs/common'
import type { KillScope } from '../core/policy/stages/kill.js'
import { LedgerService } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Database } from '../platform/database/database.service.js'
import * as queries from './kill-switch.queries.js'
import { assertReached, readTarget, targetOf } from './kill-target.js'
import { changeOf, startedRow } from './records.service.js'

/**
 * Stops in two round trips: one looks, without a lock, at what is to be stopped, and one writes the switch and its entry and
 * refuses both if that has changed. Nothing is held in between, so a process that is busy with other things holds up nobody.
 */
@Injectable()
export class KillAtOnceService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
  ) {}

  /**
   * Activates a switch.
   * @returns null, with nothing written, when it has to be done in a transaction: it is the installation's or an action's,
   * there is nothing of that name, a switch is active already, or something changed in between
   * @throws Problem as `readTarget` and `assertReached`
   */
  async activate(
    principal: Principal,
    scope: KillScope,
    target: string | undefined,
    kill: queries.NewKill,
  ): Promise<queries.KillRow | null> {
    const columns = readTarget(principal, scope, target)
    // Those are counted under the lock, and the installation is no organization's.
    if (scope === 'action' || scope === 'installation') return null
    const { org_id } = principal
    const stored = targetOf(columns)
    return this.database.withUrgentClient(async (client) => {
      const seen = await queries.seeTarget(client, org_id, scope, stored)
      if (!seen) return null
      const { subject } = seen
      const found = assertReached(principal, scope, columns, { is_there: true, subject })
      const row = startedRow(scope, found.columns, kill)
      const change = changeOf('activated', row, subject, kill.reason)
      const entry = await this.ledger.prepare(principal, change, seen)
      if (!(await queries.stopAtOnce(client, { org_id, scope, target: stored }, kill, entry))) return null
      this.database.patiently(() => this.ledger.tellRaised(org_id, subject?.agent_id ?? null))
      return row
    })
  }
}
