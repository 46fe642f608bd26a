import { checkpointOf, eventOf, type LiveEvent } from './live-event.js'
import type { HeadRow } from './events.queries.js'
import type { Subscriber } from './subscriber.js'

/** Events kept for everybody who is near the end of the log. */
const RING = 2_000
export const PAGE = 500

/** Reads entries of one log: `[from, from + PAGE)`, as far as they are committed. */
export type ReadPage = (from: number) => Promise<{ index: number; entry: string }[]>

/** The end of one organization's log, followed once for all who listen to it in this process. */
export class Tail {
  readonly subscribers = new Set<Subscriber>()
  private ring: LiveEvent[] = []
  private checkpoint_size = -1
  private running = false

  constructor(
    /** The next index that is read. */
    private next: number,
    private readonly read: ReadPage,
  ) {}

  /** Takes the log's present head, and gives everybody what they have not got. One at a time. */
  async follow(head: HeadRow): Promise<void> {
    if (this.running) return
    this.running = true
    try {
      while (this.next < head.size) {
        const rows = await this.read(this.next)
        if (rows.length === 0) break
        for (const { index, entry } of rows) this.ring.push(eventOf(index, entry))
        this.next = (rows.at(-1)?.index ?? this.next) + 1
        if (this.ring.length > RING) this.ring = this.ring.slice(-RING)
        await this.deliver()
      }
      await this.deliver()
      this.tellCheckpoint(head)
    } finally {
      this.running = false
    }
  }

  private async deliver(): Promise<void> {
    for (const subscriber of this.subscribers) {
      const [first] = this.ring
      if (subscriber.next >= this.next || subscriber.isBlocked) continue
      const from = first && subscriber.next - (first.index ?? 0)
      if (from !== undefined && from >= 0) subscriber.deliver(this.ring.slice(from))
      else await this.catchUp(subscriber)
    }
  }

  /** One page from further back: who is far behind must not keep the others waiting. */
  private async catchUp(subscriber: Subscriber): Promise<void> {
    const rows = await this.read(subscriber.next)
    subscriber.deliver(rows.map(({ index, entry }) => eventOf(index, entry)))
  }

  private tellCheckpoint(head: HeadRow): void {
    const size = head.checkpoint?.size ?? -1
    const event = size > this.checkpoint_size ? checkpointOf(head) : null
    const known = this.checkpoint_size >= 0
    this.checkpoint_size = Math.max(this.checkpoint_size, size)
    // The one that was there before anybody listened is no news.
    if (event && known) for (const subscriber of this.subscribers) subscriber.deliver([event])
  }

  /** Whether somebody still waits for what is committed. */
  get isBehind(): boolean {
    for (const subscriber of this.subscribers)
      if (subscriber.next < this.next && !subscriber.isBlocked) return true
    return false
  }
}
