/** What waits: one or more entries of one organization that go together. */
export interface Waiting {
  readonly org_id: string
  /** How much of a queue or batch it takes; an ordinary entry is 1. */
  readonly cost: number
  readonly queued_at: number
}

export interface FairQueueLimits {
  /** Cost that may wait over all organizations. */
  readonly max_queue: number
  /** Cost that one organization may have waiting: below `max_queue`, so that one alone never fills it. */
  readonly max_queue_org: number
  /** An organization whose oldest entry waits longer than this gets no more in. */
  readonly max_wait_ms: number
  /** Off only in tests, as the control: one queue for all, first come first served. */
  readonly fair: boolean
}

/** An organization that has more than this waiting is appended by itself: others would wait for all of it. */
const LARGE = 16
/** What of it is appended at once while others wait; an item is not divided. */
const LARGE_TURN = 128

interface Line<T> {
  items: T[]
  cost: number
  /** What it may still take of a batch (deficit round robin): what a large item lacked last time is not lost. */
  credit: number
}

/** How an organization may go into the next batch. */
export type Admission = 'with_others' | 'alone' | 'not_now'

export interface Taken<T> {
  readonly items: T[]
  readonly orgs: string[]
  /** It is of one organization that must go alone. */
  readonly alone: boolean
  /** It is of one organization that has much to append. */
  readonly large: boolean
}

/**
 * One queue an organization, and turns between them: deficit round robin (Shreedhar and Varghese, 1995) over the cost
 * of what waits. An organization that floods fills its own queue and its own share of each batch, nobody else's.
 */
export class FairQueue<T extends Waiting> {
  /** In the order of turns: whoever was served goes to the end. */
  private readonly lines = new Map<string, Line<T>>()
  private cost = 0
  private count = 0

  constructor(private readonly limits: FairQueueLimits) {}

  /** Items that wait. */
  get size(): number {
    return this.count
  }

  /** Whether more of this organization may wait. */
  admits(org_id: string, cost: number, now: number): boolean {
    const { max_queue, max_queue_org, max_wait_ms, fair } = this.limits
    if (!fair) return this.cost + cost <= max_queue && this.oldestWait(now) <= max_wait_ms
    const line = this.lines.get(org_id)
    const own = (line?.cost ?? 0) + cost
    if (own > max_queue_org || waitOf(line, now) > max_wait_ms) return false
    if (this.cost + cost <= max_queue) return true
    // Full, of others: an equal share is still everybody's, as far as twice the room goes.
    const share = Math.max(1, Math.floor(max_queue / (this.lines.size + 1)))
    return own <= share && this.cost + cost <= 2 * max_queue
  }

  push(item: T): void {
    const line = this.lineOf(item.org_id)
    line.items.push(item)
    this.counted(line, item, 1)
  }

  /** Back to where it was by its time, in front of what came later. */
  putBack(item: T): void {
    const line = this.lineOf(item.org_id)
    const later = line.items.findIndex((other) => other.queued_at >= item.queued_at)
    line.items.splice(later < 0 ? line.items.length : later, 0, item)
    this.counted(line, item, 1)
  }

  /**
   * The next batch, of at most `max_cost` (an item is never divided, and never larger than that), in turns.
   * Organizations that have little waiting share a batch; one that has much goes by itself, so that nobody's entry is
   * answered after a hundred of somebody else's.
   * @param admission asked once an organization; one that must go `alone` goes when it is the first whose turn it is
   * @param with_large whether an organization that has much waiting may go now
   */
  take(max_cost: number, admission: (org_id: string) => Admission, with_large = true): Taken<T> {
    const { turn, ...how } = this.nextTurn(max_cost, admission, with_large)
    const items: T[] = []
    const orgs = new Set<string>()
    let room =
      how.large && this.lines.size > 1 ? Math.min(max_cost, Math.max(LARGE_TURN, firstCost(turn))) : max_cost
    let open = turn
    while (room > 0 && open.length > 0) {
      // Of what is left: the shares that some did not need are divided again.
      const quantum = this.limits.fair ? Math.max(1, Math.floor(room / open.length)) : max_cost
      open = open.filter(([org_id, line]) => {
        if (room === 0) return false // its turn did not come: no credit to be saved up
        line.credit += quantum
        const taken = this.draw(line, room)
        for (const item of taken) {
          items.push(item)
          room -= item.cost
        }
        if (taken.length > 0) orgs.add(org_id)
        const next = line.items[0]
        return next !== undefined && next.cost <= room
      })
    }
    for (const org_id of orgs) this.toTheEnd(org_id)
    return { items, orgs: [...orgs], ...how }
  }

  /** Whose turn it is together. */
  private nextTurn(most: number, admission: (org_id: string) => Admission, with_large: boolean) {
    const turn: [string, Line<T>][] = []
    for (const [org_id, line] of this.lines) {
      const large = this.limits.fair && line.cost > LARGE
      if (large && !with_large) continue
      const how = admission(org_id)
      const alone = how === 'alone'
      if (how === 'not_now' || ((large || alone) && turn.length > 0)) continue
      turn.push([org_id, line])
      if (large || alone) return { turn, alone, large }
      if (turn.length === most) break
    }
    return { turn, alone: false, large: false }
  }

  private draw(line: Line<T>, room: number): T[] {
    let upto = 0
    let left = Math.min(line.credit, room)
    for (let next = line.items[0]; next && next.cost <= left; next = line.items[upto]) {
      left -= next.cost
      upto++
    }
    const taken = line.items.splice(0, upto)
    for (const item of taken) {
      line.credit -= item.cost
      this.counted(line, item, -1)
    }
    return taken
  }

  private toTheEnd(org_id: string): void {
    const line = this.lines.get(org_id)
    this.lines.delete(org_id)
    if (line && line.items.length > 0) this.lines.set(org_id, line)
  }

  private lineOf(org_id: string): Line<T> {
    let line = this.lines.get(org_id)
    if (!line) {
      line = { items: [], cost: 0, credit: 0 }
      this.lines.set(org_id, line)
    }
    return line
  }

  private counted(line: Line<T>, item: T, sign: 1 | -1): void {
    line.cost += sign * item.cost
    this.cost += sign * item.cost
    this.count += sign
  }

  private oldestWait(now: number): number {
    let longest = -Infinity
    for (const line of this.lines.values()) longest = Math.max(longest, waitOf(line, now))
    return longest
  }
}

const waitOf = (line: Line<Waiting> | undefined, now: number): number =>
  now - (line?.items[0]?.queued_at ?? Infinity)

const firstCost = <T extends Waiting>(turn: readonly [string, Line<T>][]): number =>
  turn[0]?.[1].items[0]?.cost ?? 0
