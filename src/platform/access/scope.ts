import { Problem } from '../../core/problems.js'
import { type Principal, teamOf } from './principal.js'

/**
 * What an administrator who is held to a team may see and change (row AG-18): that team's agents and what belongs to
 * them. To them another team's agent is missing, with the same bytes. Services ask here and nowhere else; a route that
 * does not say `within_team` is refused to them by the gatekeeper.
 */

/** The agents of one organization, or of one team of it. */
export interface AgentsWithin {
  readonly org_id: string
  readonly owner_team?: string
}

/**
 * The agents within a principal's reach, as a Prisma `where` of `agents`; combine it with filters by `AND`. Raw SQL
 * says `(owner_team IS NULL OR …)` with the same two members.
 */
export function agentsWithin(principal: Principal): AgentsWithin {
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
