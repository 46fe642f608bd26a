import { Injectable } from '@nestjs/common'
import { Problem } from '../core/problems.js'
import { type Principal, teamOf } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { isName, NAME_MESSAGE } from '../platform/http/fields.js'
import { DEFAULT_LIMIT, type Listed, type Page } from '../platform/http/page.dto.js'
import type { Team } from './teams.dto.js'
import { selectTeams } from './teams.queries.js'

/** Teams have no life of their own: they are made by whoever first names one, and stay. */
@Injectable()
export class TeamsService {
  constructor(
    private readonly database: Database,
    private readonly clock: Clock,
  ) {}

  /**
   * Makes the team unless there is one. Two that name a new team at once both find it afterwards.
   * @throws Problem `validation_failed` for a text that is no name
   */
  async ensure(tx: Tx, { org_id }: { readonly org_id: string }, team: string): Promise<void> {
    if (!isName(team) || team.trim() !== team) {
      throw new Problem('validation_failed', { errors: [{ path: 'team', message: NAME_MESSAGE }] })
    }
    const created_at = new Date(this.clock.now())
    await tx.team.createMany({ data: [{ org_id, team, created_at }], skipDuplicates: true })
  }

  /** Teams by name; who is held to a team sees that one. */
  async list(principal: Principal, { limit, offset }: Page): Promise<Listed<Team>> {
    const { org_id } = principal
    const team = teamOf(principal)
    return this.database.withOrg(principal, async (tx) => ({
      items: await selectTeams(tx, org_id, team, limit ?? DEFAULT_LIMIT, offset ?? 0),
      total: await tx.team.count({ where: { org_id, ...(team !== null && { team }) } }),
    }))
  }
}
