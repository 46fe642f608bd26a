import type { Pool } from 'pg'
import { Prisma } from '../generated/prisma/client.js'
import type { Tx } from '../platform/database/database.service.js'

/** A stored entry as it is read for sending. */
export interface LogRow {
  readonly index: number
  readonly id: string
  readonly entry: Uint8Array
}

/** An entry with its sealed payload; null where there is none, or it was erased. */
export interface SealedRow extends LogRow {
  readonly nonce: Uint8Array | null
  readonly body: Uint8Array | null
  readonly dek_id: string | null
}

export interface NewDelivery {
  readonly destination_id: string
  readonly log_index: number
  readonly log_id: string
  readonly event: string
}

export interface ClaimedRow {
  readonly log_index: number
  readonly log_id: string
  readonly event: string
  /** Counts this attempt. */
  readonly attempts: number
  readonly created_at: Date
}

/** Organizations whose log is longer than what was read of it, those that lag most first. */
export async function selectBehind(pool: Pool, most: number): Promise<string[]> {
  const { rows } = await pool.query<{ org_id: string }>({
    name: 'deliveries_behind',
    text: `SELECT c.org_id FROM event_cursors c JOIN ledger.ledger_head h ON h.org_id = c.org_id
           WHERE h.size > c.next_index ORDER BY h.size - c.next_index DESC LIMIT $1`,
    values: [most],
  })
  return rows.map((row) => row.org_id)
}

/** Every organization that has a cursor. */
export async function selectOrganizations(pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ org_id: string }>('SELECT org_id FROM event_cursors ORDER BY org_id')
  return rows.map((row) => row.org_id)
}

/**
 * Destinations with a delivery that is due, longest waiting first. Goes from destination to destination over the index
 * of what is pending, and reads one row of each: a backlog of a million costs as much as one of one.
 */
export async function selectDue(
  pool: Pool,
  now: Date,
  most: number,
): Promise<{ org_id: string; destination_id: string }[]> {
  const { rows } = await pool.query<{ org_id: string; destination_id: string }>({
    name: 'deliveries_due',
    text: `WITH RECURSIVE waiting AS (
             (SELECT org_id, destination_id, next_attempt_at FROM deliveries WHERE status = 'pending'
              ORDER BY org_id, destination_id, next_attempt_at LIMIT 1)
             UNION ALL
             SELECT n.org_id, n.destination_id, n.next_attempt_at FROM waiting w CROSS JOIN LATERAL (
               SELECT d.org_id, d.destination_id, d.next_attempt_at FROM deliveries d
               WHERE d.status = 'pending' AND (d.org_id, d.destination_id) > (w.org_id, w.destination_id)
               ORDER BY d.org_id, d.destination_id, d.next_attempt_at LIMIT 1) n
           )
           SELECT org_id, destination_id FROM waiting WHERE next_attempt_at <= $1 ORDER BY next_attempt_at LIMIT $2`,
    values: [now, most],
  })
  return rows
}

/** The organization's cursor, held until the commit; null when another worker holds it, or there is none. */
export async function lockCursor(tx: Tx, org_id: string): Promise<number | null> {
  const rows = await tx.$queryRaw<{ next_index: number }[]>`
    SELECT next_index::float8 AS next_index FROM event_cursors WHERE org_id = ${org_id} FOR UPDATE SKIP LOCKED`
  return rows[0]?.next_index ?? null
}

/** How long the log is. What is below was committed, and so was everything that was committed before it. */
export async function selectSize(tx: Tx, org_id: string): Promise<number> {
  const rows = await tx.$queryRaw<{ size: number }[]>`
    SELECT size::float8 AS size FROM ledger.ledger_head WHERE org_id = ${org_id}`
  return rows[0]?.size ?? 0
}

/** Entries of `from` to below `upto`, in order, but not those of these types. */
export async function selectEntries(
  tx: Tx,
  org_id: string,
  from: number,
  upto: number,
  without: readonly string[],
): Promise<LogRow[]> {
  return tx.$queryRaw<LogRow[]>`
    SELECT index::float8 AS index, id::text AS id, entry FROM ledger.ledger_entry AS e
    WHERE org_id = ${org_id} AND index >= ${from} AND index < ${upto}
      AND type <> ALL (${[...without]}::text[]) ORDER BY e.index`
}

/** Entries of a time, in order, the first `most`. */
export async function selectEntriesBetween(
  tx: Tx,
  org_id: string,
  times: { readonly from: Date; readonly to: Date },
  without: readonly string[],
  most: number,
): Promise<LogRow[]> {
  const after = new Date(times.to.getTime() + 1)
  return tx.$queryRaw<LogRow[]>`
    SELECT index::float8 AS index, id::text AS id, entry FROM ledger.ledger_entry AS e
    WHERE org_id = ${org_id} AND id >= ledger.uuid_floor(${times.from}) AND id < ledger.uuid_floor(${after})
      AND type <> ALL (${[...without]}::text[]) ORDER BY e.index LIMIT ${most}`
}

