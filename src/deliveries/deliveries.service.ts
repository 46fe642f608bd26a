import { Injectable } from '@nestjs/common'
import { Clock } from '../platform/clock/clock.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import type { Prisma } from '../generated/prisma/client.js'
import type { Entry } from '../core/ledger/entry.js'
import type { Channel, Destination } from './channel.js'
import * as queries from './deliveries.queries.js'
import { matches, TEST_EVENT, unwantedTypes } from './event-filter.js'

export type { Attempt, Channel, Destination, Outcome, Settled } from './channel.js'
export { type EventFacts, factsOf, linkTo } from './event-facts.js'
export { outcomeOf } from './outcome.js'
export { EventPatterns } from './event-patterns.js'
export { matches, permissionsFor, TEST_EVENT } from './event-filter.js'

export const DELIVERY_STATUSES = ['pending', 'delivered', 'failed', 'cancelled'] as const
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number]

const CANCELLED = 'the destination was deleted or disabled'
/** Entries that one replay looks at: as many as fit into a control-plane transaction with room to spare. */
const REPLAY_ENTRIES = 2_000

/** What one call of `replay` did. */
export interface Replayed {
  /** Deliveries that are due again. */
  readonly queued: number
  /** Where the next call begins; null when everything up to `to` was looked at. */
  readonly next_from: Date | null
}

/** The deliveries of entries to destinations. Channels register here; nothing here knows what a webhook is. */
@Injectable()
export class DeliveriesService {
  private readonly channels: Channel[] = []
  private readonly listeners: (() => void)[] = []

  constructor(
    private readonly database: Database,
    private readonly clock: Clock,
  ) {}

  register(channel: Channel): void {
    this.channels.push(channel)
  }

  /** The channel of a destination; undefined for one that this release does not know. */
  channelOf(destination_id: string): Channel | undefined {
    return this.channels.find(({ prefix }) => destination_id.startsWith(prefix))
  }

  /** Told when something was made due in this process. */
  onDue(listener: () => void): void {
    this.listeners.push(listener)
  }

  /** Everything that wants events of an organization now. */
  async destinations(tx: Tx, org_id: string): Promise<Destination[]> {
    const found: Destination[] = []
    for (const channel of this.channels) found.push(...(await channel.destinations(tx, org_id)))
    return found
  }

  /**
   * From where a new destination gets events: what is committed after the transaction that makes it. Begins to follow
   * the organization's log when nobody did.
   */
  async follow(tx: Tx, org_id: string): Promise<number> {
    const size = await queries.selectSize(tx, org_id)
    await tx.eventCursor.createMany({ data: [{ org_id, next_index: size }], skipDuplicates: true })
    return size
  }

  /** Turns an organization's next entries into deliveries. @returns whether there may be more to read */
  async fanOut(org_id: string, most: number): Promise<boolean> {
    const now = new Date(this.clock.now())
    return this.database.withOrg({ org_id }, async (tx) => {
      const from = await queries.lockCursor(tx, org_id)
      if (from === null) return false
      // First the end, then who wants it: a destination that is committed before an entry is never missed by it.
      const size = await queries.selectSize(tx, org_id)
      const destinations = await this.destinations(tx, org_id)
      const upto = destinations.length === 0 ? size : Math.min(size, from + most)
      if (upto <= from) return false
      const unwanted = unwantedTypes(destinations.flatMap(({ events }) => [...events]))
      const rows =
        destinations.length === 0 ? [] : await queries.selectEntries(tx, org_id, from, upto, unwanted)
      const added = rows.flatMap((row) => deliveriesOf(row, destinations))
      await queries.insertDeliveries(tx, org_id, added, now, false)
      await tx.eventCursor.update({ where: { org_id }, data: { next_index: upto } })
      if (added.length > 0) this.database.afterCommit(tx, () => this.announce())
      return upto < size
    })
  }

  /** Gives up what waits for a destination, in the transaction that deletes or disables it. */
  async cancel(tx: Tx, org_id: string, destination_id: string): Promise<void> {
    await tx.delivery.updateMany({
      where: { org_id, destination_id, status: 'pending' },
      data: { status: 'cancelled', error: CANCELLED },
    })
  }

  /** A page of a destination's deliveries, newest entry first. */
  async list(
    tx: Tx,
    where: { org_id: string; destination_id: string; status?: DeliveryStatus | undefined },
    page: { take: number; skip: number },
  ) {
    const filter: Prisma.DeliveryWhereInput = {
      org_id: where.org_id,
      destination_id: where.destination_id,
      ...(where.status === undefined ? {} : { status: where.status }),
    }
    const items = await tx.delivery.findMany({ where: filter, orderBy: { log_index: 'desc' }, ...page })
    return { items, total: await tx.delivery.count({ where: filter }) }
  }

  /** Makes deliveries due again that are not waiting already. @returns how many; unknown ones count as none */
  async replayEntries(
    tx: Tx,
    org_id: string,
    destination_id: string,
    log_ids: readonly string[],
  ): Promise<number> {
    const rows = await tx.delivery.findMany({
      where: { org_id, destination_id, log_id: { in: [...log_ids] } },
      select: { log_index: true, log_id: true, event: true },
    })
    return this.again(
      tx,
      org_id,
      rows.map((row) => ({ ...row, log_index: Number(row.log_index), destination_id })),
    )
  }

  /** The same for every entry of a time that the destination asks for, whether or not it was ever sent. */
  async replayTime(
    tx: Tx,
    org_id: string,
    to: Destination,
    times: { from: Date; to: Date },
  ): Promise<Replayed> {
    const unwanted = unwantedTypes(to.events)
    const rows = await queries.selectEntriesBetween(tx, org_id, times, unwanted, REPLAY_ENTRIES + 1)
    const wanted = { ...to, from_index: 0 }
    const queued = await this.again(
      tx,
      org_id,
      rows.slice(0, REPLAY_ENTRIES).flatMap((row) => deliveriesOf(row, [wanted])),
    )
    const next = rows[REPLAY_ENTRIES]
    return { queued, next_from: next ? new Date(readEntry(next).ts) : null }
  }

  private async again(tx: Tx, org_id: string, rows: readonly queries.NewDelivery[]): Promise<number> {
    const queued = await queries.insertDeliveries(tx, org_id, rows, new Date(this.clock.now()), true)
    this.database.afterCommit(tx, () => this.announce())
    return queued
  }

  private announce(): void {
    for (const listener of this.listeners) listener()
  }
}

function deliveriesOf(row: queries.LogRow, destinations: readonly Destination[]): queries.NewDelivery[] {
  const entry = readEntry(row)
  return destinations
    .filter((destination) => row.index >= destination.from_index && isWanted(entry, destination))
    .map(({ id }) => ({ destination_id: id, log_index: row.index, log_id: row.id, event: entry.event }))
}

function isWanted(entry: Entry, { id, events, team }: Destination): boolean {
  if (entry.event === TEST_EVENT) return entry.type === 'config' && entry.change.id === id
  if (!matches(events, entry.event)) return false
  return team === null || ('subject' in entry && entry.subject?.team === team)
}

const readEntry = (row: queries.LogRow): Entry => JSON.parse(Buffer.from(row.entry).toString()) as Entry
