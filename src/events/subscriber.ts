import type { LiveEvent } from './live-event.js'

/** Why a stream ends. All but `credentials` may be resumed at once, or after the hint for `shutdown`. */
export type Ending = 'slow_consumer' | 'credentials' | 'shutdown' | 'failed'

/** Where events go: a response (SSE) or a WebSocket. */
export interface Sink {
  send(event: LiveEvent): void
  /** Keeps proxies from closing the connection; `seen`: the index up to which nothing has to be asked for again. */
  beat(seen: number): void
  end(reason: Ending): void
  /** Bytes that the client has not taken yet. */
  readonly buffered: number
  /** Called when it has taken everything: there is room again. */
  onDrained: () => void
}

/** Above this nothing more is written until the client has read. */
const HIGH_WATER_BYTES = 256 * 1024
/** A client that takes nothing for so long is disconnected. */
const STUCK_MS = 10_000

/** One client's place in the log. Memory per client is bounded: what it has not taken is read again later. */
export class Subscriber {
  private blocked_since: number | null = null
  private buffered_then = 0

  constructor(
    readonly org_id: string,
    readonly principal: string,
    /** The index that it gets next. */
    public next: number,
    /** What it is sent of an event; null: nothing. */
    private readonly wants: (event: LiveEvent) => LiveEvent | null,
    readonly sink: Sink,
    /** Asks again whether it may listen; rejects when it may not. */
    readonly admit: () => Promise<unknown>,
  ) {}

  /** Hands over events in order, as far as the client takes them. False: it takes no more now. */
  deliver(events: readonly LiveEvent[]): boolean {
    for (const event of events) {
      if (this.sink.buffered > HIGH_WATER_BYTES) return false
      if (event.index !== null) {
        if (event.index < this.next) continue
        this.next = event.index + 1
      }
      const wanted = this.wants(event)
      if (wanted) this.sink.send(wanted)
    }
    return true
  }

  get isBlocked(): boolean {
    return this.sink.buffered > HIGH_WATER_BYTES
  }

  /** Whether it has taken nothing of a full buffer for too long. */
  isStuck(now: number): boolean {
    const { buffered } = this.sink
    if (!this.isBlocked || buffered < this.buffered_then) this.blocked_since = this.isBlocked ? now : null
    else this.blocked_since ??= now
    this.buffered_then = buffered
    return this.blocked_since !== null && now - this.blocked_since > STUCK_MS
  }
}
