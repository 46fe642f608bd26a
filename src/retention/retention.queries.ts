import type { Pool } from 'pg'
import type { Tx } from '../platform/database/database.service.js'

/** A month of a retention class: what expires together. `month` is its first day. */
export interface ExpiredMonth {
  readonly retention_days: number
  readonly month: string
}

/** What an organization has in such a month that is not marked as expired yet. */
export interface Holding {
  readonly org_id: string
  readonly first_index: number
  readonly last_index: number
  readonly entries: number
}

/** The class of coming entries; null when the organization has no log. */
export async function selectRetention(tx: Tx, org_id: string): Promise<number | null> {
  const rows = await tx.$queryRaw<{ retention_days: number }[]>`
    SELECT retention_days FROM ledger.ledger_head WHERE org_id = ${org_id}`
  return rows[0]?.retention_days ?? null
}

/** How many entries of the organization have expired. */
export async function countExpired(tx: Tx, org_id: string): Promise<number> {
  const rows = await tx.$queryRaw<{ count: number }[]>`
    SELECT coalesce(sum(octet_length(leaves) / 32), 0)::float8 AS count
    FROM ledger.ledger_expired WHERE org_id = ${org_id}`
  return rows[0]?.count ?? 0
}

/** Coming entries are stored in another class; holds the log until the commit. False: they are already. */
export async function setRetention(tx: Tx, org_id: string, retention_days: number): Promise<boolean> {
  const rows = await tx.$queryRaw<{ changed: boolean }[]>`
    SELECT ledger.ledger_retention_set(${org_id}, ${retention_days}::smallint) AS changed`
  return rows[0]?.changed ?? false
}

/** Months whose time is up by the database's clock, oldest first. */
export async function selectExpirable(pool: Pool): Promise<ExpiredMonth[]> {
  const { rows } = await pool.query<ExpiredMonth>(
    'SELECT retention_days, month::text AS month FROM ledger.ledger_expirable()',
  )
  return rows
}

/** Whose entries of a month are not marked as expired yet. */
export async function selectHoldings(
  pool: Pool,
  { retention_days, month }: ExpiredMonth,
): Promise<Holding[]> {
  const { rows } = await pool.query<Holding>(
    `SELECT org_id, first_index::float8 AS first_index, last_index::float8 AS last_index, entries::float8 AS entries
     FROM ledger.ledger_unexpired($1::smallint, $2::date)`,
    [retention_days, month],
  )
  return rows
}

/** Marks entries of a month as expired and answers how many; commits only with the entry that records it. */
export async function expire(
  tx: Tx,
  { org_id }: Holding,
  expiry_id: string,
  { retention_days, month }: ExpiredMonth,
  from: number,
  upto: number,
): Promise<number> {
  const rows = await tx.$queryRaw<{ entries: number }[]>`
    SELECT ledger.ledger_expire(${org_id}, ${expiry_id}::uuid, ${retention_days}::smallint, ${month}::date,
      ${from}::bigint, ${upto}::bigint)::float8 AS entries`
  return rows[0]?.entries ?? 0
}

/** Drops a month's partitions once everything in them is marked; false while something is not. */
export async function dropMonth(pool: Pool, { retention_days, month }: ExpiredMonth): Promise<boolean> {
  const { rows } = await pool.query<{ dropped: boolean }>(
    'SELECT ledger.ledger_expire_drop($1::smallint, $2::date) AS dropped',
    [retention_days, month],
  )
  return rows[0]?.dropped ?? false
}

/** The size of the smallest kept checkpoint of at least `size` entries, in the present epoch; null: there is none. */
export async function selectSeal(pool: Pool, org_id: string, size: number): Promise<number | null> {
  const { rows } = await pool.query<{ size: number | null }>(
    `SELECT min(c.size)::float8 AS size FROM ledger.ledger_head h JOIN ledger.ledger_checkpoint c USING (org_id, epoch)
     WHERE h.org_id = $1 AND c.size >= $2`,
    [org_id, size],
  )
  return rows[0]?.size ?? null
}
