import { Body, Controller, Get, Param, Patch, Query, Res } from '@nestjs/common'
import { ApiTags } from '@nestjs/swagger'
import type { Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { ApiPage, sendPage } from '../platform/http/page.dto.js'
import { ListMembers, Member, UpdateMember } from './members.dto.js'
import { MembersService } from './members.service.js'

@ApiTags('members')
@Controller('members')
export class MembersController {
  constructor(private readonly members: MembersService) {}

  /**
   * Lists the people of the organization, oldest first.
   * @remarks People are added by invitation (`POST /invitations`) or by single sign-on.
   */
  @Get()
  @Access('members:read', 'admin', { within_team: true })
  @ApiPage(Member)
  async list(
    @By() principal: Principal,
    @Query() query: ListMembers,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Member[]> {
    return sendPage(response, await this.members.list(principal, query))
  }

  /** Gets one person, also a deactivated one. */
  @Get(':member_id')
  @Access('members:read', 'admin', { within_team: true })
  get(@By() principal: Principal, @Param('member_id') member_id: string): Promise<Member> {
    return this.members.get(principal, member_id)
  }

  /**
   * Changes a person's name, roles or team, deactivates or activates them.
   * @remarks Holds from their next request on. Nobody changes somebody who may do more than they themselves, and the
   * last active owner stays one.
   */
  @Patch(':member_id')
  @Access('members:write', 'admin', { within_team: true })
  update(
    @By() principal: Principal,
    @Param('member_id') member_id: string,
    @Body() body: UpdateMember,
  ): Promise<Member> {
    return this.members.update(principal, member_id, body)
  }
}
