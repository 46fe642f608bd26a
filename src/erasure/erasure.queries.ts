import type { Tx } from '../platform/database/database.service.js'

export interface Target {
  readonly index: number
  readonly agent_id: string | null
}

/** Where an entry lies in the log, and whose it is; null when the organization has none with this id. */
export async function selectTarget(tx: Tx, org_id: string, log_id: string): Promise<Target | null> {
  const rows = await tx.$queryRaw<Target[]>`
    SELECT index::float8 AS index, agent_id FROM ledger.ledger_entry
    WHERE org_id = ${org_id} AND id = ${log_id}::uuid`
  return rows[0] ?? null
}

export interface Stretch {
  readonly from: number
  readonly upto: number
}

/** The lowest entries of an agent that still have a payload, at most `limit`; null when there are none. */
export async function selectStretch(
  tx: Tx,
  org_id: string,
  agent_id: string,
  end_time: Date | null,
  limit: number,
): Promise<Stretch | null> {
  const rows = await tx.$queryRaw<{ from: number | null; upto: number | null }[]>`
    SELECT min(index)::float8 AS from, max(index)::float8 AS upto FROM (
      SELECT e.index FROM ledger.ledger_entry e
      JOIN ledger.ledger_payload p ON p.org_id = e.org_id AND p.index = e.index
      WHERE e.org_id = ${org_id} AND e.agent_id = ${agent_id}
        AND (${end_time}::timestamptz IS NULL OR e.ts <= ${end_time}::timestamptz)
      ORDER BY e.index LIMIT ${limit}
    ) AS stretch`
  const [row] = rows
  return row && row.from !== null && row.upto !== null ? { from: row.from, upto: row.upto } : null
}

/** Erases payloads and answers how many; the transaction commits only with the `redaction` entry that records it. */
export async function erase(
  tx: Tx,
  org_id: string,
  erasure_id: string,
  { from, upto }: Stretch,
  agent_id: string | null,
): Promise<number> {
  const rows = await tx.$queryRaw<{ erased: number }[]>`
    SELECT ledger.ledger_erase(${org_id}, ${erasure_id}::uuid, ${from}::bigint, ${upto}::bigint, ${agent_id})::float8 AS erased`
  return rows[0]?.erased ?? 0
}

/** Drops kept answers that name this agent or entry: they may repeat what is erased. The claims themselves stay. */
export async function clearKeptAnswers(tx: Tx, org_id: string, name: string): Promise<void> {
  await tx.$executeRaw`
    UPDATE idempotency_keys SET body = NULL
    WHERE org_id = ${org_id} AND body IS NOT NULL AND strpos(body::text, ${name}) > 0`
}
