import { Injectable } from '@nestjs/common'
import { randomFillSync } from 'node:crypto'
import { uuidv7 } from '../core/ids.js'
import { Problem } from '../core/problems.js'
import { DecisionStale, type HotEntry, LedgerService, type SealedPayload } from '../ledger/ledger.service.js'
import type { AgentPrincipal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Deadline } from '../platform/clock/deadline.js'
import { Slices } from '../platform/clock/slices.js'
import { within } from '../platform/clock/within.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import type { Erasable } from './erasable.js'
import { Line } from './line.js'
import { type AgentSnapshot, SnapshotsService } from './snapshots.service.js'
import { SnapshotsWorker } from './snapshots.worker.js'

export { type Erasable, erasableOf } from './erasable.js'

/** How often an entry is made again because the configuration changed while it was made. */
const MAX_TRIES = 3
/** A request does not wait longer for the database's time. */
const POLL_MS = 700
/** How many entries of several callers share a transaction: few, so that one is done well within their time. */
const MOST_TOGETHER = 16
const ID_RANDOM_BYTES = 10
const POOLED_IDS = 512

/** What an entry is made from, at one attempt. */
export interface Attempt {
  readonly snapshot: AgentSnapshot
  /** The one `now`: decides, dates the entry, and is in its id. */
  readonly now: number
  readonly id: string
  readonly sealed: SealedPayload | null
}

/** One entry to be made: `make` may run up to three times, the last answer counts. */
export interface Making<T> {
  readonly payload: Erasable
  readonly make: (attempt: Attempt) => Draft & { readonly answer: T }
}

/** What `make` answered for the entry that was committed, and where it stands. */
export interface Recorded<T> {
  readonly answer: T
  readonly id: string
  readonly index: number
  readonly now: number
}

type Draft = Pick<HotEntry, 'type' | 'action_key' | 'allowed' | 'decision_id' | 'entry'>

/** An entry ready to be placed in a transaction. */
export interface PlacedDraft<T> extends Draft {
  readonly sealed: SealedPayload | null
  readonly answer: T
  /** What follows the entry in the log: appended right after it. */
  readonly after?: () => Promise<void>
}

/** Makes one entry in a transaction of the control plane, with the change that belongs to it. */
export type MakeInTransaction<T> = (tx: Tx, attempt: Omit<Attempt, 'sealed'>) => Promise<PlacedDraft<T>>

/** What one caller wants recorded in a transaction, and until when. */
interface Together<T> {
  readonly principal: AgentPrincipal
  readonly makers: readonly MakeInTransaction<T>[]
  readonly deadline: Deadline
}

/**
 * Entries that agents cause: made from the present configuration, committed before anybody is answered, and made
 * again when the configuration moved in between (ledger.md, Versions).
 */
@Injectable()
export class AgentLogService {
  private readonly random = Buffer.alloc(ID_RANDOM_BYTES * POOLED_IDS)
  private random_at = this.random.length
  private readonly line = new Line<Together<unknown>, Recorded<unknown>[]>(
    (together) => this.recordTogether(together),
    ({ makers }) => makers.length,
    MOST_TOGETHER,
  )

  constructor(
    private readonly snapshots: SnapshotsService,
    private readonly worker: SnapshotsWorker,
    private readonly ledger: LedgerService,
    private readonly database: Database,
    private readonly clock: Clock,
  ) {}

  /**
   * Makes and commits one entry.
   * @throws as `recordAll`
   */
  async record<T>(
    principal: AgentPrincipal,
    payload: Erasable,
    make: Making<T>['make'],
  ): Promise<Recorded<T>> {
    const [recorded] = await this.recordAll(principal, [{ payload, make }])
    if (!recorded) throw new Error('nothing was recorded')
    return recorded
  }

