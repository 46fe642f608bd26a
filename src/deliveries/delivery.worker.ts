import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import { uuidTime } from '../core/ids.js'
import type { Entry } from '../core/ledger/entry.js'
import { LedgerService, monthOf } from '../ledger/ledger.service.js'
import { Clock } from '../platform/clock/clock.js'
import { Loop } from '../platform/clock/loop.js'
import { Database } from '../platform/database/database.service.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { Metrics } from '../platform/metrics/metrics.js'
import type { Channel, Outcome } from './channel.js'
import * as queries from './deliveries.queries.js'
import { DeliveriesService } from './deliveries.service.js'
import { MAX_ATTEMPTS, pauseAfter } from './schedule.js'

const POLL_MS = 500
/** Longer than any attempt may take (15 s) and than recording it: then another worker may take it for lost. */
const LEASE_MS = 30_000
const AT_ONCE = { process: 32, organization: 12, destination: 4 } as const
const DESTINATIONS = 200
/** How long a stopping process waits for receivers. What is cut off is due again at once. */
const GRACE_MS = 3_000
const MAX_ERROR_LENGTH = 500

interface Target {
  readonly org_id: string
  readonly destination_id: string
}

/**
 * Attempts what is due, at least once each: the attempt is counted and leased before anything is sent, and recorded
 * after. Every replica runs one. A slow receiver holds up nothing but itself.
 */
@Injectable()
export class DeliveryWorker implements OnApplicationBootstrap {
  private readonly logger = new Logger(DeliveryWorker.name)
  private readonly loop = new Loop('deliveries are attempted', this.logger, () => this.round())
  private readonly busy = new Map<string, number>()
  private readonly running = new Set<Promise<void>>()
  private readonly stop = new AbortController()

  constructor(
    private readonly database: Database,
    private readonly deliveries: DeliveriesService,
    private readonly ledger: LedgerService,
    private readonly clock: Clock,
    private readonly metrics: Metrics,
    shutdown: Shutdown,
  ) {
    deliveries.onDue(() => this.loop.nudge())
    shutdown.onClose('work', 'deliveries', () => this.close())
  }

  onApplicationBootstrap(): void {
    this.loop.start(POLL_MS)
  }

  private async close(): Promise<void> {
    await this.loop.stop()
    const timer = setTimeout(() => this.stop.abort(), GRACE_MS)
    // Who was taking when the loop ended still begins attempts.
    while (this.running.size > 0) await Promise.all(this.running)
    clearTimeout(timer)
  }

  private async round(): Promise<number> {
    const due = await queries.selectDue(this.database.background, new Date(this.clock.now()), DESTINATIONS)
    for (const target of due) {
      const room = this.roomFor(target)
      if (room > 0) this.track(this.work(target, room))
    }
    return POLL_MS
  }

  private roomFor({ org_id, destination_id }: Target): number {
    const taken = (name: string): number => this.busy.get(name) ?? 0
    // Who is taking from this destination already asks again when it is done.
    if (taken(`claim ${org_id} ${destination_id}`) > 0) return 0
    return Math.min(
      AT_ONCE.process - taken('process'),
      AT_ONCE.organization - taken(org_id),
      AT_ONCE.destination - taken(`${org_id} ${destination_id}`),
    )
  }

  private track(work: Promise<void>): void {
    const tracked = work.catch((error: unknown) =>
      this.logger.warn({ err: error }, 'a delivery is tried again'),
    )
    this.running.add(tracked)
    void tracked.finally(() => this.running.delete(tracked))
  }

  /** Takes what is due at one destination and attempts it. */
  private async work(target: Target, room: number): Promise<void> {
    const { org_id, destination_id } = target
    const places = [`process`, org_id, `${org_id} ${destination_id}`]
    const taking = `claim ${org_id} ${destination_id}`
    this.take([taking], 1)
    // The places are held while they are asked for, so that the next destination does not count on them.
    this.take(places, room)
    let claimed: queries.ClaimedRow[] = []
    try {
      claimed = await this.claim(target, room)
    } finally {
      this.take([taking], -1)
      this.take(places, claimed.length - room)
    }
    for (const row of claimed) {
      this.track(
        this.attempt(target, row).finally(() => {
          this.take(places, -1)
          if (!this.loop.stopped) this.loop.nudge()
        }),
      )
    }
  }

  private take(places: readonly string[], count: number): void {
    for (const place of places) {
      const taken = (this.busy.get(place) ?? 0) + count
      if (taken === 0) this.busy.delete(place)
      else this.busy.set(place, taken)
    }
  }

