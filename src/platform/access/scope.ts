import { Problem } from '../../core/problems.js'
import { type Principal, teamOf } from './principal.js'

/**
 * What an administrator who is held to a team may see and change (row AG-18): that team's agents and what belongs to
 * them. To them another team's agent is missing, with the same bytes. Services ask here and nowhere else; a route that
 * does not say `within_team` is refused to them by the gatekeeper.
 */

/** The agents within a principal's reach, as a Prisma `where` of `agents`. Combine with filters by `AND`. */
export function agentsWithin(principal: Principal): { org_id: string; owner_team?: string } {
  const { org_id } = principal
  const team = teamOf(principal)
  return team === null ? { org_id } : { org_id, owner_team: team }
}

/** Whether something of this team is within reach; null is the whole organization's. */
export function reaches(principal: Principal, team: string | null): boolean {
  const own = teamOf(principal)
  return own === null || own === team
}

/** Refuses what concerns more than the principal's team. @throws Problem `forbidden` */
export function assertReaches(principal: Principal, team: string | null): void {
  const own = teamOf(principal)
  if (own !== null && own !== team) throw wholeOrganization(own)
}

export const wholeOrganization = (team: string) =>
  new Problem('forbidden', { detail: `You are held to the team ${team}; this reaches beyond it.` })
