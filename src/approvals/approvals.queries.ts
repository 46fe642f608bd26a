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

/** How many requests of an agent wait; exact for who holds `lockAsker`. Counts no further than `most`. */
export async function countWaiting(tx: Tx, org_id: string, agent_id: string, most: number): Promise<number> {
  const rows = await tx.$queryRaw<{ count: number }[]>`
    SELECT count(*)::integer AS count FROM (
      SELECT FROM approvals WHERE org_id = ${org_id} AND agent_id = ${agent_id} AND status = 'pending' LIMIT ${most}
    ) waiting`
  return rows[0]?.count ?? most
}

/**
 * How many requests of all agents wait, exact until the commit: who asks does so one transaction of an organization at a
 * time from here on. Comes after every other lock but the log's, so that nobody waits behind who waits.
 */
export async function countAllWaiting(tx: Tx, org_id: string, most: number): Promise<number> {
  const name = `agentguard/approvals/${org_id}`
  await tx.$queryRaw`SELECT pg_advisory_xact_lock(hashtextextended(${name}, 0))::text AS locked`
  const rows = await tx.$queryRaw<{ count: number }[]>`
    SELECT count(*)::integer AS count FROM (
      SELECT FROM approvals WHERE org_id = ${org_id} AND status = 'pending' LIMIT ${most}) waiting`
  return rows[0]?.count ?? most
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

/** The entries of decisions, of those that are still kept. */
export async function selectEntries(
  tx: Tx,
  org_id: string,
  decision_ids: readonly string[],
): Promise<{ id: string; entry: Uint8Array }[]> {
  return tx.$queryRaw<{ id: string; entry: Uint8Array }[]>`
    SELECT e.id::text AS id, e.entry FROM unnest(${decision_ids}::uuid[]) AS d (id)
    JOIN ledger.ledger_entry e ON e.org_id = ${org_id} AND e.id = d.id`
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

/** What of an agent waits or can still be used, the first few. */
export async function selectOpen(
  tx: Tx,
  org_id: string,
  agent_id: string,
  limit: number,
): Promise<{ approval_id: string }[]> {
  return tx.$queryRaw<{ approval_id: string }[]>`
    SELECT approval_id FROM approvals
    WHERE org_id = ${org_id} AND agent_id = ${agent_id} AND (
      status = 'pending'
      OR (status = 'approved' AND grant_used < grant_uses
          AND grant_expires_at > to_timestamp(ledger.now_ms() / 1000.0)))
    ORDER BY approval_id LIMIT ${limit}`
}

/**
 * Agents that let something wait, or were granted something that can still be used, and cannot ask any more: they are
 * inactive, or all their keys were revoked.
 */
export async function selectPointless(
  pool: Pool,
  limit: number,
): Promise<{ org_id: string; agent_id: string; is_active: boolean }[]> {
  const { rows } = await pool.query<{ org_id: string; agent_id: string; is_active: boolean }>({
    name: 'approvals_pointless',
    text: `SELECT a.org_id, a.agent_id, a.is_active
           FROM (SELECT org_id, agent_id FROM approvals WHERE status = 'pending'
                 UNION
                 SELECT org_id, agent_id FROM approvals
                 WHERE status = 'approved' AND grant_used < grant_uses
                   AND grant_expires_at > to_timestamp(ledger.now_ms() / 1000.0)) w
           JOIN agents a USING (org_id, agent_id)
           WHERE NOT a.is_active OR NOT EXISTS (
             SELECT FROM agent_keys k WHERE k.org_id = a.org_id AND k.agent_id = a.agent_id AND k.revoked_at IS NULL)
           ORDER BY a.org_id, a.agent_id LIMIT $1`,
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

/** What is being erased: the payloads of the entries `from` to `upto` (inclusive), of one agent alone if named. */
export interface Erased {
  readonly org_id: string
  readonly from: number
  readonly upto: number
  readonly agent_id: string | null
}

/**
 * Clears what is kept beside the log of requests whose payloads are erased: the salt of their digest, the keyed hash by
 * which the same request is found again, and what people wrote about them. An approval is concerned when one of the
 * decisions that asked for it or used it is.
 */
export async function forgetRequests(tx: Tx, { org_id, from, upto, agent_id }: Erased): Promise<void> {
  const rows = await tx.$queryRaw<{ approval_id: string }[]>`
    UPDATE approvals a SET salt = NULL, waiting_for = NULL, decision_reason = NULL
    WHERE a.org_id = ${org_id} AND (${agent_id}::text IS NULL OR a.agent_id = ${agent_id})
      AND a.approval_id IN (
        SELECT v.approval_id FROM ledger.ledger_entry e JOIN approval_events v ON v.org_id = e.org_id AND v.decision_id = e.id
        WHERE e.org_id = ${org_id} AND e.index BETWEEN ${from} AND ${upto} AND e.type = 'decision')
    RETURNING a.approval_id`
  const ids = rows.map(({ approval_id }) => approval_id)
  await tx.$executeRaw`
    UPDATE approval_events SET reason = NULL
    WHERE org_id = ${org_id} AND approval_id = ANY (${ids}) AND reason IS NOT NULL`
}
