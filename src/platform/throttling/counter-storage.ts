import type { ThrottlerStorage } from '@nestjs/throttler'

/** Counted windows kept a class; one costs about 150 bytes. */
const MAX_KEYS = 50_000

interface Counter {
  count: number
  readonly resets_at: number
}

export interface Hit {
  /** Requests in this window, this one included. */
  readonly count: number
  /** End of the window, milliseconds since the epoch. */
  readonly resets_at: number
}

/**
 * Fixed windows as one integer each. The library's own storage keeps a timestamp a hit, which at 1,000 hits costs
 * more than the decision that it protects.
 *
 * All windows of a name have one length and are kept in the order in which they began, so the first is always the
 * first to end: expired ones are dropped as new ones come, without timers, and at the cap the oldest goes.
 */
export class CounterStorage implements ThrottlerStorage {
  private readonly windows = new Map<string, Map<string, Counter>>()

  constructor(
    private readonly clock: { now(): number },
    private readonly max_keys = MAX_KEYS,
  ) {}

  /** Counts `weight` requests of `key` in the window called `name`; with 0 only looks. */
  hit(name: string, key: string, seconds: number, weight = 1): Hit {
    const now = this.clock.now()
    const counters = this.countersOf(name)
    const present = counters.get(key)
    if (present && present.resets_at > now) {
      present.count += weight
      return present
    }
    // Deleting first moves the key to the end: insertion order stays the order of beginnings.
    counters.delete(key)
    this.makeRoom(counters, now)
    const counter = { count: weight, resets_at: now + seconds * 1000 }
    counters.set(key, counter)
    return counter
  }

  /** Counters held now, over all names. */
  get size(): number {
    let size = 0
    for (const counters of this.windows.values()) size += counters.size
    return size
  }

  /** The library's contract, for its own decorators. Never blocks longer than the window. */
  async increment(key: string, ttl: number, limit: number, _block: number, name: string) {
    const { count, resets_at } = this.hit(name, key, ttl / 1000)
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
