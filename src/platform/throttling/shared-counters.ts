import { Inject, Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import { Shutdown } from '../http/shutdown.js'
import { Metrics } from '../metrics/metrics.js'
import { CounterExchange } from './counter-exchange.js'
import { CounterStorage } from './counter-storage.js'

/** How old what a process knows of the others may become while nobody comes near a limit. */
const EVERY_MS = 100

/**
 * Makes several processes keep one limit, without a round trip in any request: each counts by itself, tells the
 * others what it has counted every 100 ms, and at once when a sixteenth of what a limit still allowed is used up.
 * So N processes together let through at most N/16 of a limit too much, plus what arrives during one round trip;
 * measured, a few requests.
 *
 * When the others cannot be reached, each process keeps the limit alone (N times as much in all). That is said once
 * and shown by a metric; no request fails and readiness does not change.
 */
@Injectable()
export class SharedCounters implements OnApplicationBootstrap {
  private readonly logger = new Logger('limits')
  private timer: NodeJS.Timeout | undefined
  private running: Promise<void> | null = null
  private again = false
  private away = false
  private closed = false

  constructor(
    private readonly storage: CounterStorage,
    metrics: Metrics,
    shutdown: Shutdown,
    @Inject(CounterExchange) private readonly exchange: CounterExchange | null,
  ) {
    metrics.onCollect('rate_limits_local', () => Number(this.away))
    shutdown.onClose('work', 'shared limits', () => this.close())
  }

  onApplicationBootstrap(): void {
    if (!this.exchange) return
    this.storage.share(() => this.wake())
    this.timer = setInterval(() => this.sync(), EVERY_MS).unref()
  }

  /** A limit comes near: tell the others now, or as soon as the report under way is answered. */
  private wake(): void {
    if (this.away) return // the next tick tries
    if (this.running) this.again = true
    else setImmediate(() => this.sync())
  }

  private sync(): void {
    if (this.running || this.closed) return
    this.running = this.report().finally(() => {
      this.running = null
      if (!this.again) return
      this.again = false
      this.sync()
    })
  }

  private async report(): Promise<void> {
    const { exchange } = this
    const changed = this.storage.changed()
    if (!exchange || changed.length === 0) return
    try {
      this.storage.settle(changed, await exchange.report(changed.map(({ report }) => report)))
      if (this.away) this.logger.log(`limits are shared through ${exchange.place} again`)
      this.away = false
    } catch (error) {
      this.storage.unsettle(changed)
      if (!this.away && !this.closed)
        this.logger.warn(
          { err: error },
          `limits cannot be shared through ${exchange.place}: each process keeps them alone until it is back`,
        )
      this.away = true
    }
  }

  private async close(): Promise<void> {
    this.closed = true
    clearInterval(this.timer)
    await this.running
    await this.report() // the last word: what was counted since
    await this.exchange?.close()
  }
}
