import type { Pool } from 'pg'
import type { Tx } from '../platform/database/database.service.js'

/**
 * Waits for every append under way, and lets none begin until the transaction ends. Appends take the same lock shared
 * (`ledger_append`), first of all locks, so this cannot deadlock with them.
 */
export async function lockInstallation(tx: Tx): Promise<void> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(72707370)`
}

export interface LogHead {
  readonly org_id: string
  readonly origin: string
  readonly organization: number
  readonly installation: number
}

/** The head of every log. True until the transaction that holds the installation's lock ends. */
export async function selectHeads(pool: Pool): Promise<LogHead[]> {
  const { rows } = await pool.query<LogHead>(
    `SELECT h.org_id, h.origin, h.org_version::float8 AS organization, c.version::float8 AS installation
     FROM ledger.ledger_head h, installation_config c ORDER BY h.org_id`,
  )
  return rows
}

export interface EverywhereRow {
  readonly org_id: string
  readonly id: string
  readonly organization: number
  readonly entry: Buffer
}

/** One entry a log, and the installation's version raised to `installation`; false when the logs are not as given. */
export async function appendEverywhere(
  tx: Tx,
  rows: readonly EverywhereRow[],
  ts: number,
  installation: number,
): Promise<boolean> {
  const found = await tx.$queryRaw<{ appended: boolean }[]>`
    SELECT ledger.ledger_append_everywhere(
      ${rows.map(({ org_id }) => org_id)}::text[], ${rows.map(({ id }) => id)}::uuid[], ${ts}::bigint,
      ${installation}::bigint, ${rows.map(({ organization }) => organization)}::bigint[],
      ${rows.map(({ entry }) => entry.length)}::integer[], ${Buffer.concat(rows.map(({ entry }) => entry))}
    ) AS appended`
  return found[0]?.appended ?? false
}
