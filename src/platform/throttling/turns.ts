import { Problem, type ProblemCode } from '../../core/problems.js'

/** Costs: an ordinary request is 1, see `costOf`. */
export interface TurnLimits {
  /** What all may have open; whoever has less than `least` comes in beyond it, as far as twice. */
  readonly all: number
  /** What is shared out while more than one asks: little, because everybody waits for what is open of others. */
  readonly shared: number
  /** Nobody's share is less, but for who is served most. */
  readonly least: number
  /** The share of who was served more than the average lately: what it has open is what the others wait for. */
  readonly busiest: number
  /** Who was the last to ask, and nobody else for so long, is alone and may have `all`. */
  readonly alone_after_ms: number
  /** What `busiest` and rests are for: somebody else asked so lately. */
  readonly beside_ms: number
  /** Requests that one may have waiting; all together four times as many. */
  readonly max_waiting: number
  readonly max_wait_ms: number
  /** What those are told who cannot wait. */
  readonly refusal: ProblemCode
}

export const TURN_DEFAULTS: TurnLimits = {
  all: 512,
  shared: 64,
  least: 8,
  busiest: 4,
  alone_after_ms: 10_000,
  beside_ms: 1_000,
  max_waiting: 1_024,
  max_wait_ms: 500,
  refusal: 'ledger_busy',
}

const SWEEP_MS = 5
/**
 * So many at least, and a sixteenth of all that wait: a hundred refusals in one go are what others would wait for, and
 * those who are refused together come again together.
 */
const REFUSED_AT_ONCE = 4
const LONGEST_REST_MS = 100
const MOST_RESTS = 3
/** After this long, what was served counts half. */
const HALF_MS = 1_000
const COST_BYTES = 16 * 1024
/** No item of a batch is shorter. */
const ITEM_BYTES = 32

/**
 * What a request costs as far as its head tells: 1 for each item that may be in it, 1 for each 16 KiB. So a share of
 * what is open bounds memory as well as work.
 * @param length bytes of the body, null when they are not announced @param items at most so many are in it
 */
export function costOf(length: number | null, items: number, longest: number): number {
  const bytes = Math.min(length ?? longest, longest)
  return Math.max(1, Math.min(items, Math.ceil(bytes / ITEM_BYTES))) + Math.floor(bytes / COST_BYTES)
}

interface Line {
  readonly name: string
  open: number
  readonly waiting: Waiter[]
}

interface Waiter {
  readonly cost: number
  readonly since: number
  readonly admit: (turn: Turn) => void
  readonly refuse: (problem: Problem) => void
}

/** A request that is being worked on. */
export class Turn {
  private ended = false

  constructor(private readonly leave: () => void) {}

  /** Its work is done: somebody else's may begin. May be said more than once. */
  end(): void {
    if (this.ended) return
    this.ended = true
    this.leave()
  }
}

/**
 * Whose request is worked on next. A process does one thing at a time, so an organization that has hundreds of
 * requests open makes everybody else wait for all of them, wherever they are queued fairly later on. Here each has its
 * share of what is open; its other requests wait unread, and are refused when their turn does not come in time.
 * An organization that nobody else asks beside has everything.
 */
export class Turns {
  /** Who has something open or waiting. */
  private readonly lines = new Map<string, Line>()
  /** Who has something waiting, in the order of turns. */
  private readonly queue = new Set<Line>()
  /** What each was served lately, in costs; who was not served lately is not in it. */
  private readonly served = new Map<string, number>()
  private served_all = 0
  /** Until when who has had a long turn lets others go. */
  private readonly resting = new Map<string, number>()
  private halved_at = 0
  private open = 0
  private waiting = 0
  /** Who asked last, and who asked before and is somebody else. */
  private last = { name: '', at: -Infinity }
  private other_at = -Infinity
  private sweeper: NodeJS.Timeout | undefined

  constructor(
    private readonly limits: TurnLimits = TURN_DEFAULTS,
    private readonly clock: () => number = () => performance.now(),
  ) {}

  /**
   * A turn at once where there is room, else when it comes.
   * @param name whose request it is
   * @throws Problem `refusal`, at once when too many wait, else as a rejection
   */
  take(name: string, cost: number): Turn | Promise<Turn> {
    const now = this.clock()
    this.forgetServed(now)
    this.noted(name, now)
    let line = this.lines.get(name)
    if (!line) {
      line = { name, open: 0, waiting: [] }
      this.lines.set(name, line)
    }
    if (line.waiting.length === 0 && this.admits(line, cost, now)) return this.begin(line, cost)
    const { max_waiting } = this.limits
    if (line.waiting.length >= max_waiting || this.waiting >= 4 * max_waiting) {
      this.forget(line)
      throw this.refusal()
    }
    return this.wait(line, cost, now)
  }

  private wait(line: Line, cost: number, since: number): Promise<Turn> {
    return new Promise((admit, refuse) => {
      line.waiting.push({ cost, since, admit, refuse })
      this.waiting++
      this.queue.add(line)
      this.sweeper ??= setInterval(() => this.sweep(), SWEEP_MS).unref()
    })
  }

