import type { Pool, PoolClient } from 'pg'
import type { Tx } from '../platform/database/database.service.js'

/** Advisory locks of this file: who signs (held for a session), and who integrates a log (for a transaction). */
const SIGNER_LOCK = 72_707_372
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

/** Whether this session holds the signer's lock now. It is let go when the session ends. */
export async function lockSigner(client: PoolClient): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>('SELECT pg_try_advisory_lock($1) AS locked', [
    SIGNER_LOCK,
  ])
  return rows[0]?.locked ?? false
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

export interface Leaves {
  readonly count: number
  /** Different indexes among them. */
  readonly indexes: number
  readonly first: number | null
  readonly last: number | null
  /** SHA-256(0x00 ‖ entry) of each, in order of index. */
  readonly hashes: Buffer | null
}

/**
 * Leaf hashes of the entries from `from` to below `to`. PostgreSQL hashes, so that the bytes need not travel; the
 * signer hashes them again itself before it signs.
 */
export async function selectLeaves(
  client: PoolClient,
  org_id: string,
  from: number,
  to: number,
): Promise<Leaves> {
  const { rows } = await client.query<Leaves>({
    name: 'ledger_leaves',
    text: `SELECT count(*)::integer AS count, count(DISTINCT index)::integer AS indexes, min(index)::float8 AS first, max(index)::float8 AS last,
                  string_agg(sha256('\\x00'::bytea || entry), ''::bytea ORDER BY index) AS hashes
           FROM ledger.ledger_entry WHERE org_id = $1 AND index >= $2 AND index < $3`,
    values: [org_id, from, to],
  })
  return rows[0] ?? { count: 0, indexes: 0, first: null, last: null, hashes: null }
}

/** The first index in a range that is not there exactly once. */
export async function selectFirstGap(
  client: PoolClient,
  org_id: string,
  from: number,
  to: number,
): Promise<number | null> {
  const { rows } = await client.query<{ index: number | null }>(
    `SELECT min(i)::float8 AS index FROM generate_series($2::bigint, $3::bigint - 1) AS i
     WHERE (SELECT count(*) FROM ledger.ledger_entry e WHERE e.org_id = $1 AND e.index = i) <> 1`,
    [org_id, from, to],
  )
  return rows[0]?.index ?? null
}

/** One stored entry with its columns; times in milliseconds. */
export interface StoredEntry {
  readonly index: number
  readonly org_id: string
  readonly id: string
  readonly ts: number
  readonly type: string
  readonly agent_id: string | null
  readonly action_key: string | null
  readonly allowed: boolean | null
  readonly decision_id: string | null
  readonly retention_days: number
  readonly entry: Buffer
}

const STORED = `index::float8 AS index, org_id, id::text AS id, (extract(epoch FROM ts) * 1000)::float8 AS ts, type, agent_id,
  action_key, allowed, decision_id::text AS decision_id, retention_days, entry`

/** Stored entries from `from` to below `to` in order of index, with everything that is beside the bytes. */
export async function selectStored(
  client: PoolClient,
  org_id: string,
  from: number,
  to: number,
): Promise<StoredEntry[]> {
  const { rows } = await client.query<StoredEntry>({
    name: 'ledger_stored',
    text: `SELECT ${STORED} FROM ledger.ledger_entry
           WHERE org_id = $1 AND index >= $2 AND index < $3 ORDER BY index, id`,
    values: [org_id, from, to],
  })
  return rows
}

/** The bytes of the entries from `from` to below `to`, in order of index. */
export async function selectEntryBytes(
  client: PoolClient,
  org_id: string,
  from: number,
  to: number,
): Promise<Buffer[]> {
  const { rows } = await client.query<{ entry: Buffer }>(
    'SELECT entry FROM ledger.ledger_entry WHERE org_id = $1 AND index >= $2 AND index < $3 ORDER BY index',
    [org_id, from, to],
  )
  return rows.map((row) => row.entry)
}

/** One entry by its id, of one agent only when `agent_id` is given. */
export async function selectStoredById(
  client: PoolClient,
  org_id: string,
  id: string,
  agent_id: string | null,
): Promise<{ index: number; entry: Buffer } | null> {
  const { rows } = await client.query<{ index: number; entry: Buffer }>(
    `SELECT index::float8 AS index, entry FROM ledger.ledger_entry
     WHERE org_id = $1 AND id = $2 AND ($3::text IS NULL OR agent_id = $3)`,
    [org_id, id, agent_id],
  )
  return rows[0] ?? null
}

/** An index outside 0 … size-1, seen together with the size; null when there is none. */
export async function selectStray(client: PoolClient, org_id: string): Promise<number | null> {
  const { rows } = await client.query<{ index: number | null }>(
    `SELECT (SELECT min(e.index) FROM ledger.ledger_entry e
             WHERE e.org_id = h.org_id AND (e.index >= h.size OR e.index < 0))::float8 AS index
     FROM ledger.ledger_head h WHERE h.org_id = $1`,
    [org_id],
  )
  return rows[0]?.index ?? null
}

