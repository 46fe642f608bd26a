import { Injectable } from '@nestjs/common'

/**
 * The one source of time. `now()` is the process clock plus the measured offset to the database, so that
 * replicas with different clocks write entries in one time (ledger.md, Appending). Tests pass their own.
 */
@Injectable()
export class Clock {
  private offset_ms = 0

  /** Milliseconds since the Unix epoch, in the database's time. */
  now(): number {
    return Math.trunc(Date.now() + this.offset_ms)
  }

  /** Milliseconds the database is ahead of this process. */
  get offset(): number {
    return this.offset_ms
  }

  /** Tells the clock how far the database is ahead of this process (negative: behind). */
  correct(offset_ms: number): void {
    this.offset_ms = offset_ms
  }
}