  private begin(line: Line, cost: number): Turn {
    this.served.set(line.name, (this.served.get(line.name) ?? 0) + cost)
    this.served_all += cost
    line.open += cost
    this.open += cost
    const long = cost > this.limits.least
    const began = long ? this.clock() : 0
    return new Turn(() => {
      line.open -= cost
      this.open -= cost
      if (long) this.rest(line, began)
      this.forget(line)
      this.next()
    })
  }

  /**
   * After a long turn: whoever else asks has the process for as long, and two others twice as long. What it took, and
   * not what it costs, because that is what others waited for.
   */
  private rest(line: Line, began: number): void {
    const now = this.clock()
    const others = Math.min(this.served.size - 1, MOST_RESTS)
    if (others < 1 || this.aloneFor(line, now) > this.limits.beside_ms) return
    const rest_ms = Math.min((now - began) * others, LONGEST_REST_MS)
    this.resting.set(line.name, now + rest_ms)
    if (line.waiting.length > 0) setTimeout(() => this.next(), rest_ms).unref()
  }

  private admits(line: Line, cost: number, now: number): boolean {
    const own = line.open + cost
    const { all, least } = this.limits
    // What is larger than a share goes when nothing else of its organization is open, and when it has rested.
    if (own > this.shareOf(line, now) && (line.open > 0 || this.rests(line, now))) return false
    return this.open + cost <= all || (own <= least && this.open + cost <= 2 * all)
  }

  private rests({ name }: Line, now: number): boolean {
    return now < (this.resting.get(name) ?? -Infinity)
  }

  private shareOf(line: Line, now: number): number {
    const { all, shared, least, alone_after_ms, beside_ms } = this.limits
    const alone_ms = this.aloneFor(line, now)
    if (alone_ms > alone_after_ms) return all
    if (alone_ms <= beside_ms && this.isBusiest(line)) return this.limits.busiest
    // One share is kept for who comes next.
    return Math.max(least, Math.floor(shared / (this.lines.size + 1)))
  }

  /** How long nobody else has asked. */
  private aloneFor({ name }: Line, now: number): number {
    return now - (this.last.name === name ? this.other_at : this.last.at)
  }

  /**
   * Whether it was served more than the average of those who were served lately, and more than what is shared out. So
   * a flood beside who asks now and then has little open at a time, and of two floods each in turn.
   */
  private isBusiest(line: Line): boolean {
    const served = this.served.get(line.name) ?? 0
    return served > this.limits.shared && served * this.served.size > this.served_all
  }

  private forgetServed(now: number): void {
    const halvings = Math.floor((now - this.halved_at) / HALF_MS)
    if (halvings < 1) return
    this.halved_at = now
    this.served_all = 0
    for (const [name, until] of this.resting) if (until <= now) this.resting.delete(name)
    for (const [name, cost] of this.served) {
      const left = cost / 2 ** halvings
      if (left < 1) this.served.delete(name)
      else this.served.set(name, left)
      this.served_all += left < 1 ? 0 : left
    }
  }

  /** Everybody in turn, as long as somebody's next request has room: who was served goes to the end. */
  private next(): void {
    if (this.queue.size === 0) return
    const now = this.clock()
    this.forgetServed(now)
    for (const line of this.queue) {
      const [first] = line.waiting
      if (first && !this.admits(line, first.cost, now)) continue
      this.queue.delete(line)
      if (!first) continue
      line.waiting.shift()
      this.waiting--
      if (line.waiting.length > 0) this.queue.add(line)
      first.admit(this.begin(line, first.cost))
    }
  }

  private sweep(): void {
    this.refuseLate()
    this.next() // who has become alone has more room
    if (this.waiting > 0) return
    clearInterval(this.sweeper)
    this.sweeper = undefined
  }

  /** Refuses those whose turn did not come in time, a few at a time: who came together is late together. */
  private refuseLate(): void {
    const latest = this.clock() - this.limits.max_wait_ms
    let left = Math.max(REFUSED_AT_ONCE, Math.ceil(this.waiting / REFUSED_AT_ONCE ** 2))
    for (const line of this.queue) {
      let late = 0
      while (late < left && (line.waiting[late]?.since ?? Infinity) <= latest) late++
      left -= late
      this.waiting -= late
      for (const { refuse } of line.waiting.splice(0, late)) refuse(this.refusal())
      if (line.waiting.length > 0) continue
      this.queue.delete(line)
      this.forget(line)
    }
  }

  private refusal(): Problem {
    return new Problem(this.limits.refusal, { retry_after: 1 })
  }

  private noted(name: string, at: number): void {
    if (this.last.name === name) {
      this.last.at = at
      return
    }
    this.other_at = this.last.at
    this.last = { name, at }
  }

  private forget(line: Line): void {
    if (line.open === 0 && line.waiting.length === 0) this.lines.delete(line.name)
  }
}
