import type { Tx } from '../platform/database/database.service.js'
import type { Agent } from './agents.dto.js'

/**
 * The agent, held until the commit: what changes one agent happens one transaction at a time, so that entries tell the
 * true before and after and versions have no gaps.
 */
export async function lockAgent(tx: Tx, org_id: string, agent_id: string): Promise<Agent | null> {
  const rows = await tx.$queryRaw<Agent[]>`
    SELECT agent_id, name, owner_team, environment, is_active, created_at, updated_at
    FROM agents WHERE org_id = ${org_id} AND agent_id = ${agent_id} FOR NO KEY UPDATE`
  return rows[0] ?? null
}
