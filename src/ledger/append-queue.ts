import type { Pool, PoolClient } from 'pg'
import { Problem } from '../core/problems.js'
import { type Begun, Overdue } from '../platform/clock/overdue.js'
import { FairQueue, type Taken } from './fair-queue.js'
import { type AppendResult, type AppendRow, appendBatch, OUTCOME, selectIndexes } from './ledger.queries.js'

export type AppendOutcome =
  /** `index`: of the first entry; those of a group follow it without a gap. */
  | { readonly kind: 'appended'; readonly index: number }
  /** A version differs: reload what changed and decide again. */
  | { readonly kind: 'stale' }
  /** The key that asked has expired by the database's clock. */
  | { readonly kind: 'expired' }
  /** This process's clock is more than 5 s off the database's. */
  | { readonly kind: 'clock' }
  | { readonly kind: 'no_log' }

export interface AppendQueueOptions {
  /** Batches under way at once, each on a connection of its own. */
  readonly flushers: number
  /** An entry counts as 1, a large one as 1 for each 16 KiB that are begun: so these bound memory as well. */
  readonly max_batch: number
  /** Back-pressure: beyond any of the three, new entries are refused with 503 `ledger_busy` (see `FairQueue`). */
  readonly max_queue: number
  readonly max_queue_org: number
  readonly max_wait_ms: number
  /** After this a caller is answered 503 `ledger_unavailable`, whatever becomes of its entry. */
  readonly deadline_ms: number
  /** Told of every failed batch, before it is handled. */
  readonly on_fault: (error: unknown) => void
  /** Off only in tests: organizations share one queue, and suffer from each other. */
  readonly fair: boolean
}

/** A decision is answered, or refused with 503, this many milliseconds after work on it began (design.md 6). */
export const DECISION_MS = 2_000

export const APPEND_DEFAULTS: AppendQueueOptions = {
  flushers: 2,
  max_batch: 512,
  max_queue: 2_048,
  max_queue_org: 1_536,
  max_wait_ms: 500,
  deadline_ms: DECISION_MS,
  on_fault: () => {},
  fair: true,
}

const COST_BYTES = 16 * 1024

const SWEEP_MS = 100
const RETRIES = 3
/** Who had little to append so lately may come again. */
const LITTLE_MS = 1_000

/** What is appended whole or not at all: nearly always one entry, else a group. */
interface Item {
  readonly rows: readonly AppendRow[]
  readonly org_id: string
  readonly cost: number
  readonly queued_at: number
  settled: boolean
  /** Until it is settled. */
  open: Begun | undefined
  readonly resolve: (outcome: AppendOutcome) => void
  readonly reject: (error: unknown) => void
}

/** How a failed batch is handled (ledger.md, Appending). */
type Fault = 'retry' | 'bisect' | 'exhausted' | 'unknown'

function faultOf(error: unknown): Fault {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
  if (code === '40001' || code === '40P01' || code === '55P03') return 'retry'
  if (code.startsWith('22') || code.startsWith('23')) return 'bisect'
  if (code.startsWith('53') || code.startsWith('42') || code.startsWith('AG')) return 'exhausted'
  // 08xxx, 57P0x, 57014 (statement timeout), 58030, a broken socket, a read timeout: it may have committed or not.
  return 'unknown'
}

/**
 * Group commit. Entries wait in memory, one queue an organization, and a flusher that is free takes what has
 * gathered by the end of the event loop's turn, in turns between organizations: no timer, so a lone entry is appended
 * at once and a busy log gets large batches. Callers are answered after the commit. An organization is in at most one batch of this process at a time, so the log keeps the order
 * in which entries arrived, and its own second flusher never finds the head held.
 */
export class AppendQueue {
  private readonly options: AppendQueueOptions
  private readonly waiting: FairQueue<Item>
  private readonly busy = new Set<string>()
  /** Organizations whose head somebody else held at the last try: appended alone, waiting for the head. */
  private readonly contended = new Set<string>()
  private readonly outstanding: Overdue<Item>
  private flushing = 0
  /** Of them, batches of an organization that has much to append. */
  private large = 0
  /** When organizations that have little were served last. */
  private little_at = -Infinity
  private due = false
  private closed = false

  constructor(
    private readonly pool: Pool,
    options: Partial<AppendQueueOptions> = {},
  ) {
    this.options = { ...APPEND_DEFAULTS, ...options }
    this.waiting = new FairQueue(this.options)
    this.outstanding = new Overdue(this.options.deadline_ms, SWEEP_MS, (item) =>
      fail([item], new Error('the ledger did not answer within the deadline')),
    )
  }

