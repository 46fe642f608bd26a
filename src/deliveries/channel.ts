import type { Entry } from '../core/ledger/entry.js'
import type { Json } from '../core/ledger/canonical.js'
import type { Tx } from '../platform/database/database.service.js'

/** Somewhere that events of one organization go. */
export interface Destination {
  /** Unique in the organization; begins with its channel's prefix. */
  readonly id: string
  /** Patterns of the events that it asks for. */
  readonly events: readonly string[]
  /** Only events about agents of this team; null: of the whole organization. */
  readonly team: string | null
  /** Entries before it are not its own. */
  readonly from_index: number
  /** One at a time, in the order of the log; a delivery that fails holds up those behind it. */
  readonly ordered: boolean
}

/** One entry, about to be sent to one destination. */
export interface Attempt {
  readonly org_id: string
  readonly destination_id: string
  readonly log_index: number
  readonly entry: Entry
  /** From 1. */
  readonly number: number
  /** When the entry was turned into this delivery. */
  readonly created_at: Date
  /** The erasable part of the entry; null when it has none, or it was erased. Only for who may see it. */
  readonly payload: () => Promise<Readonly<Record<string, Json>> | null>
  /** Fires when the process is about to end. */
  readonly signal: AbortSignal
}

/** How an attempt ended. */
export interface Outcome {
  /**
   * `delivered`; `failed`: try again as the schedule says; `gone`: it asks for nothing any more, or does not exist;
   * nothing waits for it any longer.
   */
  readonly result: 'delivered' | 'failed' | 'gone'
  /** The receiver's HTTP or SMTP status. */
  readonly response_status?: number
  /** For people: why it failed. No addresses, no secrets. */
  readonly error?: string
  /** The receiver's Retry-After. */
  readonly retry_after?: string | undefined
}

/** What a channel is told in the transaction that records an attempt. */
export interface Settled extends Outcome {
  readonly org_id: string
  readonly destination_id: string
  /** It failed, and there is no further attempt. */
  readonly exhausted: boolean
  readonly created_at: Date
  readonly now: Date
}

/** A way for events to leave. The capability that owns the destinations registers one (`DeliveriesService.register`). */
export interface Channel {
  /** What the ids of its destinations begin with, such as `whk_`. */
  readonly prefix: string
  /** Those that want events now. */
  destinations(tx: Tx, org_id: string): Promise<readonly Destination[]>
  /** The same of one; null when it is not there or wants none, and what waits for it is cancelled. */
  destination(tx: Tx, org_id: string, id: string): Promise<Destination | null>
  /** Sends. Never throws for what a receiver does; an exception is a fault of ours, and is tried again. */
  attempt(attempt: Attempt): Promise<Outcome>
  /** In the transaction that records the outcome: what it means for the destination. */
  settled(tx: Tx, settled: Settled): Promise<void>
}
