import { Injectable } from '@nestjs/common'
import type { Subject } from '../core/ledger/entry.js'
import type { KillScope } from '../core/policy/stages/kill.js'
import { actorOf, LedgerService, type SystemActor } from '../ledger/ledger.service.js'
import { type Principal, teamOf } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import type { Tx } from '../platform/database/database.service.js'
import type { DeactivateKillSwitch } from './kill-switch.dto.js'
import * as queries from './kill-switch.queries.js'
import { missing } from './kill-switch.view.js'
import {
  assertReached,
  type Found,
  readTarget,
  storedTarget,
  type TargetColumns,
  targetOf,
} from './kill-target.js'

/** Switches in the database, each change with its entry, in the caller's transaction. */
@Injectable()
export class KillSwitchRecords {
  constructor(
    private readonly ledger: LedgerService,
    private readonly clock: Clock,
  ) {}

  /**
   * What is to be stopped or let go on, held until the commit, and the switch that is active for it. Nobody else changes
   * switches of the organization meanwhile, or of the installation.
   * @param kill is written when nothing is active yet; `start` follows
   * @throws Problem as `readTarget` and `assertReached`
   */
  async hold(
    tx: Tx,
    principal: Principal,
    scope: KillScope,
    target: string | undefined,
    kill: queries.NewKill | null = null,
  ): Promise<Found & { readonly active: queries.KillRow | undefined }> {
    const columns = readTarget(principal, scope, target)
    if (scope === 'installation') {
      await this.ledger.lockInstallation(tx)
      return { columns, subject: undefined, active: await this.findActive(tx, principal) }
    }
    const held = await queries.holdTarget(tx, principal.org_id, scope, targetOf(columns), kill)
    return { ...assertReached(principal, scope, columns, held), active: held.active }
  }

  /** What of the organization the principal sees. */
  scopeOf(principal: Principal): { org_id: string; team: string | null } {
    return { org_id: principal.org_id, team: teamOf(principal) }
  }

  /** The active switch of the organization, or of the installation. */
  async findActive(tx: Tx, { org_id }: Principal, scope: 'installation' | 'organization' = 'installation') {
    const filter = { org_id, team: null, include_ended: false, scope, target: null }
    return (await queries.selectKills(tx, filter, 1, 0))[0]
  }

  /** The switch that a request names. @throws Problem `kill_switch_not_found` */
  async named(
    tx: Tx,
    principal: Principal,
    { kill_id, scope, target }: Pick<DeactivateKillSwitch, 'kill_id' | 'scope' | 'target'>,
  ): Promise<queries.KillRow> {
    const filter =
      kill_id === undefined
        ? { include_ended: false, ...(scope && { scope }), target: storedTarget(scope, target) }
        : { include_ended: true, kill_id }
    const [row] = await queries.selectKills(tx, { ...this.scopeOf(principal), ...filter }, 1, 0)
    if (!row) throw missing(kill_id ?? [scope, target].filter(Boolean).join(' '))
    return row
  }

  /** A switch that `hold` is to write. */
  make(principal: Principal, kill_id: string, reason: string): queries.NewKill {
    const { id: activated_by } = actorOf(principal)
    return { kill_id, reason, activated_by, activated_at: new Date(this.clock.now()) }
  }

  /**
   * The entry of a switch that `hold` has written; the installation's is written by the function that writes it into
   * every log, as the last statement.
   */
  async start(
    tx: Tx,
    principal: Principal,
    { columns, subject }: Found,
    scope: KillScope,
    kill: queries.NewKill,
  ): Promise<queries.KillRow> {
    const row = startedRow(scope, columns, kill)
    await this.record(tx, principal, 'activated', row, subject, kill.reason)
    return row
  }

  /** Ends a switch and writes its entry, in a transaction that holds the lock. */
  async end(
    tx: Tx,
    org_id: string,
    principal: Principal | SystemActor,
    row: queries.KillRow,
    subject: Subject | undefined,
    reason: string,
  ): Promise<void> {
    if (row.scope !== 'installation') {
      await tx.killSwitch.update({
        where: { org_id_kill_id: { org_id, kill_id: row.kill_id } },
        data: {
          deactivated_by: actorOf(principal).id,
          deactivated_reason: reason,
          deactivated_at: new Date(this.clock.now()),
        },
      })
    }
    await this.record(tx, principal, 'deactivated', row, subject, reason)
  }

  private async record(
    tx: Tx,
    principal: Principal | SystemActor,
    op: 'activated' | 'deactivated',
    row: TargetColumns & Pick<queries.KillRow, 'kill_id' | 'scope'>,
    subject: Subject | undefined,
    reason: string,
  ): Promise<void> {
    await this.ledger.append(tx, principal, {
      ...changeOf(op, row, subject, reason),
      raises: raisedBy(row.scope, subject),
    })
  }
}

/** What the entry of a switch says. */
export function changeOf(
  op: 'activated' | 'deactivated',
  row: TargetColumns & Pick<queries.KillRow, 'kill_id' | 'scope'>,
  subject: Subject | undefined,
  reason: string,
) {
  const { kill_id: id, scope } = row
  const target = targetOf(row)
  return {
    event: `kill_switch.${op}` as const,
    kill: { id, op, scope, ...(target !== null && { target }), reason },
    ...(subject && { subject }),
  }
}

/** A switch that nobody has ended. */
export const startedRow = (
  scope: KillScope,
  columns: TargetColumns,
  kill: queries.NewKill,
): queries.KillRow => ({ scope, ...columns, ...kill, ...NOT_ENDED })

const NOT_ENDED = {
  release_by: null,
  release_reason: null,
  release_at: null,
  deactivated_by: null,
  deactivated_reason: null,
  deactivated_at: null,
} as const

function raisedBy(scope: KillScope, subject: Subject | undefined) {
  if (subject) return { agent_id: subject.agent_id }
  return scope === 'installation' ? 'installation' : 'organization'
}
