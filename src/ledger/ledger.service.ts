import { Injectable, Logger } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import type { Json } from '../core/ledger/canonical.js'
import {
  type Actor,
  type ApprovalEntry,
  type ConfigEntry,
  type Entry,
  type EpochEntry,
  encodeEntry,
  ENTRY_MAX_BYTES,
  type KillEntry,
  type PayloadCommitment,
  type RedactionEntry,
  type Subject,
} from '../core/ledger/entry.js'
import { uuidv7 } from '../core/ids.js'
import { Problem } from '../core/problems.js'
import type { Principal } from '../platform/access/principal.js'
import { Settings } from '../platform/config/settings.js'
import { Clock } from '../platform/clock/clock.js'
import { KeyRing } from '../platform/crypto/key-ring.js'
import { Database, FLUSHERS, type Tx } from '../platform/database/database.service.js'
import { type AppendOutcome, AppendQueue } from './append-queue.js'
import { activeInstallationKill, appendEverywhere, lockInstallation } from './everywhere.js'
import * as queries from './ledger.queries.js'
import { PayloadSealer, type SealedPayload } from './payload.js'

export { DECISION_MS } from './append-queue.js'
export type { DataKeyRow } from './ledger.queries.js'
export { monthOf, type SealedPayload, type StoredPayload } from './payload.js'

/** What happened besides decisions, to be recorded in the transaction in which it happens. */
export type Change = Recording &
  (
    | {
        /** `<noun>.<past>`, e.g. `agent.created`. */
        readonly event: string
        readonly change: ConfigEntry['change']
      }
    | Pick<ApprovalEntry, 'event' | 'subject' | 'action' | 'resource' | 'approval'>
    | Pick<KillEntry, 'event' | 'kill'>
    | Pick<RedactionEntry, 'event' | 'redaction'>
    | Pick<EpochEntry, 'event' | 'epoch'>
  )

interface Recording {
  readonly subject?: Subject
  /** Whose configuration version goes up, so that no decision made before can be committed after. */
  readonly raises?: { readonly agent_id: string } | 'organization' | 'installation'
  /** The thing before and after, secrets left out. Kept in the erasable payload. */
  readonly before?: Json
  readonly after?: Json
}

/** What was raised by a transaction that has committed. */
export interface Raised {
  /** Null: every organization. */
  readonly org_id: string | null
  /** Null: the organization's own version. */
  readonly agent_id: string | null
}

/** An entry of the decision path, ready but for its payload. */
export type HotEntry = Omit<queries.AppendRow, 'payload' | 'entry'> & {
  readonly entry: string
  readonly sealed: SealedPayload | null
}

/** What an entry of a change is made from, seen before the statement that writes both. */
export interface Seen {
  readonly head: queries.Head
  /** The version of the agent whose configuration the change raises; null when it raises the organization's. */
  readonly agent: number | null
}

/** An entry for a statement that makes its change as well, and the versions that it names. */
export type PreparedEntry = Pick<queries.AppendRow, 'id' | 'ts' | 'versions' | 'entry'>

/** Where an entry that was placed in a transaction came to stand; known when the transaction has committed. */
export interface Placed {
  index: number | null
}

/**
 * A decision placed in a transaction was made from a configuration that is no longer the present one (or dated by a
 * clock that is off), so the transaction is rolled back as a whole. Decide again.
 */
export class DecisionStale extends Error {
  constructor(readonly outcome: number) {
    super(`the placed decision was not appended: outcome ${outcome}`)
    this.name = 'DecisionStale'
  }

  /** The key that asked has expired by the database's clock. */
  get isExpired(): boolean {
    return this.outcome === queries.OUTCOME.expired
  }

  /** This process's clock is too far off the database's. */
  get isClock(): boolean {
    return this.outcome === queries.OUTCOME.clock
  }
}

/** An entry of a transaction that is made when the head is locked. */
interface Draft {
  readonly principal: Principal | SystemActor
  readonly change: Change
}

const COLLECTED = Symbol('ledger')
const MAX_TRIES = 4

/** The append-only log. Every writer of the product imports this service; it imports none of them. */
@Injectable()
export class LedgerService {
  private readonly logger = new Logger(LedgerService.name)
  private readonly drafts = new WeakMap<object, Collected[]>()
  /** Transactions that open a log, which begins with what stops the whole installation. */
  private readonly opened = new WeakSet<object>()
  private readonly appended: ((org_id: string) => void)[] = []
  private readonly listeners: ((raised: Raised) => void)[] = []
  private readonly queue: AppendQueue
  readonly sealer: PayloadSealer

