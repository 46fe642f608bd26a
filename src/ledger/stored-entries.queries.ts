import type { PoolClient } from 'pg'
import { EMPTY, SEPARATOR } from '../core/ledger/column-lines.js'
import { hasCode } from '../platform/http/error-code.js'

export interface Leaves {
  readonly count: number
  /** Different indexes among them. */
  readonly indexes: number
  readonly first: number | null
  readonly last: number | null
  /** SHA-256(0x00 ‖ entry) of each, in order of index. */
  readonly hashes: Buffer | null
}

/** What is left of expired entries: each index from $2 to below $3 with its leaf hash. */
const EXPIRED = `
  SELECT x.from_index + i AS index, substr(x.leaves, i * 32 + 1, 32) AS leaf
  FROM ledger.ledger_expired x, generate_series(0, octet_length(x.leaves) / 32 - 1) AS i
  WHERE x.org_id = $1 AND x.from_index > $2 - 256 AND x.from_index < $3 AND x.from_index + i >= $2 AND x.from_index + i < $3`

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
                  string_agg(leaf, ''::bytea ORDER BY index) AS hashes
           FROM (
             SELECT index, sha256('\\x00'::bytea || entry) AS leaf FROM ledger.ledger_entry
             WHERE org_id = $1 AND index >= $2 AND index < $3
             UNION ALL
             SELECT index, leaf FROM (${EXPIRED}) x
             WHERE NOT EXISTS (SELECT FROM ledger.ledger_entry e WHERE e.org_id = $1 AND e.index = x.index)
           ) AS leaves`,
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
  readonly text: string
  /** The entry's bytes where they are no text, as `text` then shows only roughly. */
  readonly bytes?: Buffer
}

const COLUMNS = `index::float8 AS index, org_id, id, round(date_part('epoch', ts) * 1000) AS ts, type, agent_id,
  action_key, allowed, decision_id, retention_days`
const RANGE = `FROM ledger.ledger_entry AS e
  WHERE org_id = $1 AND index >= $2 AND index < $3 ORDER BY e.index, e.id`

/**
 * Stored entries from `from` to below `to` in order of index, with everything that is beside the bytes.
 * An entry is text, so that is how it is read: to write its bytes as digits, or in PostgreSQL's escape format, costs as
 * much as everything else of it together. @throws when the bytes of one are not text any more: see `readStored`
 */
export type SelectStored = (
  client: PoolClient,
  org_id: string,
  from: number,
  to: number,
) => Promise<StoredEntry[]>

const selectStored: SelectStored = async (client, org_id, from, to) => {
  const { rows } = await client.query<StoredEntry>({
    name: 'ledger_stored',
    text: `SELECT ${COLUMNS}, convert_from(entry, 'UTF8') AS text ${RANGE}`,
    values: [org_id, from, to],
  })
  return rows
}

const selectStoredBytes: SelectStored = async (client, org_id, from, to) => {
  const { rows } = await client.query<Omit<StoredEntry, 'text'> & { readonly bytes: Buffer }>({
    name: 'ledger_stored_bytes',
    text: `SELECT ${COLUMNS}, entry AS bytes ${RANGE}`,
    values: [org_id, from, to],
  })
  return rows.map((row) => ({ ...row, text: row.bytes.toString() }))
}

/** PostgreSQL's codes for bytes that are not UTF-8, and for characters that the database's own encoding lacks. */
const NO_TEXT = ['22021', '22P05']

/** Whether a statement failed because the bytes of an entry are no text any more. */
export const isNoText = (error: unknown): boolean => NO_TEXT.some((code) => hasCode(error, code))

/** Reads stored entries as text; when one of them was changed so that it is none, in a second try as bytes. */
export async function readStored<T>(read: (select: SelectStored) => Promise<T>): Promise<T> {
  try {
    return await read(selectStored)
  } catch (error) {
    if (!isNoText(error)) throw error
    return read(selectStoredBytes)
  }
}

/** Stored entries in order of index, a line each. Null when there are none. */
export interface StoredRun {
  /** Their bytes as text. A canonical entry has no line break in it; one that has makes a line too many. */
  readonly entries: string | null
  /** The index and the columns, as `ColumnLines` writes them. */
  readonly columns: string | null
}

const LINE = `concat_ws($4, index, id, round(date_part('epoch', ts) * 1000)::bigint, type, coalesce(agent_id, $5),
  coalesce(action_key, $5), coalesce(allowed::text, $5), coalesce(decision_id::text, $5))`

/**
 * The entries from `from` to below `to`, for who expects nothing wrong with them. The bytes of all are made text at once,
 * which for each alone costs as much as to read it: a line break is no part of a character, so together they are text
 * exactly when each is. With the limit PostgreSQL walks along the index instead of sorting what it read; it lets one entry
 * too many through, because an index that is there twice has to be seen.
 * @throws what `isNoText` when the bytes of one are no text
 */
export async function selectRun(
  client: PoolClient,
  org_id: string,
  from: number,
  to: number,
): Promise<StoredRun> {
  const { rows } = await client.query<StoredRun>({
    name: 'ledger_run',
    text: `SELECT convert_from(string_agg(entry, '\\x0a'::bytea ORDER BY index), 'UTF8') AS entries,
                  string_agg(${LINE}, E'\\n' ORDER BY index) AS columns
           FROM (
             SELECT * FROM ledger.ledger_entry AS e WHERE org_id = $1 AND index >= $2 AND index < $3
             ORDER BY e.index LIMIT $3 - $2 + 1
           ) AS run`,
    values: [org_id, from, to, SEPARATOR, EMPTY],
  })
  return rows[0] ?? { entries: null, columns: null }
}

/** What is left of an entry whose time was up. */
export interface ExpiredEntry {
  readonly index: number
  readonly leaf: Buffer
}

/** The expired entries from `from` to below `to` in order of index; some may still be stored as well. */
export async function selectExpired(
  client: PoolClient,
  org_id: string,
  from: number,
  to: number,
): Promise<ExpiredEntry[]> {
  const { rows } = await client.query<ExpiredEntry>({
    name: 'ledger_expired',
    text: `SELECT index::float8 AS index, leaf FROM (${EXPIRED}) x ORDER BY index`,
    values: [org_id, from, to],
  })
  return rows
}

/** Which class entries are stored in, from which index on; in order, the first from 0. */
export async function selectClasses(
  client: PoolClient,
  org_id: string,
): Promise<{ from_index: number; retention_days: number }[]> {
  const { rows } = await client.query<{ from_index: number; retention_days: number }>(
    `SELECT from_index::float8 AS from_index, retention_days FROM ledger.ledger_retention WHERE org_id = $1
     UNION ALL
     SELECT 0, retention_days FROM ledger.ledger_head h
     WHERE org_id = $1 AND NOT EXISTS (SELECT FROM ledger.ledger_retention r WHERE r.org_id = h.org_id)
     ORDER BY 1`,
    [org_id],
  )
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
    `SELECT index::float8 AS index, entry FROM ledger.ledger_entry AS e WHERE org_id = $1 AND type = 'epoch' ORDER BY e.index`,
    [org_id],
  )
  const found = rows.find(({ entry }) => {
    const { epoch: begun } = JSON.parse(entry.toString()) as { epoch?: { number?: unknown } }
    return begun?.number === epoch
  })
  return found?.index ?? null
}
