import { Problem } from '../../core/problems.js'
import { within } from './within.js'

/**
 * Until when a decision must be answered. Work in several steps asks `check` before each: nothing that the caller was
 * already told to try again is begun, or committed, for a caller who no longer waits.
 */
export class Deadline {
  private readonly ends: number

  /**
   * @param ms how long the caller waits at most
   * @param began when its request began to be worked on (`performance.now()`)
   */
  constructor(ms: number, began = performance.now()) {
    this.ends = began + ms
  }

  /** The one that ends first; for work that several wait for. */
  static first(deadlines: readonly Deadline[]): Deadline {
    const now = performance.now()
    return new Deadline(Math.min(...deadlines.map(({ ends }) => ends - now)), now)
  }

  /** @throws Problem `ledger_unavailable` when the time is over */
  check(): void {
    if (performance.now() >= this.ends) throw new Problem('ledger_unavailable', { retry_after: 1 })
  }

  /**
   * What `work` resolves to, if it does so in time.
   * @throws Problem `ledger_unavailable` when the time is over
   */
  wait<T>(work: Promise<T>): Promise<T> {
    return within(Math.max(0, this.ends - performance.now()), work, 'ledger_unavailable')
  }
}
