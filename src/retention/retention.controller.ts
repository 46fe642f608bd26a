import { Body, Controller, Get, HttpCode, Post, Put } from '@nestjs/common'
import { ApiTags } from '@nestjs/swagger'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { ExpiryRun, Retention, UpdateRetention } from './retention.dto.js'
import { RetentionService } from './retention.service.js'

/** How long the log is kept. */
@ApiTags('ledger')
@Controller('ledger/retention')
export class RetentionController {
  constructor(private readonly retention: RetentionService) {}

  /** How long coming entries are kept, and how many have expired. */
  @Get()
  @Access('config-logs:read')
  get(@By() principal: Principal): Promise<Retention> {
    return this.retention.get(principal)
  }

  /**
   * Keep coming entries for another time.
   *
   * Entries that are in the log already keep the time they were written with.
   */
  @Put()
  @Access('ledger:write')
  update(@By() principal: Principal, @Body() body: UpdateRetention): Promise<Retention> {
    return this.retention.update(principal, body)
  }

  /**
   * Expire what is due, of every organization, now instead of tonight.
   *
   * Does nothing unless `LEDGER_EXPIRY` is set.
   */
  @Post('run')
  @HttpCode(200)
  @Access('organizations:write')
  run(): Promise<ExpiryRun> {
    return this.retention.run()
  }
}