  /**
   * Makes entries from one configuration at one `now`, and commits them together: all or none, in their order, with
   * indexes that follow each other. All are made again when the configuration moved in between.
   * @param began when work on the request began (`performance.now()`): its deadline counts from there
   * @throws Problem `invalid_credentials` when the key, agent or organization is no longer active, also when that
   * happened while the entries were made; `decision_stale`, `ledger_busy`, `ledger_unavailable`
   */
  async recordAll<T>(
    principal: AgentPrincipal,
    makings: readonly Making<T>[],
    began = performance.now(),
  ): Promise<Recorded<T>[]> {
    const { key_hash } = principal
    for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
      const snapshot =
        attempt === 1
          ? (this.snapshots.known(key_hash) ?? (await this.snapshots.byKey(key_hash)))
          : await this.snapshots.reload(key_hash)
      if (!snapshot) throw new Problem('invalid_credentials')
      const now = this.clock.now()
      const made: { answer: T; entry: HotEntry }[] = []
      const slices = new Slices()
      for (const making of makings) {
        made.push(await this.make(snapshot, now, making))
        if (makings.length > 1) await slices.pause()
      }
      const outcome = await this.ledger.submit(
        made.map(({ entry }) => entry),
        began,
      )
      switch (outcome.kind) {
        case 'appended':
          this.snapshots.touch()
          this.ledger.tellAppended(snapshot.principal.org_id)
          return made.map(({ answer, entry: { id } }, at) => ({ answer, id, index: outcome.index + at, now }))
        case 'expired':
          throw new Problem('invalid_credentials')
        case 'clock':
          await within(POLL_MS, this.worker.poll()) // measures the offset again
          break
        case 'stale':
        case 'no_log':
          break
      }
    }
    throw new Problem('decision_stale', { retry_after: 1 })
  }

  /**
   * As `recordAll`, in one transaction of the control plane, for decisions that belong together with a change: what
   * the makers write and append there commits with the entries, or nothing does. Each may run several times, every
   * time in a new transaction; what others ask for with the same key meanwhile goes into one transaction as well. None
   * is begun after the deadline, and what is ready by then is rolled back.
   * @throws as `recordAll`
   */
  recordAllWith<T>(
    principal: AgentPrincipal,
    makers: readonly MakeInTransaction<T>[],
    deadline: Deadline,
  ): Promise<Recorded<T>[]> {
    // What comes back are the answers of these very makers.
    return this.line.stand(principal.key_hash, { principal, makers, deadline }) as Promise<Recorded<T>[]>
  }

  private async recordTogether(together: readonly Together<unknown>[]): Promise<Recorded<unknown>[][]> {
    const [first] = together
    if (!first) return []
    const deadline = Deadline.first(together.map((one) => one.deadline))
    const recorded = await this.recordMakers(
      first.principal,
      together.flatMap(({ makers }) => makers),
      deadline,
    )
    let at = 0
    return together.map(({ makers }) => recorded.slice(at, (at += makers.length)))
  }

  private async recordMakers<T>(
    { key_hash }: AgentPrincipal,
    makers: readonly MakeInTransaction<T>[],
    deadline: Deadline,
  ): Promise<Recorded<T>[]> {
    for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
      deadline.check()
      const snapshot = await (attempt === 1
        ? this.snapshots.byKey(key_hash)
        : this.snapshots.reload(key_hash))
      if (!snapshot) throw new Problem('invalid_credentials')
      try {
        const recorded = await this.placeAll(snapshot, makers, deadline)
        this.snapshots.touch()
        return recorded.map(({ placed, ...rest }) => ({ ...rest, index: placed.index ?? -1 }))
      } catch (error) {
        if (!(error instanceof DecisionStale)) throw error
        if (error.isExpired) throw new Problem('invalid_credentials')
        if (error.isClock) await within(POLL_MS, this.worker.poll())
      }
    }
    throw new Problem('decision_stale', { retry_after: 1 })
  }

  private placeAll<T>(snapshot: AgentSnapshot, makers: readonly MakeInTransaction<T>[], deadline: Deadline) {
    const { versions, not_after } = snapshot
    const { org_id, agent_id } = snapshot.principal
    return this.database.withOrg({ org_id }, async (tx) => {
      deadline.check()
      const now = this.clock.now()
      const placings = []
      for (const make of makers) {
        const id = uuidv7(now, this.randomBytes())
        const { answer, after, ...draft } = await make(tx, { snapshot, now, id })
        const entry = { ...draft, org_id, id, ts: now, agent_id, versions, not_after }
        const placed = this.ledger.place(tx, entry)
        await after?.()
        placings.push({ answer, id, now, placed })
        deadline.check()
      }
      return placings
    })
  }

  private async make<T>(snapshot: AgentSnapshot, now: number, { payload, make }: Making<T>) {
    const { principal, log, versions, not_after } = snapshot
    const { org_id, agent_id } = principal
    const id = uuidv7(now, this.randomBytes())
    const erasable = payload && Object.values(payload).some((member) => member !== undefined) ? payload : null
    const sealed = erasable && (await this.ledger.sealer.seal(org_id, log, id, now, erasable))
    const { answer, ...draft } = make({ snapshot, now, id, sealed })
    return { answer, entry: { ...draft, org_id, id, ts: now, agent_id, sealed, versions, not_after } }
  }

  /** Randomness by the page: one system call for 512 ids. */
  private randomBytes(): Buffer {
    if (this.random_at === this.random.length) {
      randomFillSync(this.random)
      this.random_at = 0
    }
    this.random_at += ID_RANDOM_BYTES
    return this.random.subarray(this.random_at - ID_RANDOM_BYTES, this.random_at)
  }
}
