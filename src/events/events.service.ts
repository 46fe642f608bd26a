import { Injectable, Logger } from '@nestjs/common'
import { Problem } from '../core/problems.js'
import { LedgerService } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Database } from '../platform/database/database.service.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { rateIdentity } from '../platform/throttling/rate-limiter.js'
import * as queries from './events.queries.js'
import { filterOf } from './live-event.js'
import { type Ending, type Sink, Subscriber } from './subscriber.js'
import { PAGE, Tail } from './tail.js'

/** How long what another replica committed may wait. What this one committed is looked for at once. */
const POLL_MS = 250
/** Nudges are gathered for so long. */
const NUDGE_MS = 20
const BEAT_MS = 15_000
/** A revoked key or session hears nothing more after this. */
const ADMIT_MS = 4_000
/**
 * Streams that are asked about at a time: they must not take every connection from who decides, and a question that
 * stands in line behind all the others could run out of time.
 */
const ADMIT_AT_ONCE = 4
/** Without the log for so long, or without an answer about their credentials, clients are sent elsewhere. */
const BLIND_MS = 10_000

/** In one process; each replica has its own. */
export const MAX_PER_PRINCIPAL = 50
export const MAX_PER_ORGANIZATION = 500

export interface Listening {
  /** Absent: what is committed from now on. */
  readonly last_event_id?: number | undefined
  readonly types?: readonly string[] | undefined
  readonly admit: () => Promise<unknown>
}

/**
 * Live events. Their source is the committed log itself, followed by index: so nothing is told before its commit, an
 * event's id is its place in the log, and resuming neither skips nor repeats, on whatever replica.
 */
@Injectable()
export class EventsService {
  private readonly logger = new Logger(EventsService.name)
  private readonly tails = new Map<string, Tail>()
  private timer: NodeJS.Timeout | undefined
  private nudged: NodeJS.Timeout | undefined
  private polling = false
  private beat_at = 0
  private admit_at = 0
  /** Streams that are still to be asked about in this turn; null between turns. */
  private unasked: Subscriber[] | null = null
  private seen_at = 0

  constructor(
    private readonly database: Database,
    private readonly shutdown: Shutdown,
    ledger: LedgerService,
  ) {
    ledger.onAppended((org_id) => this.nudge(org_id))
    shutdown.onClose('work', 'live events', () => this.endAll('shutdown'))
  }

  /**
   * Sends events to `sink` until it is closed or ended. Call the returned function when the client has gone.
   * @throws Problem `not_ready` while closing; `rate_limit_exceeded` beyond 50 streams of a principal or 500 of an
   * organization; `validation_failed` for an id that is not in the log
   */
  async listen(
    principal: Principal,
    sink: Sink,
    { last_event_id, types, admit }: Listening,
  ): Promise<() => void> {
    if (this.shutdown.isDraining) throw new Problem('not_ready', { retry_after: 1 })
    const { org_id } = principal
    this.assertRoom(org_id, rateIdentity(principal, undefined))
    const [head] = await queries.selectHeads(this.database.background, [org_id])
    const size = head?.size ?? 0
    if (last_event_id !== undefined && last_event_id >= size) {
      const errors = [{ path: 'Last-Event-ID', message: 'is beyond the end of the log' }]
      throw new Problem('validation_failed', { errors })
    }
    const identity = rateIdentity(principal, undefined)
    // Counted again: others may have come while the head was read.
    this.assertRoom(org_id, identity)
    const next = last_event_id === undefined ? size : last_event_id + 1
    const subscriber = new Subscriber(org_id, identity, next, filterOf(principal, types), sink, admit)
    const tail = this.tails.get(org_id) ?? new Tail(size, (from) => this.read(org_id, from))
    this.tails.set(org_id, tail)
    tail.subscribers.add(subscriber)
    // Who reads as fast as it can is not held to one buffer a poll.
    sink.onDrained = () => {
      if (tail.isBehind) this.nudge(org_id)
    }
    this.start()
    this.nudge(org_id)
    return () => this.remove(subscriber)
  }

  /** Streams of this process. */
  get count(): number {
    return this.all().length
  }

  private all(): Subscriber[] {
    return [...this.tails.values()].flatMap(({ subscribers }) => [...subscribers])
  }

