import type { Pool } from 'pg'
import type { Tx } from '../platform/database/database.service.js'

/**
 * Holds an approval until the commit: what happens to one happens one transaction at a time, so a grant is used as
 * often as it was given and no more. Answers the database's time (milliseconds), by which approvals and grants expire;
 * read after the lock, for a transaction that waited must not judge by the time at which it began to. Null: no such.
 */
export async function lockApproval(tx: Tx, org_id: string, approval_id: string): Promise<number | null> {
  const held = await tx.$queryRaw<unknown[]>`
    SELECT 1 AS held FROM approvals WHERE org_id = ${org_id} AND approval_id = ${approval_id} FOR NO KEY UPDATE`
  return held.length === 0 ? null : databaseTime(tx)
}

/**
 * Held until the commit: what agents do with their approvals, one transaction of an agent at a time, so that the same
 * request at the same time is asked for once. Comes before the locks on approvals, also for whoever cancels many of
 * them, so that two who hold several cannot wait for each other.
 */
export async function lockAsker(tx: Tx, org_id: string, agent_id: string): Promise<void> {
  const name = `agentguard/approvals/${org_id}/${agent_id}`
  await tx.$queryRaw`SELECT pg_advisory_xact_lock(hashtextextended(${name}, 0))::text AS locked`
}

/** Milliseconds since 1970 by the database's clock. */
export async function databaseTime(tx: Tx): Promise<number> {
  const rows = await tx.$queryRaw<{ now: number }[]>`SELECT ledger.now_ms()::float8 AS now`
  const now = rows[0]?.now
  if (now === undefined) throw new Error('the database did not say what time it is')
  return now
}

/**
 * The first maker in a chain of administrator keys that made each other: null when `admin_id` is no such key. Nobody
 * becomes two people by making themselves another key.
 */
export async function selectKeyOrigin(
  tx: Tx,
  org_id: string,
  admin_id: string,
): Promise<{ admin_id: string; created_by: string } | null> {
  const rows = await tx.$queryRaw<{ admin_id: string; created_by: string }[]>`
    WITH RECURSIVE chain AS (
      SELECT admin_id, created_by, 1 AS depth FROM admin_keys WHERE org_id = ${org_id} AND admin_id = ${admin_id}
      UNION ALL
      SELECT k.admin_id, k.created_by, c.depth + 1 FROM chain c
      JOIN admin_keys k ON k.org_id = ${org_id} AND k.admin_id = c.created_by WHERE c.depth < 10000
    )
    SELECT admin_id, created_by FROM chain ORDER BY depth DESC LIMIT 1`
  return rows[0] ?? null
}

/** Who made the key that asked, and the agent's first key, which is made with the agent. */
export async function selectKeyMakers(
  tx: Tx,
  org_id: string,
  agent_id: string,
  key_id: string,
): Promise<string[]> {
  const rows = await tx.$queryRaw<{ created_by: string }[]>`
    SELECT created_by FROM agent_keys WHERE org_id = ${org_id} AND agent_id = ${agent_id} AND key_id = ${key_id}
    UNION
    (SELECT created_by FROM agent_keys WHERE org_id = ${org_id} AND agent_id = ${agent_id}
     ORDER BY created_at, key_id LIMIT 1)`
  return rows.map(({ created_by }) => created_by)
}

export interface SealedRow {
  readonly entry: Uint8Array
  readonly nonce: Uint8Array | null
  readonly body: Uint8Array | null
  readonly dek_id: string | null
}

/** The entry of a decision and its sealed payload, which is missing once it was erased. */
export async function selectSealed(tx: Tx, org_id: string, decision_id: string): Promise<SealedRow | null> {
  const rows = await tx.$queryRaw<SealedRow[]>`
    SELECT e.entry, p.nonce, p.body, p.dek_id FROM ledger.ledger_entry e
    LEFT JOIN ledger.ledger_payload p ON p.org_id = e.org_id AND p.index = e.index
      AND p.month = date_trunc('month', e.ts, 'UTC') AT TIME ZONE 'UTC'
    WHERE e.org_id = ${org_id} AND e.id = ${decision_id}::uuid`
  return rows[0] ?? null
}

export interface DueRow {
  readonly org_id: string
  readonly approval_id: string
}

/** Approvals of every organization whose time at their level is over, the longest over first. */
export async function selectDue(pool: Pool, limit: number): Promise<DueRow[]> {
  const { rows } = await pool.query<DueRow>({
    name: 'approvals_due',
    text: `SELECT org_id, approval_id FROM approvals
           WHERE status = 'pending' AND level_ends_at <= to_timestamp(ledger.now_ms() / 1000.0)
           ORDER BY level_ends_at LIMIT $1`,
    values: [limit],
  })
  return rows
}

/** Which of these are not pending any more: one statement for everybody who waits on this replica. */
export async function selectDecided(pool: Pool, waiting: readonly DueRow[]): Promise<DueRow[]> {
  const { rows } = await pool.query<DueRow>({
    name: 'approvals_decided',
    text: `SELECT a.org_id, a.approval_id FROM unnest($1::text[], $2::text[]) AS w (org_id, approval_id)
           JOIN approvals a USING (org_id, approval_id) WHERE a.status <> 'pending'`,
    values: [waiting.map(({ org_id }) => org_id), waiting.map(({ approval_id }) => approval_id)],
  })
  return rows
}