  /** What waits for a flusher: entries, and groups as one. */
  get depth(): number {
    return this.waiting.size
  }

  /** Whether so many more entries of this organization would be taken now. */
  hasRoom(org_id: string, entries: number): boolean {
    return !this.closed && this.waiting.admits(org_id, entries, performance.now())
  }

  /**
   * Appends entries in one commit, all or none, with indexes that follow each other; resolves after the commit.
   * Several entries are of one agent, at one time, from one configuration: then `ledger_append`, which looks at each
   * entry's organization, versions, time and expiry under one head lock, cannot judge them differently.
   * @throws Problem `ledger_busy` when the queue is full or slow, `ledger_unavailable` when the entry could not be
   * committed within the deadline (it may still turn up in the log; the caller was then told nothing).
   * @param began when its request began to be worked on (`performance.now()`): the deadline counts from there
   */
  append(rows: readonly AppendRow[], began = performance.now()): Promise<AppendOutcome> {
    const org_id = orgOf(rows)
    const cost = costOf(rows)
    const queued_at = performance.now()
    if (this.closed) return Promise.reject(new Problem('not_ready', { retry_after: 1 }))
    if (!this.waiting.admits(org_id, cost, queued_at)) {
      return Promise.reject(new Problem('ledger_busy', { retry_after: 1 }))
    }
    return new Promise((resolve, reject) => {
      const item: Item = { rows, org_id, cost, queued_at, settled: false, open: undefined, resolve, reject }
      item.open = this.outstanding.begin(item, began)
      this.waiting.push(item)
      this.pumpSoon()
    })
  }

