import type { Pool, PoolClient } from 'pg'

export interface HeadRow {
  readonly org_id: string
  readonly origin: string
  /** Entries that are committed: the next index. */
  readonly size: number
  /** The newest signed checkpoint; null while there is none. */
  readonly checkpoint: { readonly size: number; readonly root: string; readonly at: string } | null
}

/** How far these logs are. One statement for all of them: the only thing that is asked when nothing happens. */
export async function selectHeads(pool: Pool, org_ids: readonly string[]): Promise<HeadRow[]> {
  const { rows } = await pool.query<HeadRow>({
    name: 'event_heads',
    text: `
      SELECT h.org_id, h.origin, h.size::float8 AS size,
             (SELECT json_build_object('size', c.size, 'root', encode(c.root, 'base64'), 'at', c.created_at)
              FROM ledger.ledger_checkpoint c WHERE c.org_id = h.org_id AND c.epoch = h.epoch
              ORDER BY c.size DESC LIMIT 1) AS checkpoint
      FROM ledger.ledger_head h WHERE h.org_id = ANY ($1::text[])`,
    values: [org_ids],
  })
  return rows
}

/**
 * Committed entries from an index on, in order. Indexes are dense and committed in order, because the head of the log
 * is held until the commit: who has read `n` never finds a new entry below it.
 */
export async function selectEntries(
  client: PoolClient,
  org_id: string,
  from: number,
  limit: number,
): Promise<{ index: number; entry: string }[]> {
  const { rows } = await client.query<{ index: number; entry: string }>({
    name: 'event_entries',
    text: `
      SELECT index::float8 AS index, convert_from(entry, 'UTF8') AS entry FROM ledger.ledger_entry AS e
      WHERE org_id = $1 AND index >= $2 AND index < $2 + $3 ORDER BY e.index`,
    values: [org_id, from, limit],
  })
  return rows
}