  constructor(
    private readonly database: Database,
    private readonly clock: Clock,
    private readonly settings: Settings,
    ring: KeyRing,
  ) {
    this.sealer = new PayloadSealer(database.hot, ring)
    this.queue = new AppendQueue(database.reserved, {
      flushers: FLUSHERS,
      on_fault: (error) => this.logger.warn({ err: error }, 'a batch could not be appended'),
    })
  }

  /**
   * Records a change in the transaction that makes it. The entries of a transaction are written by one call, as its
   * last statement, under the organization's head lock: change and entry commit together or not at all, and the
   * order of the log is the order in which things became true.
   */
  async append(tx: Tx, principal: Principal | SystemActor, change: Change): Promise<void> {
    this.collect(tx, { principal, change })
    return Promise.resolve()
  }

  /**
   * Places a decision that is ready among the entries of a control-plane transaction, where it belongs together with
   * a change: an approval asked for or used. Its versions are compared as on the decision path; when one differs, the
   * transaction fails with `DecisionStale` and nothing of it stays.
   */
  place(tx: Tx, entry: HotEntry): Placed {
    const bytes = Buffer.from(entry.entry)
    assertSize(bytes)
    const payload = entry.sealed && { body: entry.sealed.body, dek_id: entry.sealed.dek_id }
    const placed: Placed = { index: null }
    this.collect(tx, { row: { ...entry, entry: bytes, payload }, placed })
    return placed
  }

  /**
   * The entry of a change, for one statement that makes the change and calls `ledger.ledger_append`, by which the versions
   * in the entry are compared under the head lock: one that has moved since it was seen refuses both. Without a payload.
   * `tellRaised` follows the commit.
   */
  async prepare(
    principal: Principal,
    change: Extract<Change, { kill: unknown }>,
    { head, agent }: Seen,
  ): Promise<PreparedEntry> {
    const { org_id } = principal
    const agents = new Map<string, number>()
    if (agent !== null && change.subject) agents.set(change.subject.agent_id, agent + 1)
    return this.rowOf(org_id, head, agent === null, agents, { principal, change })
  }

  /** What a statement with a prepared entry has raised, after its commit. */
  tellRaised(org_id: string, agent_id: string | null): void {
    this.tellAppended(org_id)
    this.announce({ org_id, agent_id })
  }

  private collect(tx: Tx, draft: Collected): void {
    const collected = this.drafts.get(tx) ?? []
    collected.push(draft)
    this.drafts.set(tx, collected)
    this.database.beforeCommit(tx, COLLECTED, () => this.flush(tx, collected))
  }

  /** Opens the log of a new organization, in the transaction that makes the organization. */
  async open(tx: Tx, org_id: string): Promise<void> {
    await queries.openLog(tx, org_id, await this.originOf(tx, org_id))
    this.opened.add(tx)
  }

  /** Keeps every log as it is until the transaction ends: before a change with `raises: 'installation'`. */
  lockInstallation(tx: Tx): Promise<void> {
    return lockInstallation(tx)
  }

  /**
   * Appends entries of the decision path through the group commit, all or none; resolves after the commit. Nearly
   * always one; several are of one agent, one time and one configuration, and have indexes that follow each other.
   * @param began when its request began to be worked on (`performance.now()`): the deadline counts from there
   * @throws Problem `ledger_busy`, `ledger_unavailable`, `not_ready`
   */
  submit(entries: readonly HotEntry[], began?: number): Promise<AppendOutcome> {
    const rows = entries.map((entry) => {
      const bytes = Buffer.from(entry.entry)
      assertSize(bytes)
      const payload = entry.sealed && { body: entry.sealed.body, dek_id: entry.sealed.dek_id }
      return { ...entry, entry: bytes, payload }
    })
    return this.queue.append(rows, began)
  }

  /** Whether `entries` more of this organization would be taken now. */
  hasRoom(org_id: string, entries: number): boolean {
    return this.queue.hasRoom(org_id, entries)
  }

  /** Told after the commit of whatever this process appends: there is something new in this log. */
  onAppended(listener: (org_id: string) => void): void {
    this.appended.push(listener)
  }

  /** Said by who has submitted entries and seen them appended. */
  tellAppended(org_id: string): void {
    for (const listener of this.appended) listener(org_id)
  }

  /** Told after the commit of every transaction that raised a version in this process. */
  onRaised(listener: (raised: Raised) => void): void {
    this.listeners.push(listener)
  }

