import type { PoolClient } from 'pg'

export interface LogState {
  readonly origin: string
  readonly epoch: number
  /** Entries of the log now; later ones are not exported. */
  readonly size: number
}

/** An organization's log as it is now; null when it has none. */
export async function selectLog(client: PoolClient, org_id: string): Promise<LogState | null> {
  const { rows } = await client.query<LogState>(
    'SELECT origin, epoch, size::float8 AS size FROM ledger.ledger_head WHERE org_id = $1',
    [org_id],
  )
  return rows[0] ?? null
}

/**
 * The index from which on all entries of `start` or later lie. Order of index and order of time agree only within
 * seconds (an entry's clock may be 5 s off), so the neighbourhood of the first one in time is looked through.
 * Null when nothing is that late.
 */
export async function selectFirstIndex(
  client: PoolClient,
  org_id: string,
  start: Date,
): Promise<number | null> {
  const { rows } = await client.query<{ index: number | null }>(
    `SELECT min(e.index)::float8 AS index
     FROM ledger.ledger_entry e, (
       SELECT ts FROM ledger.ledger_entry
       WHERE org_id = $1 AND id >= ledger.uuid_floor($2) AND ts >= $2 ORDER BY id LIMIT 1
     ) f
     WHERE e.org_id = $1 AND e.ts >= $2 AND e.id >= ledger.uuid_floor($2)
       AND e.id < ledger.uuid_floor(f.ts + interval '20 seconds')`,
    [org_id, start],
  )
  return rows[0]?.index ?? null
}

/** The index of the last entry of `end` or earlier, in the same sense; null when nothing is that early. */
export async function selectLastIndex(client: PoolClient, org_id: string, end: Date): Promise<number | null> {
  const after = new Date(end.getTime() + 1)
  const { rows } = await client.query<{ index: number | null }>(
    `SELECT max(e.index)::float8 AS index
     FROM ledger.ledger_entry e, (
       SELECT ts FROM ledger.ledger_entry
       WHERE org_id = $1 AND id < ledger.uuid_floor($2) AND ts < $2 ORDER BY id DESC LIMIT 1
     ) l
     WHERE e.org_id = $1 AND e.ts < $2 AND e.id < ledger.uuid_floor($2)
       AND e.id >= ledger.uuid_floor(l.ts - interval '20 seconds')`,
    [org_id, after],
  )
  return rows[0]?.index ?? null
}

/** The newest kept checkpoint of at least `first` and at most `end` entries, in this epoch. */
export async function selectCheckpoint(
  client: PoolClient,
  org_id: string,
  epoch: number,
  first: number,
  end: number,
): Promise<string | null> {
  const { rows } = await client.query<{ note: string }>(
    `SELECT note FROM ledger.ledger_checkpoint
     WHERE org_id = $1 AND epoch = $2 AND size BETWEEN $3 AND $4 ORDER BY size DESC LIMIT 1`,
    [org_id, epoch, first, end],
  )
  return rows[0]?.note ?? null
}

/** Every key that checkpoints of this installation are or were signed with. */
export async function selectKeys(
  client: PoolClient,
): Promise<{ vkey: string; valid_from: Date; valid_to: Date | null }[]> {
  const { rows } = await client.query<{ vkey: string; valid_from: Date; valid_to: Date | null }>(
    'SELECT vkey, valid_from, valid_to FROM ledger.ledger_signer_key ORDER BY valid_from',
  )
  return rows
}

/** The stored hashes of a tile; null when the tree has not come so far. */
export async function selectTile(
  client: PoolClient,
  org_id: string,
  epoch: number,
  level: number,
  tile: number,
): Promise<Buffer | null> {
  const { rows } = await client.query<{ hashes: Buffer }>({
    name: 'export_tile',
    text: 'SELECT hashes FROM ledger.ledger_tile WHERE org_id = $1 AND epoch = $2 AND level = $3 AND tile = $4',
    values: [org_id, epoch, level, tile],
  })
  return rows[0]?.hashes ?? null
}

export interface ExportRow {
  readonly index: number
  readonly id: string
  readonly ts: Date
  readonly type: string
  readonly agent_id: string | null
  readonly action_key: string | null
  readonly allowed: boolean | null
  readonly decision_id: string | null
  readonly entry: Buffer
  /** Sealed; null when there is none, or not any more. */
  readonly nonce: Buffer | null
  readonly body: Buffer | null
  readonly dek_id: string | null
}

/**
 * The entries from ≤ index < to in order, of these types (all when empty) and about agents of this team (all when
 * null), each with its sealed payload.
 */
export async function selectEntries(
  client: PoolClient,
  org_id: string,
  from: number,
  to: number,
  types: readonly string[],
  team: string | null,
): Promise<ExportRow[]> {
  const { rows } = await client.query<ExportRow>({
    name: 'export_entries',
    text: `SELECT e.index::float8 AS index, e.id::text AS id, e.ts, e.type, e.agent_id, e.action_key, e.allowed,
                  e.decision_id::text AS decision_id, e.entry, p.nonce, p.body,
                  p.dek_id::text AS dek_id
           FROM ledger.ledger_entry e
           LEFT JOIN (
             SELECT index, nonce, body, dek_id FROM ledger.ledger_payload WHERE org_id = $1 AND index >= $2 AND index < $3
           ) p USING (index)
           WHERE e.org_id = $1 AND e.index >= $2 AND e.index < $3
             AND (cardinality($4::text[]) = 0 OR e.type = ANY ($4::text[]))
             AND ($5::text IS NULL OR e.agent_id IN (SELECT agent_id FROM agents WHERE org_id = $1 AND owner_team = $5))
           ORDER BY e.index, e.id`,
    values: [org_id, from, to, types, team],
  })
  return rows
}

/** The leaf hashes that are left of expired entries from ≤ index < to, in order. */
export async function selectExpired(
  client: PoolClient,
  org_id: string,
  from: number,
  to: number,
): Promise<{ index: number; leaf: Buffer }[]> {
  const { rows } = await client.query<{ index: number; leaf: Buffer }>(
    `SELECT (x.from_index + i)::float8 AS index, substr(x.leaves, i * 32 + 1, 32) AS leaf
     FROM ledger.ledger_expired x, generate_series(0, octet_length(x.leaves) / 32 - 1) AS i
     WHERE x.org_id = $1 AND x.from_index > $2 - 256 AND x.from_index < $3
       AND x.from_index + i >= $2 AND x.from_index + i < $3 ORDER BY 1`,
    [org_id, from, to],
  )
  return rows
}

/** One version of a policy by the digest of its document; null when the organization has none. */
export async function selectPolicy(client: PoolClient, org_id: string, sha256: string): Promise<unknown> {
  const { rows } = await client.query<{ document: unknown }>({
    name: 'export_policy',
    text: 'SELECT document FROM policy_versions WHERE org_id = $1 AND sha256 = $2 LIMIT 1',
    values: [org_id, sha256],
  })
  return rows[0]?.document ?? null
}
