import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query, Res } from '@nestjs/common'
import { ApiTags } from '@nestjs/swagger'
import type { Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { ApiPage, sendPage } from '../platform/http/page.dto.js'
import {
  AcceptedInvitation,
  AcceptInvitation,
  CreatedInvitation,
  CreateInvitation,
  Invitation,
  ListInvitations,
} from './invitations.dto.js'
import { InvitationsService } from './invitations.service.js'

@ApiTags('invitations')
@Controller('invitations')
export class InvitationsController {
  constructor(private readonly invitations: InvitationsService) {}

  /**
   * Invites somebody to become a member.
   * @remarks The link works once, for seven days. It goes by mail where `SMTP_URL` is set; otherwise, and when that fails,
   * it is in the answer, this once.
   */
  @Post()
  @Access('members:write', 'admin', { within_team: true })
  create(@By() principal: Principal, @Body() body: CreateInvitation): Promise<CreatedInvitation> {
    return this.invitations.create(principal, body)
  }

  /** Lists open invitations, oldest first. */
  @Get()
  @Access('members:read', 'admin', { within_team: true })
  @ApiPage(Invitation)
  async list(
    @By() principal: Principal,
    @Query() query: ListInvitations,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Invitation[]> {
    return sendPage(response, await this.invitations.list(principal, query))
  }

  /** Gets one invitation, also a settled one. */
  @Get(':invitation_id')
  @Access('members:read', 'admin', { within_team: true })
  get(@By() principal: Principal, @Param('invitation_id') invitation_id: string): Promise<Invitation> {
    return this.invitations.get(principal, invitation_id)
  }

  /** Takes an open invitation back: its link is dead. */
  @Delete(':invitation_id')
  @Access('members:write', 'admin', { within_team: true })
  @HttpCode(204)
  revoke(@By() principal: Principal, @Param('invitation_id') invitation_id: string): Promise<void> {
    return this.invitations.revoke(principal, invitation_id)
  }

  /** Accepts an invitation with the token of its link: makes the member, who may sign in then. */
  @Post('accept')
  @Access('public')
  accept(@Body() body: AcceptInvitation): Promise<AcceptedInvitation> {
    return this.invitations.accept(body)
  }
}
