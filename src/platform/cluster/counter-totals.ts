import type { CounterReport, CounterTotal } from '../throttling/counter-exchange.js'

/** Windows kept; the oldest goes first, and is known again with the next report. */
const MAX_KEYS = 100_000

interface Window {
  readonly ends_at: number
  readonly own: Map<string, number>
}

/** The place where workers share their counters when there is no Redis: the primary process. */
export class CounterTotals {
  private readonly windows = new Map<string, Window>()

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** @param from names the process; a worker that was replaced has another name */
  report(from: string, reports: readonly CounterReport[]): CounterTotal[] {
    const now = this.now()
    return reports.map(({ key, own, ttl_ms }) => {
      let window = this.windows.get(key)
      if (!window || window.ends_at <= now) {
        this.windows.delete(key)
        this.makeRoom(now)
        window = { ends_at: now + ttl_ms, own: new Map() }
        this.windows.set(key, window)
      }
      window.own.set(from, own)
      let total = 0
      for (const count of window.own.values()) total += count
      return { total, ttl_ms: window.ends_at - now }
    })
  }

  /** In the order of their beginnings; two at most, so that old ones vanish without a pause. */
  private makeRoom(now: number): void {
    let removed = 0
    for (const [key, { ends_at }] of this.windows) {
      if (removed === 2 || (ends_at > now && this.windows.size < MAX_KEYS)) return
      this.windows.delete(key)
      removed++
    }
  }
}
