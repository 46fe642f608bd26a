import { Problem } from '../core/problems.js'

/** More than this many of one agent at once are refused: they could not all be answered in time. */
const LONGEST = 200

/**
 * What agents do with approvals, one after the other for each agent: they would wait for each other in the database
 * anyway, where every one that waits keeps a connection of the control plane from everybody else.
 */
export class Line {
  private readonly ends = new Map<string, { promise: Promise<unknown>; length: number }>()

  /** @throws Problem `ledger_busy` when too many wait under this name */
  async stand<T>(name: string, work: () => Promise<T>): Promise<T> {
    const end = this.ends.get(name) ?? { promise: Promise.resolve(), length: 0 }
    if (end.length >= LONGEST) throw new Problem('ledger_busy', { retry_after: 1 })
    const turn = end.promise.then(work, work)
    const mine = { promise: turn.catch(() => undefined), length: end.length + 1 }
    this.ends.set(name, mine)
    try {
      return await turn
    } finally {
      const now = this.ends.get(name)
      if (now) now.length--
      if (now === mine) this.ends.delete(name)
    }
  }
}
