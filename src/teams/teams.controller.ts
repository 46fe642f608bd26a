import { Controller, Get, Query, Res } from '@nestjs/common'
import { ApiSecurity, ApiTags } from '@nestjs/swagger'
import type { Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { ApiPage, Page, sendPage } from '../platform/http/page.dto.js'
import { Team } from './teams.dto.js'
import { TeamsService } from './teams.service.js'

@ApiTags('teams')
@ApiSecurity('admin_key')
@Controller('teams')
export class TeamsController {
  constructor(private readonly teams: TeamsService) {}

  /**
   * Lists teams by name, with what belongs to them.
   * @remarks A team is made when an agent, a key or a policy first names it.
   */
  @Get()
  @Access('agents:read', 'admin', { within_team: true })
  @ApiPage(Team)
  async list(
    @By() principal: Principal,
    @Query() page: Page,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Team[]> {
    return sendPage(response, await this.teams.list(principal, page))
  }
}
