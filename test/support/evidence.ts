import type { Acknowledged } from './load'
import type { StrictPostgres } from './strict-postgres'

/** What the log says about the decisions that callers were told. Everything but the counts should be empty. */
export interface Evidence {
  readonly entries: number
  readonly acknowledged: number
  /** Acknowledged, but not in the log. */
  readonly lost: number
  /** In the log under another index, or with another effect, than the caller was told. */
  readonly different: number
  /** Logs whose indexes are not 0, 1, 2, … up to the size in their head. */
  readonly gaps: number
}

interface Row {
  id: string
  index: number
  effect: string
}

/** Compares answers with the log as it lies in the database. */
export async function evidenceOf(
  postgres: StrictPostgres,
  database: string,
  acknowledged: readonly Acknowledged[],
): Promise<Evidence> {
  const rows = await postgres.query<Row>(
    database,
    `SELECT id::text, index::float8 AS index, convert_from(entry, 'UTF8')::jsonb -> 'decision' ->> 'effect' AS effect
     FROM ledger.ledger_entry WHERE type = 'decision'`,
  )
  const logs = await postgres.query<{ entries: number; dense: boolean }>(
    database,
    `SELECT count(e.index)::float8 AS entries,
            count(e.index) = h.size AND count(DISTINCT e.index) = h.size
              AND coalesce(min(e.index), 0) = 0 AND coalesce(max(e.index), -1) = h.size - 1 AS dense
     FROM ledger.ledger_head h LEFT JOIN ledger.ledger_entry e USING (org_id) GROUP BY h.org_id, h.size`,
  )
  const byId = new Map(rows.map((row) => [row.id, row]))
  let lost = 0
  let different = 0
  for (const { id, index, allowed } of acknowledged) {
    const row = byId.get(id)
    if (!row) lost++
    else if (row.index !== index || (row.effect === 'allow') !== allowed) different++
  }
  return {
    entries: logs.reduce((sum, log) => sum + log.entries, 0),
    acknowledged: acknowledged.length,
    lost,
    different,
    gaps: logs.filter((log) => !log.dense).length,
  }
}
