import { Body, Controller, Delete, Get, HttpCode, Param, Post, Put, Query } from '@nestjs/common'
import { ApiTags } from '@nestjs/swagger'
import { Access } from '../platform/access/access.decorator.js'
import { type AdminPrincipal, By, type Principal } from '../platform/access/principal.js'
import { ApprovalSettingsService } from '../workflows/settings.service.js'
import { ApprovalSettings, PutApprovalSettings } from '../workflows/workflows.dto.js'
import {
  Approval,
  ApprovalHistoryEvent,
  ApprovalList,
  ApprovalRequest,
  ApproveApproval,
  DenyApproval,
  ListApprovals,
  RevokeApproval,
} from './approvals.dto.js'
import { ApprovalsService } from './approvals.service.js'

@ApiTags('approvals')
@Controller('approvals')
export class ApprovalsController {
  constructor(
    private readonly approvals: ApprovalsService,
    private readonly settings: ApprovalSettingsService,
  ) {}

  /** Lists what waits for people and what they have decided, newest first. */
  @Get()
  @Access('approvals:read', 'admin', { within_team: true })
  list(@By() principal: Principal, @Query() query: ListApprovals): Promise<ApprovalList> {
    return this.approvals.list(principal, query)
  }

  /** Whether mere waiting may approve, and which workflow the risk of an agent adds. */
  @Get('settings')
  @Access('workflows:read')
  getSettings(@By() principal: Principal): Promise<ApprovalSettings> {
    return this.settings.get(principal)
  }

  /**
   * Changes how approvals are asked for; what is left out stays.
   * @remarks Whether workflows may approve by mere waiting (`critical` never does), and which workflow agents of each
   * risk wait for besides those that rules name. What waits already keeps the workflow it was asked for with.
   */
  @Put('settings')
  @Access('organization:write')
  putSettings(@By() principal: Principal, @Body() body: PutApprovalSettings): Promise<ApprovalSettings> {
    return this.settings.put(principal, body)
  }

  /** Gets the exact request that waits, with its arguments and context. */
  @Get(':approval_id')
  @Access('approvals:read', 'admin', { within_team: true })
  get(@By() principal: Principal, @Param('approval_id') approval_id: string): Promise<ApprovalRequest> {
    return this.approvals.get(principal, approval_id)
  }

  /** Everything that happened to it, oldest first. */
  @Get(':approval_id/history')
  @Access('approvals:read', 'admin', { within_team: true })
  history(
    @By() principal: Principal,
    @Param('approval_id') approval_id: string,
  ): Promise<ApprovalHistoryEvent[]> {
    return this.approvals.history(principal, approval_id)
  }

  /**
   * Says yes. When enough different people have, the agent may do exactly that, once, until the grant expires.
   * @remarks With `grant`: everything that it matches, as often and as long as it says. Nobody approves their own
   * request, and nobody votes twice, whatever keys they hold.
   */
  @Post(':approval_id/approve')
  @HttpCode(200)
  @Access('approvals:decide', 'admin', { within_team: true })
  approve(
    @By() principal: AdminPrincipal,
    @Param('approval_id') approval_id: string,
    @Body() body: ApproveApproval,
  ): Promise<Approval> {
    return this.approvals.approve(principal, approval_id, body)
  }

  /** Says no. The first one ends it, unless the workflow says otherwise. */
  @Post(':approval_id/deny')
  @HttpCode(200)
  @Access('approvals:decide', 'admin', { within_team: true })
  deny(
    @By() principal: AdminPrincipal,
    @Param('approval_id') approval_id: string,
    @Body() { reason }: DenyApproval,
  ): Promise<Approval> {
    return this.approvals.deny(principal, approval_id, reason)
  }

  /**
   * Takes back what was granted, before it is used or between its uses.
   * @remarks The approval is then `cancelled`, and no use of it follows in the log. Whoever may decide may take back.
   */
  @Post(':approval_id/revoke')
  @HttpCode(200)
  @Access('approvals:decide', 'admin', { within_team: true })
  revoke(
    @By() principal: AdminPrincipal,
    @Param('approval_id') approval_id: string,
    @Body() { reason }: RevokeApproval,
  ): Promise<Approval> {
    return this.approvals.revoke(principal, approval_id, reason)
  }

  /** Cancels a request that waits. */
  @Delete(':approval_id')
  @HttpCode(204)
  @Access('approvals:decide', 'admin', { within_team: true })
  cancel(@By() principal: Principal, @Param('approval_id') approval_id: string): Promise<void> {
    return this.approvals.cancel(principal, approval_id)
  }
}