  /** Entries that wait to be appended. */
  get queue_depth(): number {
    return this.queue.depth
  }

  /** Settles what is queued and refuses the rest. Before the database closes. */
  drain(): Promise<void> {
    return this.queue.drain()
  }

  private async flush(tx: Tx, drafts: readonly Collected[]): Promise<void> {
    const [first, ...others] = drafts
    if (first && 'change' in first && first.change.raises === 'installation') {
      if (others.length > 0) throw new Error('an installation-wide change is alone in its transaction')
      return this.flushEverywhere(tx, first)
    }
    const org_id = this.database.orgOf(tx)
    const raised = new Set(drafts.flatMap((draft) => ('change' in draft ? (draft.change.raises ?? []) : [])))
    const { agents, seen } = await raiseAgents(tx, org_id, raised)
    const raise = raised.has('organization')
    for (let attempt = 1; ; attempt++) {
      const head = attempt === 1 && seen ? seen : await queries.selectHead(tx, org_id)
      if (!head) throw new Error(`organization ${org_id} has no log`)
      const rows: queries.AppendRow[] = []
      for (const draft of await this.withKill(tx, drafts)) {
        rows.push('row' in draft ? draft.row : await this.rowOf(org_id, head, raise, agents, draft))
      }
      const results = await queries.appendInTransaction(tx, rows, raise)
      settlePlaced(drafts, results)
      if (results.every((result) => result.outcome === queries.OUTCOME.appended)) break
      // Somebody raised a version between our look and the head lock; nothing was inserted. Look again.
      const stale = results.every((result) => result.outcome === queries.OUTCOME.stale)
      if (!stale || attempt === MAX_TRIES) {
        const outcomes = results.map((result) => result.outcome).join(',')
        throw new Problem('ledger_unavailable', { retry_after: 1, cause: new Error(`outcomes ${outcomes}`) })
      }
    }
    this.database.afterCommit(tx, () => {
      this.tellAppended(org_id)
      for (const agent_id of agents.keys()) this.announce({ org_id, agent_id })
      if (raise) this.announce({ org_id, agent_id: null })
    })
  }

  /** A new log says so when the installation is stopped. Read after the head: if that moves, both are read again. */
  private async withKill(tx: Tx, drafts: readonly Collected[]): Promise<readonly Collected[]> {
    const change = this.opened.has(tx) ? await activeInstallationKill(tx) : null
    return change ? [...drafts, { principal: SYSTEM, change }] : drafts
  }

  private async flushEverywhere(tx: Tx, { principal, change }: Draft): Promise<void> {
    if (!('kill' in change)) throw new Error('only kill switches are written into every log')
    await lockInstallation(tx)
    const request_id = 'request_id' in principal ? principal.request_id : undefined
    await appendEverywhere(tx, this.database.background, this.clock.now(), {
      event: change.event,
      kill: change.kill,
      actor: actorOf(principal),
      request_id,
    })
    this.database.afterCommit(tx, () => this.announce({ org_id: null, agent_id: null }))
  }

  private announce(raised: Raised): void {
    for (const listener of this.listeners) listener(raised)
  }

  private async rowOf(
    org_id: string,
    head: queries.Head,
    raise: boolean,
    agents: ReadonlyMap<string, number>,
    { principal, change }: Draft,
  ): Promise<queries.AppendRow> {
    const ts = this.clock.now()
    const id = uuidv7(ts, randomBytes(10))
    const agent_id =
      change.subject?.agent_id ?? (typeof change.raises === 'object' ? change.raises.agent_id : null)
    const agent = agent_id === null ? undefined : agents.get(agent_id)
    const sealed =
      change.before === undefined && change.after === undefined
        ? null
        : await this.sealer.seal(org_id, head.origin, id, ts, { before: change.before, after: change.after })
    const common = {
      v: 1,
      log: head.origin,
      id,
      ts: new Date(ts).toISOString(),
      actor: actorOf(principal),
      config: {
        installation: head.installation,
        organization: head.organization + Number(raise),
        ...(agent === undefined ? {} : { agent }),
      },
      ...optional({
        subject: change.subject,
        request_id: 'request_id' in principal ? principal.request_id : undefined,
        payload: sealed?.commitment,
      }),
    } as const
    const entry = entryOf(common, change)
    const bytes = Buffer.from(encodeEntry(entry))
    assertSize(bytes)
    return {
      org_id,
      id,
      ts,
      type: entry.type,
      agent_id,
      action_key: entry.type === 'approval' ? entry.action.key : null,
      allowed: null,
      decision_id: entry.type === 'approval' ? (entry.approval.decision_id ?? null) : null,
      versions: {
        installation: head.installation,
        organization: head.organization + Number(raise),
        ...(agent === undefined ? {} : { agent }),
      },
      not_after: null,
      entry: bytes,
      payload: sealed && { body: sealed.body, dek_id: sealed.dek_id },
    }
  }

