import { Injectable, Logger } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { ID_BYTES, makeId } from '../core/ids.js'
import type { Subject } from '../core/ledger/entry.js'
import type { KillScope } from '../core/policy/stages/kill.js'
import { Problem } from '../core/problems.js'
import { actorOf, LedgerService, SYSTEM, type SystemActor } from '../ledger/ledger.service.js'
import { type Principal, teamOf } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { DEFAULT_LIMIT, type Listed } from '../platform/http/page.dto.js'
import type {
  ActivateKillSwitch,
  DeactivateKillSwitch,
  KillSwitch,
  KillSwitchSettings,
  ListKillSwitches,
} from './kill-switch.dto.js'
import * as queries from './kill-switch.queries.js'
import { KillAftermathService } from './aftermath.service.js'
import { insist } from './insist.js'
import { type Found, findTarget, lockAgentOf, targetOf } from './kill-target.js'

/** How long the first of two people waits for the second. */
const RELEASE_MS = 15 * 60_000
const DRILL_REASON = 'Drill of the kill switch'
/** Patterns are tried one after the other on every request of the organization. */
const MAX_ACTIONS = 100

/**
 * Stops and lets go on. A switch raises the version of its scope in the transaction that writes it and its entry, so
 * no decision made before it is committed after it, on any replica.
 */
