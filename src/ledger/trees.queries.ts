import type { Pool, PoolClient } from 'pg'

/** Advisory lock: who integrates a log, for a transaction. */
const TREE_LOCK_SEED = 72_707_373

/** A log and how far its tree and its checkpoint have come. */
export interface TreeState {
  readonly org_id: string
  readonly epoch: number
  readonly origin: string
  /** Entries of the log, in the tree, under the newest checkpoint. */
  readonly size: number
  readonly integrated: number
  readonly signed: number
  /** Class that new entries are stored in. */
  readonly retention_days: number
}

const STATE = `h.org_id, h.epoch, h.origin, h.size::float8 AS size,
  coalesce(t.size, 0)::float8 AS integrated, coalesce(t.signed, 0)::float8 AS signed, h.retention_days`
const TREES = `ledger.ledger_head h LEFT JOIN ledger.ledger_tree t USING (org_id, epoch)`
const HALTED = `EXISTS (SELECT FROM ledger.ledger_halt x WHERE x.org_id = h.org_id AND x.epoch = h.epoch)`

/** Logs with entries that are not in the tree; those farthest behind first, so that none waits for ever. */
export async function selectBehind(pool: Pool, limit: number): Promise<TreeState[]> {
  const { rows } = await pool.query<TreeState>({
    name: 'ledger_behind',
    text: `SELECT ${STATE} FROM ${TREES} WHERE h.size > coalesce(t.size, 0) AND NOT ${HALTED}
           ORDER BY h.size - coalesce(t.size, 0) DESC LIMIT $1`,
    values: [limit],
  })
  return rows
}

/** Logs whose tree is larger than their newest checkpoint says, the farthest behind first, but for those refused. */
export async function selectUnsigned(
  client: PoolClient,
  refused: readonly string[],
  limit: number,
): Promise<TreeState[]> {
  const { rows } = await client.query<TreeState>({
    name: 'ledger_unsigned',
    text: `SELECT ${STATE} FROM ${TREES} WHERE t.size > t.signed AND h.origin <> ALL ($1::text[]) AND NOT ${HALTED}
           ORDER BY t.size - t.signed DESC LIMIT $2`,
    values: [refused, limit],
  })
  return rows
}

/** Every log of the installation, for the comparison with what the signer remembers. */
export async function selectTrees(client: Pool | PoolClient): Promise<TreeState[]> {
  const { rows } = await client.query<TreeState>(`SELECT ${STATE} FROM ${TREES}`)
  return rows
}

/** One log, in a transaction of its organization. */
export async function selectTree(client: PoolClient, org_id: string): Promise<TreeState | null> {
  const { rows } = await client.query<TreeState>({
    name: 'ledger_tree',
    text: `SELECT ${STATE} FROM ${TREES} WHERE h.org_id = $1`,
    values: [org_id],
  })
  return rows[0] ?? null
}

/** How many entries of these logs their newest checkpoints cover. */
export async function selectSigned(pool: Pool, org_ids: readonly string[]): Promise<Map<string, number>> {
  const { rows } = await pool.query<{ org_id: string; signed: number }>({
    name: 'ledger_signed',
    text: `SELECT t.org_id, t.signed::float8 AS signed FROM ledger.ledger_tree t
           JOIN ledger.ledger_head h USING (org_id, epoch) WHERE t.org_id = ANY ($1::text[])`,
    values: [org_ids],
  })
  return new Map(rows.map(({ org_id, signed }) => [org_id, signed]))
}

/** Counts for the gauges: logs that are halted in their present epoch, and logs with entries no checkpoint covers. */
export async function selectCounts(pool: Pool): Promise<{ halted: number; unsigned: number }> {
  const { rows } = await pool.query<{ halted: number; unsigned: number }>(
    `SELECT count(*) FILTER (WHERE ${HALTED})::integer AS halted,
            count(*) FILTER (WHERE h.size > coalesce(t.signed, 0))::integer AS unsigned FROM ${TREES}`,
  )
  return rows[0] ?? { halted: 0, unsigned: 0 }
}

/** Whether this transaction is the one that integrates the log; others need not wait. */
export async function lockTree(client: PoolClient, org_id: string): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>({
    name: 'ledger_tree_lock',
    text: 'SELECT pg_try_advisory_xact_lock(hashtextextended($1, $2)) AS locked',
    values: [org_id, TREE_LOCK_SEED],
  })
  return rows[0]?.locked ?? false
}

export interface TileName {
  readonly level: number
  readonly tile: number
}

export interface StoredTile extends TileName {
  readonly hashes: Buffer
}

/** The stored bytes of these tiles; those that are not there are missing from the answer. */
export async function selectTiles(
  client: Pool | PoolClient,
  org_id: string,
  epoch: number,
  names: readonly TileName[],
): Promise<StoredTile[]> {
  if (names.length === 0) return []
  const { rows } = await client.query<StoredTile>({
    name: 'ledger_tiles',
    text: `SELECT t.level, t.tile::float8 AS tile, t.hashes FROM ledger.ledger_tile t
           JOIN unnest($3::smallint[], $4::bigint[]) AS n (level, tile) USING (level, tile)
           WHERE t.org_id = $1 AND t.epoch = $2`,
    values: [org_id, epoch, names.map(({ level }) => level), names.map(({ tile }) => tile)],
  })
  return rows
}

/** Hashes to be put at the end of a tile that now holds `width` of them. */
export interface TileGrowth extends TileName {
  readonly width: number
  readonly hashes: Buffer
}

/** Writes tiles and moves the tree's size, or does nothing when the tree is not at `from` any more. */
export async function integrate(
  client: PoolClient,
  org_id: string,
  epoch: number,
  from: number,
  size: number,
  growth: readonly TileGrowth[],
): Promise<boolean> {
  const { rows } = await client.query<{ integrated: boolean }>({
    name: 'ledger_integrate',
    text: 'SELECT ledger.ledger_integrate($1, $2, $3, $4, $5, $6, $7, $8) AS integrated',
    values: [
      org_id,
      epoch,
      from,
      size,
      growth.map((grown) => grown.level),
      growth.map((grown) => grown.tile),
      growth.map((grown) => grown.width),
      growth.map((grown) => grown.hashes),
    ],
  })
  return rows[0]?.integrated ?? false
}
