import { Clock } from '../../src/platform/clock/clock.js'

/** The time of the process and the database, moved on by a test. */
export class MovedClock extends Clock {
  ahead_ms = 0

  override now(): number {
    return super.now() + this.ahead_ms
  }
}