  private async claim({ org_id, destination_id }: Target, most: number): Promise<queries.ClaimedRow[]> {
    return this.database.withOrg({ org_id }, async (tx) => {
      const destination = await this.deliveries
        .channelOf(destination_id)
        ?.destination(tx, org_id, destination_id)
      if (!destination) {
        await this.deliveries.cancel(tx, org_id, destination_id)
        return []
      }
      const now = this.clock.now()
      const asked = { org_id, destination_id, now: new Date(now), until: new Date(now + LEASE_MS), most }
      return destination.ordered ? queries.claimFirst(tx, asked) : queries.claim(tx, asked)
    })
  }

  private async attempt(target: Target, row: queries.ClaimedRow): Promise<void> {
    const channel = this.deliveries.channelOf(target.destination_id)
    if (!channel) return
    const began = performance.now()
    const outcome = await this.send(channel, target, row).catch((error: unknown): Outcome => {
      this.logger.error(
        { err: error },
        `delivery ${row.log_id} to ${target.destination_id} could not be attempted`,
      )
      return { result: 'failed', error: 'it could not be sent, by a fault of this service' }
    })
    const latency_ms = Math.round(performance.now() - began)
    if (this.stop.signal.aborted && outcome.result === 'failed') return this.giveBack(target, row)
    await this.settle(channel, target, row, outcome, latency_ms)
    this.metrics.delivered(channel.prefix.slice(0, -1), outcome.result, latency_ms / 1_000)
  }

  private async send(channel: Channel, target: Target, row: queries.ClaimedRow): Promise<Outcome> {
    const { org_id, destination_id } = target
    const month = monthOf(uuidTime(row.log_id))
    const stored = await this.database.withOrg({ org_id }, (tx) =>
      queries.selectSealed(tx, org_id, row.log_id, month),
    )
    if (!stored) return { result: 'gone', error: 'the entry is beyond the retention of the log' }
    const entry = JSON.parse(Buffer.from(stored.entry).toString()) as Entry
    const { nonce, body, dek_id } = stored
    const payload = async () =>
      nonce && body && dek_id !== null
        ? this.ledger.sealer.open(org_id, entry.log, entry.id, Date.parse(entry.ts), { nonce, body, dek_id })
        : null
    const { attempts: number, log_index, created_at } = row
    const { signal } = this.stop
    return channel.attempt({ org_id, destination_id, log_index, entry, number, created_at, payload, signal })
  }

  /** Records how it went, and what follows from it, in one transaction. An attempt that is not the newest says nothing. */
  private async settle(
    channel: Channel,
    { org_id, destination_id }: Target,
    row: queries.ClaimedRow,
    outcome: Outcome,
    latency_ms: number,
  ): Promise<void> {
    const { attempts, log_index, created_at } = row
    const now = this.clock.now()
    const pause =
      outcome.result === 'failed' ? pauseAfter(attempts, Math.random(), outcome.retry_after, now) : null
    const exhausted = outcome.result === 'failed' && attempts >= MAX_ATTEMPTS
    const status = outcome.result === 'delivered' ? 'delivered' : pause === null ? 'failed' : 'pending'
    await this.database.withOrg({ org_id }, async (tx) => {
      const { count } = await tx.delivery.updateMany({
        where: { org_id, destination_id, log_index, status: 'pending', attempts },
        data: {
          status,
          latency_ms,
          response_status: outcome.response_status ?? null,
          error: outcome.error?.slice(0, MAX_ERROR_LENGTH) ?? null,
          ...(pause === null ? {} : { next_attempt_at: new Date(now + pause) }),
          ...(status === 'delivered' ? { delivered_at: new Date(now) } : {}),
        },
      })
      if (count === 0) return
      await channel.settled(tx, {
        ...outcome,
        org_id,
        destination_id,
        exhausted,
        created_at,
        now: new Date(now),
      })
    })
  }

  /** The process ends before the receiver answered: another one need not wait for the lease. */
  private async giveBack({ org_id, destination_id }: Target, row: queries.ClaimedRow): Promise<void> {
    const { attempts, log_index } = row
    await this.database.withOrg({ org_id }, (tx) =>
      tx.delivery.updateMany({
        where: { org_id, destination_id, log_index, status: 'pending', attempts },
        data: { attempts: attempts - 1, next_attempt_at: new Date(this.clock.now()) },
      }),
    )
  }
}