  private async originOf(tx: Tx, org_id: string): Promise<string> {
    const { installation_id } = await tx.installationConfig.findFirstOrThrow()
    return `${this.settings.ledger_origin ?? `agentguard.local/${installation_id}`}/${org_id}/e1`
  }
}

/** An entry of a transaction: made when the head is locked, or ready. */
type Collected = Draft | { readonly row: queries.AppendRow; readonly placed: Placed }

/** Raises the agents' versions. @returns the new ones, and the head where it was seen on the way */
async function raiseAgents(
  tx: Tx,
  org_id: string,
  raised: ReadonlySet<NonNullable<Recording['raises']>>,
): Promise<{ agents: ReadonlyMap<string, number>; seen: queries.Head | null }> {
  // In order of agent_id, so that two transactions that raise the same agents cannot wait for each other.
  const named = [...raised].flatMap((raises) => (typeof raises === 'string' ? [] : [raises.agent_id])).sort()
  const ids = [...new Set(named)]
  const agents = new Map<string, number>()
  const [only] = ids
  const seen =
    only !== undefined && ids.length === 1 ? await queries.raiseAgentAndSelectHead(tx, org_id, only) : null
  if (seen && only !== undefined) return { agents: agents.set(only, seen.agent), seen }
  for (const agent_id of ids) {
    const version = await queries.raiseAgent(tx, org_id, agent_id)
    if (version === null) throw new Error(`agent ${agent_id} has no configuration version`)
    agents.set(agent_id, version)
  }
  return { agents, seen }
}

/** Tells the placed decisions where they stand. One that was not appended takes the whole transaction with it. */
function settlePlaced(drafts: readonly Collected[], results: readonly queries.AppendResult[]): void {
  drafts.forEach((draft, i) => {
    if (!('row' in draft)) return
    const result = results[i]
    if (result?.outcome !== queries.OUTCOME.appended) throw new DecisionStale(result?.outcome ?? -1)
    draft.placed.index = result.index
  })
}

/** The service itself, where no principal asked (first start, expiry). */
export interface SystemActor {
  readonly kind: 'system'
}
export const SYSTEM: SystemActor = { kind: 'system' }

/** Who an entry names: always from the principal, never from a body. */
export function actorOf(principal: Principal | SystemActor): Actor {
  switch (principal.kind) {
    case 'agent':
      return { kind: 'agent', id: principal.agent_id, key_id: principal.key_id }
    case 'admin_key':
      return { kind: 'admin_key', id: principal.key_id }
    case 'member':
      return { kind: 'member', id: principal.member_id }
    case 'root':
    case 'system':
      return { kind: principal.kind, id: principal.kind }
  }
}

type Common = Omit<ConfigEntry, 'type' | 'event' | 'change'>

/** Each kind of change is an entry type of its own. */
function entryOf(common: Common, change: Change): Entry {
  if ('change' in change) return { ...common, type: 'config', event: change.event, change: change.change }
  if ('kill' in change) return { ...common, type: 'kill', event: change.event, kill: change.kill }
  if ('redaction' in change) {
    return { ...common, type: 'redaction', event: change.event, redaction: change.redaction }
  }
  if ('epoch' in change) return { ...common, type: 'epoch', event: change.event, epoch: change.epoch }
  const { event, subject, action, resource, approval } = change
  return { ...common, type: 'approval', event, subject, action, ...(resource && { resource }), approval }
}

interface Optional {
  subject: Subject | undefined
  request_id: string | undefined
  payload: PayloadCommitment | undefined
}

/** Members that are undefined are absent from an entry, not null. */
function optional(
  members: Optional,
): Partial<{ subject: Subject; request_id: string; payload: PayloadCommitment }> {
  return {
    ...(members.subject && { subject: members.subject }),
    ...(members.request_id !== undefined && { request_id: members.request_id }),
    ...(members.payload && { payload: members.payload }),
  }
}

function assertSize(entry: Buffer): void {
  if (entry.length > ENTRY_MAX_BYTES) {
    throw new Problem('payload_too_large', { detail: `A log entry may have ${ENTRY_MAX_BYTES} bytes.` })
  }
}
