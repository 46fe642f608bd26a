import type { AgentsWithin } from '../platform/access/scope.js'
import type { Tx } from '../platform/database/database.service.js'

export interface KeyHolder {
  readonly agent_id: string
  readonly environment: string
  readonly owner_team: string
  readonly is_active: boolean
}

/**
 * The agent whose keys are about to change, held until the commit: its keys change one transaction at a time, so that
 * they can be counted, and none is made while the agent is being deleted.
 */
export async function lockKeyHolder(
  tx: Tx,
  { org_id, owner_team }: AgentsWithin,
  agent_id: string,
): Promise<KeyHolder | null> {
  const team = owner_team ?? null
  const rows = await tx.$queryRaw<KeyHolder[]>`
    SELECT agent_id, environment, owner_team, is_active
    FROM agents
    WHERE org_id = ${org_id} AND agent_id = ${agent_id}
      AND (${team}::text IS NULL OR owner_team = ${team}::text) FOR NO KEY UPDATE`
  return rows[0] ?? null
}
