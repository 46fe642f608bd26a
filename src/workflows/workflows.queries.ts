import type { Tx } from '../platform/database/database.service.js'

/** Held until the commit: settings change one transaction at a time, so that entries tell the true before and after. */
export async function lockSettings(tx: Tx, org_id: string): Promise<void> {
  await tx.$queryRaw`SELECT 1 AS held FROM organizations WHERE org_id = ${org_id} FOR NO KEY UPDATE`
}

export interface AskingRow {
  readonly risk_level: string | null
  readonly risk_workflows: unknown
  readonly max_waiting_per_agent: number | null
  readonly max_waiting: number | null
}

/** The risk of an agent, and what its organization has settled about asking people. */
export async function selectAsking(tx: Tx, org_id: string, agent_id: string): Promise<AskingRow | null> {
  const rows = await tx.$queryRaw<AskingRow[]>`
    SELECT a.risk_level, s.risk_workflows, s.max_waiting_per_agent, s.max_waiting
    FROM agents a LEFT JOIN approval_settings s ON s.org_id = a.org_id
    WHERE a.org_id = ${org_id} AND a.agent_id = ${agent_id}`
  return rows[0] ?? null
}
