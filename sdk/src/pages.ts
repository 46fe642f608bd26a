/** Part of a list. */
export class Page<T> {
  constructor(
    readonly items: readonly T[],
    /** Length of the whole list; null where the service does not say. */
    readonly total: number | null,
    /** The list has at least `total` elements. */
    readonly total_is_lower_bound: boolean,
    /** The body as it was answered; some lists say more than their items. */
    readonly body: unknown,
    private readonly load: (() => Promise<Page<T>>) | null,
  ) {}

  /** Whether there may be more. */
  get hasNext(): boolean {
    return this.load !== null
  }

  /** The page after this one; null at the end. */
  async next(): Promise<Page<T> | null> {
    return this.load ? this.load() : null
  }

  [Symbol.iterator](): Iterator<T> {
    return this.items[Symbol.iterator]()
  }
}

/**
 * A list that has not been asked for yet. `await` it for its first page, or go through all of it:
 * `for await (const agent of client.agents.list())` loads page after page as they are needed.
 */
export class List<T> implements PromiseLike<Page<T>>, AsyncIterable<T> {
  constructor(private readonly first: () => Promise<Page<T>>) {}

  then<A = Page<T>, B = never>(
    done?: ((page: Page<T>) => A | PromiseLike<A>) | null,
    failed?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.first().then(done, failed)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (let page: Page<T> | null = await this.first(); page; page = await page.next()) yield* page.items
  }

  /** All elements, at most `max` of them. */
  async toArray(max = Infinity): Promise<T[]> {
    const all: T[] = []
    if (max <= 0) return all
    for await (const item of this) if (all.push(item) >= max) break
    return all
  }
}
