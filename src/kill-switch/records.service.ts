import { Injectable } from '@nestjs/common'
import type { Subject } from '../core/ledger/entry.js'
import type { KillScope } from '../core/policy/stages/kill.js'
import { actorOf, LedgerService, type SystemActor } from '../ledger/ledger.service.js'
import { type Principal, teamOf } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import type { Tx } from '../platform/database/database.service.js'
import type { ActivateKillSwitch, DeactivateKillSwitch } from './kill-switch.dto.js'
import * as queries from './kill-switch.queries.js'
import { missing } from './kill-switch.view.js'
import { type Found, targetOf } from './kill-target.js'

/** Switches in the database, each change with its entry, in the caller's transaction. */
@Injectable()
export class KillSwitchRecords {
  constructor(
    private readonly ledger: LedgerService,
    private readonly clock: Clock,
  ) {}

  /** Before a switch of that scope is looked for and changed. */
  lock(tx: Tx, { org_id }: Principal, scope: KillScope): Promise<void> {
    return scope === 'installation' ? this.ledger.lockInstallation(tx) : queries.lockKillSwitches(tx, org_id)
  }

  /** What of the organization the principal sees. */
  scopeOf(principal: Principal): { org_id: string; team: string | null } {
    return { org_id: principal.org_id, team: teamOf(principal) }
  }

  /** The active switch of a scope and target. */
  async findActive(tx: Tx, principal: Principal, scope: KillScope, target: string | null) {
    const filter = { org_id: principal.org_id, team: null, include_ended: false, scope, target }
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
        ? { include_ended: false, ...(scope && { scope }), target: target ?? null }
        : { include_ended: true, kill_id }
    const [row] = await queries.selectKills(tx, { ...this.scopeOf(principal), ...filter }, 1, 0)
    if (!row) throw missing(kill_id ?? [scope, target].filter(Boolean).join(' '))
    return row
  }

  /** Writes a switch and its entry, in a transaction that holds the lock. */
  async start(
    tx: Tx,
    principal: Principal,
    { kill_id, columns, subject }: Found & { readonly kill_id: string },
    { scope, reason }: Pick<ActivateKillSwitch, 'scope' | 'reason'>,
  ): Promise<queries.KillRow> {
    const by = { activated_by: actorOf(principal).id, activated_at: new Date(this.clock.now()) }
    // The installation's is written by the function that writes it into every log, as the last statement.
    if (scope !== 'installation') {
      const { org_id } = principal
      await tx.killSwitch.create({ data: { org_id, kill_id, scope, ...columns, reason, ...by } })
    }
    await this.record(tx, principal, 'activated', { kill_id, scope, ...columns }, subject, reason)
    return { kill_id, scope, ...columns, reason, ...by, ...NOT_ENDED }
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
    row: Pick<
      queries.KillRow,
      'kill_id' | 'scope' | 'environment' | 'team' | 'agent_id' | 'key_id' | 'action'
    >,
    subject: Subject | undefined,
    reason: string,
  ): Promise<void> {
    const { kill_id: id, scope } = row
    const target = targetOf(row)
    await this.ledger.append(tx, principal, {
      event: `kill_switch.${op}` as const,
      kill: { id, op, scope, ...(target !== null && { target }), reason },
      ...(subject && { subject }),
      raises: raisedBy(scope, subject),
    })
  }
}

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