/** The entry that began an epoch, if the log has it; its index. */
export async function selectEpochEntry(
  client: PoolClient,
  org_id: string,
  epoch: number,
): Promise<number | null> {
  const { rows } = await client.query<{ index: number; entry: Buffer }>(
    `SELECT index::float8 AS index, entry FROM ledger.ledger_entry WHERE org_id = $1 AND type = 'epoch' ORDER BY index`,
    [org_id],
  )
  const found = rows.find(({ entry }) => {
    const { epoch: begun } = JSON.parse(entry.toString()) as { epoch?: { number?: unknown } }
    return begun?.number === epoch
  })
  return found?.index ?? null
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

export interface StoredCheckpoint {
  readonly size: number
  readonly root: Buffer
  readonly note: string
}

const CHECKPOINT = 'size::float8 AS size, root, note'

/** The newest checkpoint of a log's epoch. */
export async function selectNewestCheckpoint(
  client: Pool | PoolClient,
  org_id: string,
  epoch: number,
): Promise<StoredCheckpoint | null> {
  const { rows } = await client.query<StoredCheckpoint>({
    name: 'ledger_checkpoint',
    text: `SELECT ${CHECKPOINT} FROM ledger.ledger_checkpoint WHERE org_id = $1 AND epoch = $2 ORDER BY size DESC LIMIT 1`,
    values: [org_id, epoch],
  })
  return rows[0] ?? null
}

/** Kept checkpoints up to a size, smallest first. */
export async function selectCheckpoints(
  client: PoolClient,
  org_id: string,
  epoch: number,
): Promise<StoredCheckpoint[]> {
  const { rows } = await client.query<StoredCheckpoint>(
    `SELECT ${CHECKPOINT} FROM ledger.ledger_checkpoint WHERE org_id = $1 AND epoch = $2 ORDER BY size`,
    [org_id, epoch],
  )
  return rows
}

export interface NewCheckpoint extends StoredCheckpoint {
  readonly org_id: string
  readonly epoch: number
}

/** Publishes checkpoints in one transaction; answers whose is now the newest of its log. */
export async function publish(
  client: PoolClient,
  checkpoints: readonly NewCheckpoint[],
): Promise<Set<string>> {
  const { rows } = await client.query<{ org_id: string }>({
    name: 'ledger_publish',
    text: 'SELECT org_id FROM ledger.ledger_publish($1, $2, $3, $4, $5) AS p (org_id)',
    values: [
      checkpoints.map((checkpoint) => checkpoint.org_id),
      checkpoints.map((checkpoint) => checkpoint.epoch),
      checkpoints.map((checkpoint) => checkpoint.size),
      checkpoints.map((checkpoint) => checkpoint.root),
      checkpoints.map((checkpoint) => checkpoint.note),
    ],
  })
  return new Set(rows.map((row) => row.org_id))
}

/** Whether any log of the installation has ever been signed. */
export async function existsCheckpoint(client: PoolClient): Promise<boolean> {
  const { rows } = await client.query<{ found: boolean }>(
    'SELECT EXISTS (SELECT FROM ledger.ledger_checkpoint) AS found',
  )
  return rows[0]?.found ?? false
}

export interface Halt {
  readonly index: number | null
  readonly reason: string
}

/** Records that a log is not signed any more in this epoch; the first reason stays. */
export async function insertHalt(
  client: Pool | PoolClient,
  org_id: string,
  epoch: number,
  { index, reason }: Halt,
): Promise<void> {
  await client.query('SELECT ledger.ledger_halt($1, $2, $3, $4)', [org_id, epoch, index, reason])
}

/** Why a log's epoch is not signed any more; null when it is. */
export async function selectHalt(client: PoolClient, org_id: string, epoch: number): Promise<Halt | null> {
  const { rows } = await client.query<Halt>(
    'SELECT index::float8 AS index, reason FROM ledger.ledger_halt WHERE org_id = $1 AND epoch = $2',
    [org_id, epoch],
  )
  return rows[0] ?? null
}

export interface SignerKey {
  readonly name: string
  readonly vkey: string
  readonly valid_from: Date
  readonly valid_to: Date | null
}

/** Every key that checkpoints of this installation are or were signed with, the present one first. */
export async function selectSignerKeys(client: Pool | PoolClient): Promise<SignerKey[]> {
  const { rows } = await client.query<SignerKey>(
    'SELECT name, vkey, valid_from, valid_to FROM ledger.ledger_signer_key ORDER BY valid_to DESC NULLS FIRST, valid_from DESC',
  )
  return rows
}

/** Records the key that signs from now on. */
export async function recordSignerKey(client: PoolClient, name: string, vkey: string): Promise<void> {
  await client.query('SELECT ledger.ledger_signer_key($1, $2)', [name, vkey])
}

/** What every log's origin of this installation begins with, unless LEDGER_ORIGIN says otherwise. */
export async function selectInstallation(client: Pool | PoolClient): Promise<string> {
  const { rows } = await client.query<{ installation_id: string }>(
    'SELECT installation_id FROM installation_config',
  )
  const row = rows[0]
  if (!row) throw new Error('the database has no installation')
  return row.installation_id
}

/** Begins the next epoch of a log, in the transaction that appends the entry which says so. */
export async function startEpoch(tx: Tx, org_id: string): Promise<{ epoch: number; origin: string }> {
  const rows = await tx.$queryRaw<{ epoch: number; origin: string }[]>`
    SELECT epoch, origin FROM ledger.ledger_epoch_start(${org_id})`
  const row = rows[0]
  if (!row) throw new Error(`organization ${org_id} has no log`)
  return row
}

/** The newest checkpoint of the present epoch, as an entry records it. */
export async function selectPrevious(
  tx: Tx,
  org_id: string,
): Promise<{ origin: string; size: number; root: string } | null> {
  const rows = await tx.$queryRaw<{ origin: string; size: number; root: string }[]>`
    SELECT h.origin, c.size::float8 AS size, encode(c.root, 'base64') AS root
    FROM ledger.ledger_head h JOIN ledger.ledger_checkpoint c USING (org_id, epoch)
    WHERE h.org_id = ${org_id} ORDER BY c.size DESC LIMIT 1`
  return rows[0] ?? null
}