  private assertRoom(org_id: string, identity: string): void {
    const there = [...(this.tails.get(org_id)?.subscribers ?? [])]
    const own = there.filter(({ principal }) => principal === identity).length
    if (there.length < MAX_PER_ORGANIZATION && own < MAX_PER_PRINCIPAL) return
    throw new Problem('rate_limit_exceeded', {
      detail: `At most ${MAX_PER_PRINCIPAL} live streams for one principal and ${MAX_PER_ORGANIZATION} for one organization.`,
      retry_after: 5,
    })
  }

  private read(org_id: string, from: number) {
    return this.database.withOrgClient({ org_id }, (client) =>
      queries.selectEntries(client, org_id, from, PAGE),
    )
  }

  private start(): void {
    if (this.timer) return
    this.seen_at = this.beat_at = this.admit_at = performance.now()
    this.timer = setInterval(() => void this.tick(), POLL_MS).unref()
  }

  private async tick(): Promise<void> {
    if (this.shutdown.isDraining) return this.endAll('shutdown')
    await this.poll()
    const now = performance.now()
    for (const subscriber of this.all()) if (subscriber.isStuck(now)) this.end(subscriber, 'slow_consumer')
    if (now - this.seen_at > BLIND_MS) this.endAll('failed')
    if (now - this.admit_at > ADMIT_MS && !this.unasked) {
      this.admit_at = now
      void this.admitAllAgain()
    }
    // Closed by default: whoever could not be asked about in time.
    if (now - this.admit_at > BLIND_MS)
      for (const subscriber of this.unasked?.splice(0) ?? []) this.end(subscriber, 'failed')
    if (now - this.beat_at > BEAT_MS) {
      this.beat_at = now
      for (const { sink, next } of this.all()) sink.beat(next - 1)
    }
  }

  private nudge(org_id: string): void {
    if (this.nudged || !this.tails.has(org_id)) return
    this.nudged = setTimeout(() => {
      this.nudged = undefined
      void this.poll()
    }, NUDGE_MS).unref()
  }

  private async poll(): Promise<void> {
    if (this.polling || this.tails.size === 0) return
    this.polling = true
    try {
      const heads = await queries.selectHeads(this.database.background, [...this.tails.keys()])
      await Promise.all(heads.map(async (head) => this.tails.get(head.org_id)?.follow(head)))
      this.seen_at = performance.now()
    } catch (error) {
      this.logger.warn({ err: error }, 'the log cannot be followed')
    } finally {
      this.polling = false
    }
    for (const [org_id, tail] of this.tails) if (tail.isBehind) this.nudge(org_id)
  }

  private async admitAllAgain(): Promise<void> {
    const unasked = (this.unasked = this.all())
    const ask = async (): Promise<void> => {
      for (let one = unasked.shift(); one; one = unasked.shift())
        if (this.isOpen(one)) await this.admitAgain(one)
    }
    await Promise.all(Array.from({ length: ADMIT_AT_ONCE }, ask))
    this.unasked = null
  }

  private isOpen(subscriber: Subscriber): boolean {
    return this.tails.get(subscriber.org_id)?.subscribers.has(subscriber) ?? false
  }

  /** Closed by default: also a question that could not be answered ends the stream. */
  private async admitAgain(subscriber: Subscriber): Promise<void> {
    try {
      await subscriber.admit()
    } catch (error) {
      this.end(subscriber, error instanceof Problem && error.status < 500 ? 'credentials' : 'failed')
    }
  }

  private endAll(reason: Ending): void {
    for (const subscriber of this.all()) this.end(subscriber, reason)
  }

  private end(subscriber: Subscriber, reason: Ending): void {
    this.remove(subscriber)
    const { org_id, principal, next } = subscriber
    // Who reads nothing cannot be told why; the operator can.
    if (reason === 'slow_consumer')
      this.logger.warn({ org_id, principal, next }, 'a live stream took nothing for 10 s')
    subscriber.sink.end(reason)
  }

  private remove(subscriber: Subscriber): void {
    const tail = this.tails.get(subscriber.org_id)
    tail?.subscribers.delete(subscriber)
    if (tail?.subscribers.size === 0) this.tails.delete(subscriber.org_id)
    if (this.tails.size > 0) return
    clearInterval(this.timer)
    this.timer = undefined
  }
}
