import type { Pool } from 'pg'
import type { DataKeyRow } from '../ledger/ledger.service.js'
import type { Tx } from '../platform/database/database.service.js'

export type MonthKey = DataKeyRow & { readonly month: string }

/** Stores a new data key; from now on it is the one that seals in its month. */
export async function insertDataKey(tx: Tx, org_id: string, key: MonthKey): Promise<void> {
  const { month, dek_id, kek_id, wrapped } = key
  await tx.$queryRaw`
    SELECT ledger.ledger_data_key_add(${org_id}, ${month}::date, ${dek_id}::uuid, ${kek_id}, ${wrapped})::text AS added`
}

/** The organization's data keys that are under another key-encryption key than this one, at most `limit`. */
export async function selectOthers(
  tx: Tx,
  org_id: string,
  kek_id: string,
  limit: number,
): Promise<MonthKey[]> {
  const rows = await tx.$queryRaw<(Omit<MonthKey, 'wrapped'> & { wrapped: Uint8Array })[]>`
    SELECT month::text AS month, dek_id::text AS dek_id, kek_id, wrapped FROM ledger.ledger_data_key
    WHERE org_id = ${org_id} AND kek_id <> ${kek_id} ORDER BY month, dek_id LIMIT ${limit}`
  return rows.map((row) => ({ ...row, wrapped: Buffer.from(row.wrapped) }))
}

/** Puts a data key under another key-encryption key; false when somebody else has done so meanwhile. */
export async function updateDataKey(
  tx: Tx,
  org_id: string,
  from_kek_id: string,
  key: MonthKey,
): Promise<boolean> {
  const { month, dek_id, kek_id, wrapped } = key
  const rows = await tx.$queryRaw<{ changed: boolean }[]>`
    SELECT ledger.ledger_data_key_rewrap(${org_id}, ${month}::date, ${dek_id}::uuid, ${from_kek_id}, ${kek_id}, ${wrapped}) AS changed`
  return rows[0]?.changed ?? false
}

/** How many data keys the organization has, and how many are under each key-encryption key. */
export async function countByKek(tx: Tx, org_id: string): Promise<{ kek_id: string; count: number }[]> {
  return tx.$queryRaw<{ kek_id: string; count: number }[]>`
    SELECT kek_id, count(*)::integer AS count FROM ledger.ledger_data_key
    WHERE org_id = ${org_id} GROUP BY kek_id ORDER BY kek_id`
}

/** Every organization, also inactive ones. */
export async function selectOrganizationIds(pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ org_id: string }>('SELECT org_id FROM organizations ORDER BY org_id')
  return rows.map(({ org_id }) => org_id)
}
