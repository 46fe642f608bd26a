import type { Logger } from '@nestjs/common'

/** After a failure: long enough not to flood the log, short enough to be back soon. */
const FAILED_MS = 1_000

/**
 * Runs a piece of background work again and again, one at a time. A failure is said once, and once more when it is
 * over; it never ends the loop.
 */
export class Loop {
  private timer: NodeJS.Timeout | undefined
  private running: Promise<void> = Promise.resolve()
  private failing = false
  private working = false
  private again = false
  stopped = false

  /**
   * @param what for the log line: what happens while it works
   * @param work one round; answers after how many milliseconds the next one is due
   */
  constructor(
    private readonly what: string,
    private readonly logger: Logger,
    private readonly work: () => Promise<number>,
  ) {}

  start(delay_ms: number): void {
    if (this.stopped) return
    this.timer = setTimeout(() => {
      this.running = this.run()
    }, delay_ms).unref()
  }

  /** There is something to do: the next round begins now, or right after the one that is running. */
  nudge(): void {
    if (this.working) {
      this.again = true
      return
    }
    clearTimeout(this.timer)
    this.start(0)
  }

  /** Resolves when the round that was running has ended; none begins after it. */
  async stop(): Promise<void> {
    this.stopped = true
    clearTimeout(this.timer)
    await this.running
  }

  private async run(): Promise<void> {
    let next_ms = FAILED_MS
    this.working = true
    this.again = false
    try {
      next_ms = await this.work()
      if (this.failing) this.logger.log(`working again: ${this.what}`)
      this.failing = false
    } catch (error) {
      if (!this.failing && !this.stopped) this.logger.warn({ err: error }, `not working: ${this.what}`)
      this.failing = true
    }
    this.working = false
    this.start(this.again && !this.failing ? 0 : next_ms)
  }
}
