import type { Pool, PoolClient } from 'pg'
import type { Tx } from '../platform/database/database.service.js'

/** Advisory lock: who signs, for a session. */
export const SIGNER_LOCK = 72_707_372

/** Whether this session holds the signer's lock now. It is let go when the session ends. */
export async function lockSigner(client: PoolClient): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>('SELECT pg_try_advisory_lock($1) AS locked', [
    SIGNER_LOCK,
  ])
  return rows[0]?.locked ?? false
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
    text: `SELECT ${CHECKPOINT} FROM ledger.ledger_checkpoint AS c WHERE org_id = $1 AND epoch = $2 ORDER BY c.size DESC LIMIT 1`,
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
    `SELECT ${CHECKPOINT} FROM ledger.ledger_checkpoint AS c WHERE org_id = $1 AND epoch = $2 ORDER BY c.size`,
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
