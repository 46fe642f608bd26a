import { Controller, Get, Query } from '@nestjs/common'
import { ApiTags } from '@nestjs/swagger'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { ApprovalReport, ApprovalReportQuery } from './report.dto.js'
import { ApprovalReportService } from './report.service.js'

@ApiTags('reports')
@Controller('reports/approvals')
export class ApprovalReportController {
  constructor(private readonly reports: ApprovalReportService) {}

  /** How people decide: how long they take, which way, and how often within three seconds; in all, by approver, by workflow. */
  @Get()
  @Access('reports:read', 'admin', { within_team: true })
  get(@By() principal: Principal, @Query() { days }: ApprovalReportQuery): Promise<ApprovalReport> {
    return this.reports.report(principal, days)
  }
}