  /** Refuses new entries and resolves when those already taken are settled. */
  async drain(): Promise<void> {
    this.closed = true
    while (this.outstanding.size > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  }

  private pump(): void {
    while (this.flushing < this.options.flushers) {
      const batch = this.take()
      if (!batch) return
      this.flushing++
      if (batch.large) this.large++
      void this.flush(batch.items, batch.alone).finally(() => {
        for (const org_id of batch.orgs) this.busy.delete(org_id)
        this.flushing--
        if (batch.large) this.large--
        this.pumpSoon()
      })
    }
  }

  /** After whatever came in together has been read: what a turn of the event loop brings shares a batch. */
  private pumpSoon(): void {
    if (this.due) return
    this.due = true
    setImmediate(() => {
      this.due = false
      this.pump()
    })
  }

  /** The next batch; an organization whose head somebody held goes alone and waits for it. */
  private take(): Taken<Item> | null {
    const now = performance.now()
    const batch = this.waiting.take(
      this.options.max_batch,
      (org_id) => {
        if (this.busy.has(org_id)) return 'not_now'
        return this.contended.has(org_id) ? 'alone' : 'with_others'
      },
      this.mayBeLarge(now),
    )
    if (batch.orgs.length === 0) return null
    if (!batch.large) this.little_at = now
    for (const org_id of batch.orgs) {
      this.busy.add(org_id)
      this.contended.delete(org_id)
    }
    return { ...batch, items: batch.items.filter((item) => !item.settled) }
  }

  /** One flusher is left to those who have little to append, as long as there are any. */
  private mayBeLarge(now: number): boolean {
    return this.large < Math.max(1, this.options.flushers - 1) || now - this.little_at > LITTLE_MS
  }

  /** Appends one batch and settles every item of it, or puts it back in its queue. Never throws. */
  private async flush(items: Item[], wait: boolean, attempt = 1): Promise<void> {
    if (items.length === 0) return
    try {
      this.settle(items, await this.call((client) => appendBatch(client, items.flatMap(rowsOf), wait)))
    } catch (error) {
      this.options.on_fault(error)
      switch (faultOf(error)) {
        case 'retry':
          if (attempt < RETRIES) return this.flush(items, wait, attempt + 1)
          return fail(items, error)
        case 'bisect':
          return this.bisect(items, wait, error)
        case 'exhausted':
          return fail(items, error)
        case 'unknown':
          return this.recover(items)
      }
    }
  }

  private settle(items: readonly Item[], results: readonly AppendResult[]): void {
    const held: Item[] = []
    let at = 0
    for (const item of items) {
      const own = results.slice(at, (at += item.rows.length))
      const [first] = own
      if (first?.outcome === OUTCOME.held) held.push(item)
      else if (own.every(({ outcome }) => outcome === first?.outcome)) this.done(item, first)
      else
        fail(
          [item],
          new Error(`ledger_append judged a group by halves: ${own.map(({ outcome }) => outcome).join()}`),
        )
    }
    for (const item of held) {
      this.contended.add(item.org_id)
      this.waiting.putBack(item) // this flush still owns the organization, so nothing can overtake it
    }
  }

  private done(item: Item, result: AppendResult | undefined): void {
    switch (result?.outcome) {
      case OUTCOME.appended:
        return finish(item, { kind: 'appended', index: result.index ?? -1 })
      case OUTCOME.stale:
        return finish(item, { kind: 'stale' })
      case OUTCOME.clock:
        return finish(item, { kind: 'clock' })
      case OUTCOME.expired:
        return finish(item, { kind: 'expired' })
      case OUTCOME.no_log:
        return finish(item, { kind: 'no_log' })
      default:
        return fail([item], new Error(`ledger_append answered ${String(result?.outcome)}`))
    }
  }

  /** Bad data in the batch: halve it until the bad entry stands alone (with its group), so that only it fails. */
  private async bisect(items: Item[], wait: boolean, error: unknown): Promise<void> {
    if (items.length > 1) {
      const middle = items.length >> 1
      await this.flush(items.slice(0, middle), wait)
      return this.flush(items.slice(middle), wait)
    }
    // A unique violation of a repeated append means that its first copy did commit.
    const found = await this.find(items)
    for (const item of items) {
      const index = found?.get(idOf(item))
      if (index === undefined) fail([item], error)
      else finish(item, { kind: 'appended', index })
    }
  }

  /** The connection broke: look which entries were committed, append the rest again under the same ids. */
  private async recover(items: Item[]): Promise<void> {
    let rest = items.filter((item) => !item.settled)
    while (rest.length > 0) {
      const found = await this.find(rest)
      if (found) {
        for (const item of rest) {
          const index = found.get(idOf(item))
          if (index !== undefined) finish(item, { kind: 'appended', index })
          else if (!item.settled) this.waiting.putBack(item)
        }
        return
      }
      await new Promise((resolve) => setTimeout(resolve, 50))
      rest = rest.filter((item) => !item.settled) // the sweeper answers those whose deadline has passed
    }
  }

  private async find(items: readonly Item[]): Promise<Map<string, number> | null> {
    try {
      return await this.call((client) => selectIndexes(client, items.map(firstOf)))
    } catch {
      return null // not reachable yet; the caller tries again until the deadline
    }
  }

  /** One connection for one statement; a connection whose statement failed is not used again. */
  private async call<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    const client = await this.pool.connect()
    try {
      const result = await work(client)
      client.release()
      return result
    } catch (error) {
      client.release(faultOf(error) === 'unknown')
      throw error
    }
  }
}

const rowsOf = (item: Item): readonly AppendRow[] => item.rows

/** Stands for its group: they were committed together or not at all. */
function firstOf({ rows: [first] }: Pick<Item, 'rows'>): AppendRow {
  if (!first) throw new Error('nothing to append')
  return first
}

const idOf = (item: Item): string => firstOf(item).id

/** @throws Error when the rows are not such that one commit takes all or none */
function orgOf(rows: readonly AppendRow[]): string {
  const first = firstOf({ rows })
  const alike = rows.every(
    (row) =>
      row === first ||
      (row.org_id === first.org_id &&
        row.agent_id === first.agent_id &&
        row.ts === first.ts &&
        row.not_after === first.not_after &&
        row.versions === first.versions),
  )
  if (!alike) throw new Error('a group is of one agent, one time and one configuration')
  return first.org_id
}

function costOf(rows: readonly AppendRow[]): number {
  let cost = 0
  for (const { entry, payload } of rows)
    cost += Math.max(1, Math.ceil((entry.length + (payload?.body.length ?? 0)) / COST_BYTES))
  return cost
}

function finish(item: Item, outcome: AppendOutcome): void {
  if (item.settled) return
  item.settled = true
  item.open?.end()
  item.resolve(outcome)
}

function fail(items: readonly Item[], cause: unknown): void {
  for (const item of items) {
    if (item.settled) continue
    item.settled = true
    item.open?.end()
    item.reject(new Problem('ledger_unavailable', { retry_after: 1, cause }))
  }
}
