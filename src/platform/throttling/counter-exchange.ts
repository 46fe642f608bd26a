/** What one process has counted in a window so far. Said again, it changes nothing: the last word of each counts. */
export interface CounterReport {
  /** Window and identity, such as `enforce:agent:agt_…`. */
  readonly key: string
  /** Requests that this process has counted in the window, from its beginning. */
  readonly own: number
  /** When the window ends, as far as this process knows. */
  readonly ttl_ms: number
}

/** What all processes together have counted, and when the window ends for all of them. */
export interface CounterTotal {
  readonly total: number
  readonly ttl_ms: number
}

/**
 * Where processes tell each other what they have counted: a grow-only counter per window with one number a process
 * (Shapiro et al., 2011). A report that was lost, repeated or came late needs no repair, and a place that forgot
 * everything knows it again after the next reports.
 */
export abstract class CounterExchange {
  /** Reports, and answers the totals in the same order. @throws when the place cannot be reached in time */
  abstract report(reports: readonly CounterReport[]): Promise<CounterTotal[]>

  /** What the log calls the place. */
  abstract readonly place: string

  async close(): Promise<void> {}
}
