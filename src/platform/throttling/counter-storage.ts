import type { ThrottlerStorage } from '@nestjs/throttler'
import type { CounterReport, CounterTotal } from './counter-exchange.js'
import type { RateWindow } from './limits.js'

/** Counted windows kept a class; one costs about 200 bytes. */
const MAX_KEYS = 50_000
/** Near its end a window is not spoken of any more: the report could arrive in the next one. */
const ENDING_MS = 50
/** Of what a limit still allows: using up this part is worth telling the others at once. */
const PART_TOLD = 1 / 16
/** Windows told at once; the others are told next. */
const MAX_REPORTS = 1_000

interface Counter {
  readonly name: string
  readonly key: string
  readonly limit: number
  /** Requests counted, of this process and, as far as it knows, of all others. */
  count: number
  own: number
  others: number
  /** `own` at which the others are told at once. */
  told_at: number
  resets_at: number
}

export interface Hit {
  /** Requests in this window, this one included. */
  readonly count: number
  /** End of the window, milliseconds since the epoch. */
  readonly resets_at: number
}

/** A counter that has changed, and what is to be told of it. */
export interface Changed {
  readonly counter: Counter
  readonly report: CounterReport
}

/**
 * Fixed windows as a few integers each. The library's own storage keeps a timestamp a hit, which at 1,000 hits costs
 * more than the decision that it protects.
 *
 * All windows of a name have one length and are kept in the order in which they began, so the first is always the
 * first to end (one that began elsewhere ends sooner, and is found when its key is counted again): expired ones are
 * dropped as new ones come, without timers, and at the cap the oldest goes.
 */
export class CounterStorage implements ThrottlerStorage {
  private readonly windows = new Map<string, Map<string, Counter>>()
  /** What the others have not been told; null while nobody shares. */
  private untold: Set<Counter> | null = null
  private wake: () => void = () => {}

  constructor(
    private readonly clock: { now(): number },
    private readonly max_keys = MAX_KEYS,
  ) {}

  /** Counts `weight` requests of `key` in a window; with 0 only looks. */
  hit({ name, seconds, limit }: RateWindow, key: string, weight = 1): Hit {
    const now = this.clock.now()
    const counters = this.countersOf(name)
    let counter = counters.get(key)
    if (!counter || counter.resets_at <= now) {
      // Deleting first moves the key to the end: insertion order stays the order of beginnings.
      counters.delete(key)
      this.makeRoom(counters, now)
      const told_at = partOf(limit)
      counter = { name, key, limit, count: 0, own: 0, others: 0, told_at, resets_at: now + seconds * 1000 }
      counters.set(key, counter)
    }
    const before = counter.count
    counter.count += weight
    counter.own += weight
    // Beyond the limit there is nothing to tell: a flood of refused requests costs the others nothing.
    if (this.untold && weight > 0 && before <= limit) {
      this.untold.add(counter)
      if (counter.own >= counter.told_at) this.wake()
    }
    return counter
  }

  /** From now on counters are shared: `wake` is called when others should be told soon. */
  share(wake: () => void): void {
    this.untold = new Set()
    this.wake = wake
  }

  /** Takes what the others have not been told. */
  changed(): Changed[] {
    const now = this.clock.now()
    const changed: Changed[] = []
    for (const counter of this.untold ?? []) {
      if (changed.length === MAX_REPORTS) break
      this.untold?.delete(counter)
      counter.told_at = Infinity // until the answer says how much is left
      const { name, key, own, resets_at } = counter
      const ttl_ms = resets_at - now
      if (ttl_ms > ENDING_MS) changed.push({ counter, report: { key: `${name}:${key}`, own, ttl_ms } })
    }
    return changed
  }

  /** What all have counted: never less than was known in the same window, should the others' place forget. */
  settle(changed: readonly Changed[], totals: readonly CounterTotal[]): void {
    const now = this.clock.now()
    changed.forEach(({ counter, report }, at) => {
      const said = totals[at]
      if (!said) return
      counter.others = Math.max(counter.others, said.total - report.own)
      counter.count = counter.own + counter.others
      counter.resets_at = now + said.ttl_ms
      counter.told_at = report.own + partOf(counter.limit - counter.count)
      if (counter.own >= counter.told_at) this.wake()
    })
  }

  /** They could not be told: next time. */
  unsettle(changed: readonly Changed[]): void {
    for (const { counter, report } of changed) {
      counter.told_at = report.own + partOf(counter.limit - counter.count)
      this.untold?.add(counter)
    }
  }

  /** Counters held now, over all names. */
  get size(): number {
    let size = 0
    for (const counters of this.windows.values()) size += counters.size
    return size
  }

  /** The library's contract, for its own decorators. Never blocks longer than the window. */
  async increment(key: string, ttl: number, limit: number, _block: number, name: string) {
    const { count, resets_at } = this.hit({ name, seconds: ttl / 1000, limit }, key)
    const seconds = Math.max(1, Math.ceil((resets_at - this.clock.now()) / 1000))
    const isBlocked = count > limit
    return { totalHits: count, timeToExpire: seconds, isBlocked, timeToBlockExpire: isBlocked ? seconds : 0 }
  }

  private countersOf(name: string): Map<string, Counter> {
    let counters = this.windows.get(name)
    if (!counters) {
      counters = new Map<string, Counter>()
      this.windows.set(name, counters)
    }
    return counters
  }

  /** At most two are removed a call: more than is added, so old windows vanish without a pause. */
  private makeRoom(counters: Map<string, Counter>, now: number): void {
    let removed = 0
    for (const [key, counter] of counters) {
      const expired = counter.resets_at <= now
      if (removed === 2 || (!expired && counters.size < this.max_keys)) return
      counters.delete(key)
      removed++
    }
  }
}

const partOf = (left: number): number => Math.max(1, Math.floor(left * PART_TOLD))