@Injectable()
export class KillSwitchService {
  private readonly logger = new Logger(KillSwitchService.name)

  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly clock: Clock,
    private readonly aftermath: KillAftermathService,
  ) {}

  /**
   * Activates a switch; one that is active already is answered as it is.
   * @throws Problem as `findTarget`; `conflict` when 100 action patterns are active
   */
  async activate(principal: Principal, body: ActivateKillSwitch): Promise<KillSwitch> {
    const { scope, target } = body
    const { kill, made } = await this.stopping(() =>
      this.database.withOrg(principal, (tx) => this.activateIn(tx, principal, body)),
    )
    const { kill_id } = kill
    if (made) {
      this.logger.warn({ kill_id, scope, target, by: actorOf(principal) }, 'a kill switch was activated')
      this.aftermath.follow({ ...kill, org_id: principal.org_id, target: targetOf(kill) }, principal)
    }
    // The installation's is written by the function that also dates it.
    return made && scope === 'installation' ? this.stopping(() => this.get(principal, kill_id)) : view(kill)
  }

  private async activateIn(
    tx: Tx,
    principal: Principal,
    body: ActivateKillSwitch,
  ): Promise<{ kill: queries.KillRow; made: boolean }> {
    const { scope, target } = body
    await this.lock(tx, principal, scope)
    const { columns, subject } = await findTarget(tx, principal, scope, target)
    const active = await this.findActive(tx, principal, scope, targetOf(columns))
    if (active && !isDrill(active)) return { kill: active, made: false }
    // A drill ends what it activated, so whoever means it gets a switch of their own.
    const replaced = 'Replaced by a kill switch that is no drill'
    if (active) await this.end(tx, principal.org_id, principal, active, subject, replaced)
    await this.assertFew(tx, principal, scope)
    const kill_id = makeId('kil_', randomBytes(ID_BYTES))
    return { kill: await this.start(tx, principal, { kill_id, columns, subject }, body), made: true }
  }

  /**
   * Stopping gets through when everything else is busy: on connections of its own, and again when a lock was not to be
   * had or the database was away for a moment. Doing it twice is harmless: what is active already is found.
   */
  private stopping<T>(work: () => Promise<T>): Promise<T> {
    return this.database.urgently(() => insist(work))
  }

  /**
   * Activates the switch of a drill for one agent, under an id that says what it is (`makeDrillId`), so that it can be
   * ended without asking anybody. One is active in an organization at a time.
   * @throws Problem `agent_not_found`; `conflict` while another drill runs, or when the agent is stopped already
   */
  async activateDrill(principal: Principal, kill_id: string, agent_id: string): Promise<void> {
    const activate = async (tx: Tx) => {
      await this.lock(tx, principal, 'agent')
      const { columns, subject } = await findTarget(tx, principal, 'agent', agent_id)
      if ((await queries.selectDrills(tx, principal.org_id)).length > 0) {
        throw new Problem('conflict', { detail: 'A drill is running in this organization. Try again later.' })
      }
      if (await this.findActive(tx, principal, 'agent', agent_id)) {
        throw new Problem('conflict', { detail: `A kill switch is active for the agent ${agent_id}.` })
      }
      const what = { scope: 'agent', reason: DRILL_REASON } as const
      await this.start(tx, principal, { kill_id, columns, subject }, what)
    }
    await this.stopping(() => this.database.withOrg(principal, activate))
    const { org_id } = principal
    this.aftermath.follow({ org_id, kill_id, scope: 'agent', target: agent_id }, principal)
  }

  /** Ends the switch of one drill, or those from before a moment. Those of no drill are left as they are. */
  async endDrills(
    org_id: string,
    which: { readonly kill_id: string } | { readonly before: Date },
    actor: Principal | SystemActor = SYSTEM,
  ): Promise<void> {
    await this.database.withOrg({ org_id }, async (tx) => {
      await queries.lockKillSwitches(tx, org_id)
      for (const row of await queries.selectDrills(tx, org_id)) {
        const wanted = 'kill_id' in which ? row.kill_id === which.kill_id : row.activated_at < which.before
        if (!wanted) continue
        const subject = await queries.lockSubject(tx, org_id, row.agent_id ?? '')
        await this.end(tx, org_id, actor, row, subject ?? undefined, DRILL_REASON)
      }
    })
  }

  /**
   * Ends a switch. Where two people are needed, the first is noted and the switch stays active.
   * @throws Problem `kill_switch_not_found` when there is none, also for one of another organization or team;
   * `forbidden` as for activating it; `validation_failed` unless it is named in exactly one way; `conflict` when the
   * same person asks twice
   */
  async deactivate(principal: Principal, body: DeactivateKillSwitch): Promise<KillSwitch> {
    assertNamedOnce(body)
    await this.finishFollowing(principal, body)
    const kill_id = await this.database.withOrg(principal, async (tx) => {
      // The scope decides which lock is needed, so it is looked up before and again under the lock.
      const named = await this.named(tx, principal, body)
      await this.lock(tx, principal, named.scope)
      const row = await this.named(tx, principal, { kill_id: named.kill_id })
      if (row.deactivated_at) return row.kill_id
      const { scope } = row
      await findTarget(tx, principal, scope, targetOf(row) ?? undefined)
      if (scope === 'organization' && (await this.needsAnother(tx, principal, row, body.reason))) {
        return row.kill_id
      }
      const subject =
        row.agent_id === null
          ? undefined
          : await lockAgentOf(tx, principal, row.agent_id, missing(row.kill_id))
      await this.end(tx, principal.org_id, principal, row, subject, body.reason)
      return row.kill_id
    })
    const kill = await this.get(principal, kill_id)
    const { scope, target, state } = kill
    this.logger.warn({ kill_id, scope, target, state, by: actorOf(principal) }, 'a kill switch was released')
    return kill
  }

  /** What is stopped, newest first; a team's administrator sees what stops agents of that team. */
  async list(
    principal: Principal,
    { include_ended, limit, offset }: ListKillSwitches,
  ): Promise<Listed<KillSwitch>> {
    const filter = { ...this.scopeOf(principal), include_ended: include_ended ?? false }
    return this.database.withOrg(principal, async (tx) => ({
      items: (await queries.selectKills(tx, filter, limit ?? DEFAULT_LIMIT, offset ?? 0)).map(view),
      total: await queries.countKills(tx, filter),
    }))
  }

  async getSettings({ org_id }: Principal): Promise<KillSwitchSettings> {
    const found = await this.database.withOrg({ org_id }, (tx) =>
      tx.killSwitchSettings.findUnique({ where: { org_id }, select: { two_people: true } }),
    )
    return found ?? { two_people: false }
  }

  /** @throws Problem `conflict` when the second person would be waived while an organization-wide switch is active */
  async putSettings(principal: Principal, { two_people }: KillSwitchSettings): Promise<KillSwitchSettings> {
    const { org_id } = principal
    return this.database.withOrg(principal, async (tx) => {
      await queries.lockKillSwitches(tx, org_id)
      const before = await this.twoPeople(tx, principal)
      if (before === two_people) return { two_people }
      if (!two_people && (await this.findActive(tx, principal, 'organization', null))) {
        throw new Problem('conflict', {
          detail: 'An organization-wide kill switch is active. End it first, with the two people it needs.',
        })
      }
      await tx.killSwitchSettings.upsert({
        where: { org_id },
        create: { org_id, two_people },
        update: { two_people },
      })
      await this.ledger.append(tx, principal, {
        event: 'kill_switch.settings_updated',
        change: { kind: 'kill_switch_settings', id: org_id, op: 'updated' },
        before: { two_people: before },
        after: { two_people },
      })
      return { two_people }
    })
  }

  /** One kill switch. @throws Problem `kill_switch_not_found` */
  async get(principal: Principal, kill_id: string): Promise<KillSwitch> {
    return view(await this.database.withOrg(principal, (tx) => this.named(tx, principal, { kill_id })))
  }

  /** Writes a switch and its entry, in a transaction that holds the lock. */
  private async start(
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

  private async end(
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

  private lock(tx: Tx, { org_id }: Principal, scope: KillScope): Promise<void> {
    return scope === 'installation' ? this.ledger.lockInstallation(tx) : queries.lockKillSwitches(tx, org_id)
  }

  private scopeOf(principal: Principal): { org_id: string; team: string | null } {
    return { org_id: principal.org_id, team: teamOf(principal) }
  }

  private async findActive(tx: Tx, principal: Principal, scope: KillScope, target: string | null) {
    const filter = { org_id: principal.org_id, team: null, include_ended: false, scope, target }
    return (await queries.selectKills(tx, filter, 1, 0))[0]
  }

  /** The switch that a request names. @throws Problem `kill_switch_not_found` */
  private async named(
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

  /** Whether somebody else must ask too; if so, notes who asked first and why. */
  private async needsAnother(
    tx: Tx,
    principal: Principal,
    { kill_id, release_by, release_at }: queries.KillRow,
    reason: string,
  ): Promise<boolean> {
    if (!(await this.twoPeople(tx, principal))) return false
    const now = this.clock.now()
    const { org_id } = principal
    const by = actorOf(principal).id
    if (release_by !== null && release_at && now - release_at.getTime() < RELEASE_MS) {
      if (release_by !== by) return false
      throw new Problem('conflict', {
        detail: 'You have asked for this already. A second, different person must ask within 15 minutes.',
      })
    }
    await tx.killSwitch.update({
      where: { org_id_kill_id: { org_id, kill_id } },
      data: { release_by: by, release_reason: reason, release_at: new Date(now) },
    })
    await this.ledger.append(tx, principal, {
      event: 'kill_switch.release_requested',
      change: { kind: 'kill_switch', id: kill_id, op: 'release_requested' },
      after: { reason },
    })
    return true
  }

  private async twoPeople(tx: Tx, { org_id }: Principal): Promise<boolean> {
    const settings = await tx.killSwitchSettings.findUnique({ where: { org_id } })
    return settings?.two_people ?? false
  }

  private async assertFew(tx: Tx, { org_id }: Principal, scope: KillScope): Promise<void> {
    if (scope !== 'action') return
    const active = await queries.countKills(tx, { org_id, team: null, include_ended: false, scope })
    if (active >= MAX_ACTIONS) {
      throw new Problem('conflict', {
        detail: `${MAX_ACTIONS} action patterns are stopped already; end some.`,
      })
    }
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

  /** Nothing that waited when the switch was pulled may be left when it is ended. */
  private async finishFollowing(principal: Principal, body: DeactivateKillSwitch): Promise<void> {
    const kill = await this.database.withOrg(principal, (tx) => this.named(tx, principal, body))
    if (kill.deactivated_at || kill.scope === 'installation') return
    await this.aftermath.finish({ ...kill, org_id: principal.org_id, target: targetOf(kill) })
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

/** An id that no other switch has: theirs are shorter. */
export const makeDrillId = (): string => makeId(queries.DRILL_PREFIX, randomBytes(ID_BYTES))

const isDrill = ({ kill_id }: queries.KillRow): boolean =>
  kill_id.startsWith(queries.DRILL_PREFIX) && kill_id.length === queries.DRILL_ID_LENGTH

function raisedBy(scope: KillScope, subject: Subject | undefined) {
  if (subject) return { agent_id: subject.agent_id }
  return scope === 'installation' ? 'installation' : 'organization'
}

function assertNamedOnce({ kill_id, scope, target }: DeactivateKillSwitch): void {
  const fault =
    kill_id === undefined && scope === undefined
      ? { path: 'kill_id', message: 'give kill_id, or scope and target' }
      : kill_id !== undefined && (scope !== undefined || target !== undefined)
        ? { path: 'scope', message: 'is not given beside kill_id' }
        : null
  if (fault) throw new Problem('validation_failed', { errors: [fault] })
}

function view(row: queries.KillRow): KillSwitch {
  const { kill_id, scope, reason, activated_by, activated_at } = row
  const { release_by, release_reason, release_at, deactivated_by, deactivated_reason, deactivated_at } = row
  return {
    kill_id,
    scope,
    target: targetOf(row),
    state: deactivated_at ? 'ended' : 'active',
    reason,
    activated_by,
    activated_at,
    release:
      release_by !== null && release_at && !deactivated_at
        ? {
            by: release_by,
            reason: release_reason ?? '',
            at: release_at,
            expires_at: new Date(release_at.getTime() + RELEASE_MS),
          }
        : null,
    deactivated_by,
    deactivated_reason,
    deactivated_at,
  }
}

const missing = (named: string) =>
  new Problem('kill_switch_not_found', { detail: `No kill switch ${named} found` })