/** One entry with its payload; null when it is beyond its retention. */
export async function selectSealed(
  tx: Tx,
  org_id: string,
  log_id: string,
  month: string,
): Promise<SealedRow | null> {
  const rows = await tx.$queryRaw<SealedRow[]>`
    SELECT e.index::float8 AS index, e.id::text AS id, e.entry, p.nonce, p.body, p.dek_id::text AS dek_id
    FROM ledger.ledger_entry e
    LEFT JOIN ledger.ledger_payload p ON p.org_id = e.org_id AND p.index = e.index AND p.month = ${month}::date
    WHERE e.org_id = ${org_id} AND e.id = ${log_id}::uuid`
  return rows[0] ?? null
}

/**
 * Adds deliveries that are due at once. One that exists stays as it is, unless `again`: then what was delivered, failed
 * or cancelled is due anew. @returns how many were added or are due anew
 */
export async function insertDeliveries(
  tx: Tx,
  org_id: string,
  rows: readonly NewDelivery[],
  now: Date,
  again: boolean,
): Promise<number> {
  if (rows.length === 0) return 0
  const column = (values: readonly (string | number)[], type: string) =>
    Prisma.sql`ARRAY[${Prisma.join([...values])}]::${Prisma.raw(type)}[]`
  const conflict = again
    ? Prisma.sql`DO UPDATE SET status = 'pending', attempts = 0, next_attempt_at = excluded.next_attempt_at,
        delivered_at = NULL, error = NULL, created_at = excluded.created_at WHERE d.status <> 'pending'`
    : Prisma.sql`DO NOTHING`
  return tx.$executeRaw`
    INSERT INTO deliveries AS d (org_id, destination_id, log_index, log_id, event, next_attempt_at, created_at)
    SELECT ${org_id}, t.destination_id, t.log_index, t.log_id, t.event, ${now}, ${now}
    FROM unnest(${column(
      rows.map((row) => row.destination_id),
      'text',
    )}, ${column(
      rows.map((row) => row.log_index),
      'bigint',
    )}, ${column(
      rows.map((row) => row.log_id),
      'uuid',
    )}, ${column(
      rows.map((row) => row.event),
      'text',
    )}) AS t (destination_id, log_index, log_id, event)
    ON CONFLICT (org_id, destination_id, log_index) ${conflict}`
}

/** What a worker takes: it is due again at `until`, unless it is settled before. */
export interface Claim {
  readonly org_id: string
  readonly destination_id: string
  readonly now: Date
  readonly until: Date
  readonly most: number
}

/**
 * Takes up to `most` deliveries that are due and that no other worker is taking. MATERIALIZED: in a join, PostgreSQL may
 * run a subquery again and again, and each time `LIMIT … FOR UPDATE` would find the next ones.
 */
export async function claim(
  tx: Tx,
  { org_id, destination_id, now, until, most }: Claim,
): Promise<ClaimedRow[]> {
  return tx.$queryRaw<ClaimedRow[]>`
    WITH c AS MATERIALIZED (
      SELECT log_index FROM deliveries
      WHERE org_id = ${org_id} AND destination_id = ${destination_id} AND status = 'pending' AND next_attempt_at <= ${now}
      ORDER BY next_attempt_at, log_index LIMIT ${most} FOR UPDATE SKIP LOCKED
    )
    UPDATE deliveries d SET attempts = d.attempts + 1, last_attempt_at = ${now}, next_attempt_at = ${until} FROM c
    WHERE d.org_id = ${org_id} AND d.destination_id = ${destination_id} AND d.log_index = c.log_index
    RETURNING d.log_index::float8 AS log_index, d.log_id::text AS log_id, d.event, d.attempts, d.created_at`
}

/**
 * Takes the first delivery of a destination that keeps the order, if it is due. Waits for a worker that holds it: to
 * skip it would be to overtake it. While it is being attempted, or waits for its next attempt, nothing is taken.
 */
export async function claimFirst(
  tx: Tx,
  { org_id, destination_id, now, until }: Claim,
): Promise<ClaimedRow[]> {
  return tx.$queryRaw<ClaimedRow[]>`
    WITH c AS MATERIALIZED (
      SELECT log_index FROM deliveries
      WHERE org_id = ${org_id} AND destination_id = ${destination_id} AND status = 'pending'
      ORDER BY log_index LIMIT 1 FOR UPDATE
    )
    UPDATE deliveries d SET attempts = d.attempts + 1, last_attempt_at = ${now}, next_attempt_at = ${until} FROM c
    WHERE d.org_id = ${org_id} AND d.destination_id = ${destination_id} AND d.log_index = c.log_index
      AND d.status = 'pending' AND d.next_attempt_at <= ${now}
    RETURNING d.log_index::float8 AS log_index, d.log_id::text AS log_id, d.event, d.attempts, d.created_at`
}

/** Removes what was settled before `before`. */
export async function deleteSettled(tx: Tx, org_id: string, before: Date): Promise<number> {
  return tx.$executeRaw`
    DELETE FROM deliveries WHERE (org_id, destination_id, log_index) IN (
      SELECT org_id, destination_id, log_index FROM deliveries
      WHERE org_id = ${org_id} AND created_at < ${before} AND status <> 'pending' LIMIT 10000)`
}
