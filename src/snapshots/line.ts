import { Problem } from '../core/problems.js'

/** More than this many of one name at once are refused: they could not all be answered in time. */
const LONGEST = 200

interface Waiting<Item, Result> {
  readonly item: Item
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
}

/**
 * A group commit for what needs a transaction of the control plane. Those of one name would wait for each other in the
 * database anyway, where every one that waits keeps a connection from everybody else: so they wait here, and whatever
 * has gathered by the time the one before is done goes together.
 */
export class Line<Item, Result> {
  private readonly waiting = new Map<string, Waiting<Item, Result>[]>()

  /**
   * @param work for all that go together: one result for each, in their order, or none at all
   * @param size of one item; a group is of at most `largest`, unless one item alone is larger
   */
  constructor(
    private readonly work: (items: readonly Item[]) => Promise<readonly Result[]>,
    private readonly size: (item: Item) => number,
    private readonly largest: number,
  ) {}

  /**
   * Resolves to the result of this item. Where the work of a group fails, each is tried alone, so that nobody fails for
   * another's sake.
   * @throws Problem `ledger_busy` when too many wait under this name; what the work throws
   */
  stand(name: string, item: Item): Promise<Result> {
    const line = this.waiting.get(name)
    if (line && line.length >= LONGEST) return Promise.reject(new Problem('ledger_busy', { retry_after: 1 }))
    return new Promise((resolve, reject) => {
      const waiting = { item, resolve, reject }
      if (line) {
        line.push(waiting)
        return
      }
      this.waiting.set(name, [waiting])
      void this.serve(name)
    })
  }

  private async serve(name: string): Promise<void> {
    for (;;) {
      const line = this.waiting.get(name)
      if (!line || line.length === 0) break
      await this.together(line.splice(0, this.fitting(line)))
    }
    this.waiting.delete(name)
  }

  /** How many from the front of the line go together: at least one. */
  private fitting(line: readonly Waiting<Item, Result>[]): number {
    let size = 0
    const over = line.findIndex(({ item }) => (size += this.size(item)) > this.largest)
    return over === -1 ? line.length : Math.max(1, over)
  }

  private async together(group: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await this.work(group.map(({ item }) => item))
      group.forEach(({ resolve }, at) => resolve(results[at] as Result))
    } catch (error) {
      const [first, ...others] = group
      if (others.length === 0) first?.reject(error)
      else for (const one of group) await this.together([one])
    }
  }
}
