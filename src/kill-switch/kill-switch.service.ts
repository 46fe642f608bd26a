import { Injectable, Logger } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { ID_BYTES, makeId } from '../core/ids.js'
import type { KillScope } from '../core/policy/stages/kill.js'
import { Problem } from '../core/problems.js'
import { actorOf } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { DEFAULT_LIMIT, type Listed } from '../platform/http/page.dto.js'
import { KillAftermathService } from './aftermath.service.js'
import { KillAtOnceService } from './at-once.service.js'
import type { ActivateKillSwitch, KillSwitch, ListKillSwitches } from './kill-switch.dto.js'
import * as queries from './kill-switch.queries.js'
import { isDrill, view } from './kill-switch.view.js'
import { targetOf } from './kill-target.js'
import { KillSwitchRecords } from './records.service.js'
import { stopping } from './stopping.js'

/** Patterns are tried one after the other on every request of the organization. */
const MAX_ACTIONS = 100

/**
 * Stops. A switch raises the version of its scope in the transaction that writes it and its entry, so no decision made
 * before it is committed after it, on any replica.
 */
@Injectable()
export class KillSwitchService {
  private readonly logger = new Logger(KillSwitchService.name)

  constructor(
    private readonly database: Database,
    private readonly records: KillSwitchRecords,
    private readonly at_once: KillAtOnceService,
    private readonly aftermath: KillAftermathService,
  ) {}

  /**
   * Activates a switch; one that is active already is answered as it is.
   * @throws Problem as `findTarget`; `conflict` when 100 action patterns are active
   */
  async activate(principal: Principal, body: ActivateKillSwitch): Promise<KillSwitch> {
    const { scope, target } = body
    const { kill, made } = await stopping(this.database, () => this.activateOnce(principal, body))
    const { kill_id } = kill
    if (made) {
      this.logger.warn({ kill_id, scope, target, by: actorOf(principal) }, 'a kill switch was activated')
      this.aftermath.follow({ ...kill, org_id: principal.org_id, target: targetOf(kill) }, principal)
    }
    // The installation's is written by the function that also dates it.
    return made && scope === 'installation'
      ? stopping(this.database, () => this.get(principal, kill_id))
      : view(kill)
  }

  private async activateOnce(
    principal: Principal,
    body: ActivateKillSwitch,
  ): Promise<{ kill: queries.KillRow; made: boolean }> {
    const { scope, target } = body
    const kill = await this.at_once.activate(principal, scope, target, this.fresh(principal, body))
    if (kill) return { kill, made: true }
    return this.database.withOrg(principal, (tx) => this.activateIn(tx, principal, body), {
      enters: scope !== 'installation', // by holding the target, which comes first
    })
  }

  private fresh(principal: Principal, { reason }: ActivateKillSwitch): queries.NewKill {
    return this.records.make(principal, makeId('kil_', randomBytes(ID_BYTES)), reason)
  }

  private async activateIn(
    tx: Tx,
    principal: Principal,
    body: ActivateKillSwitch,
  ): Promise<{ kill: queries.KillRow; made: boolean }> {
    const { scope, target } = body
    const kill = this.fresh(principal, body)
    let found = await this.records.hold(tx, principal, scope, target, kill)
    const { active } = found
    if (active && !isDrill(active)) return { kill: active, made: false }
    if (active) {
      // A drill ends what it activated, so whoever means it gets a switch of their own.
      const replaced = 'Replaced by a kill switch that is no drill'
      await this.records.end(tx, principal.org_id, principal, active, found.subject, replaced)
      found = await this.records.hold(tx, principal, scope, target, kill)
    }
    await this.assertFew(tx, principal, scope)
    return { kill: await this.records.start(tx, principal, found, scope, kill), made: true }
  }

  /** What is stopped, newest first; a team's administrator sees what stops agents of that team. */
  async list(
    principal: Principal,
    { include_ended, limit, offset }: ListKillSwitches,
  ): Promise<Listed<KillSwitch>> {
    const filter = { ...this.records.scopeOf(principal), include_ended: include_ended ?? false }
    return this.database.withOrg(principal, async (tx) => ({
      items: (await queries.selectKills(tx, filter, limit ?? DEFAULT_LIMIT, offset ?? 0)).map(view),
      total: await queries.countKills(tx, filter),
    }))
  }

  /** One kill switch. @throws Problem `kill_switch_not_found` */
  async get(principal: Principal, kill_id: string): Promise<KillSwitch> {
    return view(
      await this.database.withOrg(principal, (tx) => this.records.named(tx, principal, { kill_id })),
    )
  }

  private async assertFew(tx: Tx, { org_id }: Principal, scope: KillScope): Promise<void> {
    if (scope !== 'action') return
    const active = await queries.countKills(tx, { org_id, team: null, include_ended: false, scope })
    if (active > MAX_ACTIONS) {
      throw new Problem('conflict', {
        detail: `${MAX_ACTIONS} action patterns are stopped already; end some.`,
      })
    }
  }
}
