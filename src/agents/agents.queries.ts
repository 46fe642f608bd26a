import type { Pool } from 'pg'
import type { AgentsWithin } from '../platform/access/scope.js'
import type { Tx } from '../platform/database/database.service.js'
import type { Agent } from './agents.dto.js'

/**
 * The agent, held until the commit: what changes one agent happens one transaction at a time, so that entries tell the
 * true before and after and versions have no gaps.
 */
export async function lockAgent(
  tx: Tx,
  { org_id, owner_team }: AgentsWithin,
  agent_id: string,
): Promise<Agent | null> {
  const team = owner_team ?? null
  const rows = await tx.$queryRaw<Agent[]>`
    SELECT agent_id, name, owner_team, environment, risk_level, is_active, created_at, updated_at
    FROM agents
    WHERE org_id = ${org_id} AND agent_id = ${agent_id}
      AND (${team}::text IS NULL OR owner_team = ${team}::text) FOR NO KEY UPDATE`
  return rows[0] ?? null
}

/** Agents of all organizations, for the operator's numbers: the decision path's role may read every organization. */
export async function countAgents(pool: Pool): Promise<{ total: number; active: number }> {
  const { rows } = await pool.query<{ total: number; active: number }>(
    'SELECT count(*)::integer AS total, count(*) FILTER (WHERE is_active)::integer AS active FROM agents',
  )
  return rows[0] ?? { total: 0, active: 0 }
}
