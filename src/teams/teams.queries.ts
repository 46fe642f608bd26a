import type { Tx } from '../platform/database/database.service.js'
import type { Team } from './teams.dto.js'

/** Teams by name with what belongs to them; only `team` when it is given. */
export function selectTeams(
  tx: Tx,
  org_id: string,
  team: string | null,
  limit: number,
  offset: number,
): Promise<Team[]> {
  return tx.$queryRaw<Team[]>`
    SELECT t.team, t.created_at,
           (SELECT count(*)::integer FROM agents a
            WHERE a.org_id = t.org_id AND a.owner_team = t.team AND a.is_active) AS agents,
           (SELECT count(*)::integer FROM agents a
            WHERE a.org_id = t.org_id AND a.owner_team = t.team AND NOT a.is_active) AS inactive_agents,
           (SELECT count(*)::integer FROM admin_keys k
            WHERE k.org_id = t.org_id AND k.team = t.team AND k.revoked_at IS NULL) AS admin_keys,
           (SELECT p.version FROM policies p WHERE p.org_id = t.org_id AND p.team = t.team) AS policy_version
    FROM teams t
    WHERE t.org_id = ${org_id} AND (${team}::text IS NULL OR t.team = ${team}::text)
    ORDER BY t.team LIMIT ${limit} OFFSET ${offset}`
}
