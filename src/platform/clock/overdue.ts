/** Something that was begun and is to end. */
export interface Begun {
  /** It has ended: nobody looks at it any more. May be said more than once. */
  end(): void
}

/** A link of the ring; one that is in no ring is linked to itself. */
class Link {
  previous: Link = this
  next: Link = this
}

class Place<T> extends Link implements Begun {
  constructor(
    readonly item: T,
    readonly began: number,
    private readonly ended: () => void,
  ) {
    super()
  }

  get isEnded(): boolean {
    return this.next === this
  }

  end(): void {
    if (this.isEnded) return
    this.previous.next = this.next
    this.next.previous = this.previous
    this.previous = this.next = this
    this.ended()
  }
}

/**
 * What is open, and who has been for too long. It looks every `sweep_ms` while anything is open, so one timer serves
 * thousands of requests a second.
 *
 * A ring of links and no `Set`: whenever a `Set` that much goes in and out of moves to a larger or fresh table, the
 * old table, which is old to the garbage collector, still names all that was open then. They and everything they refer
 * to are then copied out of the young generation, for nothing: a quarter of what a decision allocates, when measured.
 */
export class Overdue<T> {
  private readonly head = new Link()
  private count = 0
  private sweeper: NodeJS.Timeout | undefined
  private readonly ended = (): void => {
    this.count--
  }

  /**
   * @param limit_ms how long something may be open
   * @param late told once of each that was open for longer; it is not open any more then
   */
  constructor(
    private readonly limit_ms: number,
    private readonly sweep_ms: number,
    private readonly late: (item: T) => void,
  ) {}

  /** How much is open. */
  get size(): number {
    return this.count
  }

  /** @param began `performance.now()` when it began */
  begin(item: T, began: number): Begun {
    const place = new Place(item, began, this.ended)
    const { head } = this
    place.previous = head.previous
    place.next = head
    head.previous.next = place
    head.previous = place
    this.count++
    this.sweeper ??= setInterval(() => this.sweep(), this.sweep_ms).unref()
    return place
  }

  private sweep(): void {
    const latest = performance.now() - this.limit_ms
    const late: Place<T>[] = []
    for (let place = this.head.next; place instanceof Place; place = place.next) {
      if (place.began < latest) late.push(place as Place<T>)
    }
    for (const place of late) {
      if (place.isEnded) continue // by who was told of another
      place.end()
      this.late(place.item)
    }
    if (this.count > 0) return
    clearInterval(this.sweeper)
    this.sweeper = undefined
  }
}
