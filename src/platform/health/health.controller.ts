import { Controller, Get, HttpStatus, Res } from '@nestjs/common'
import { ApiOkResponse, ApiServiceUnavailableResponse, ApiTags } from '@nestjs/swagger'
import type { Response } from 'express'
import { Access } from '../access/access.decorator.js'
import { Limit } from '../throttling/limit.decorator.js'
import { HealthDto, LivenessDto, ReadinessDto, StatisticsDto } from './health.dto.js'
import { HealthService } from './health.service.js'

/** For load balancers and people: what runs, whether it lives, whether it can decide. No credentials. */
@ApiTags('operations')
@Access('public')
@Limit('health')
@Controller('health')
export class HealthController {
  constructor(private readonly service: HealthService) {}

  /** The service runs and this is its version. */
  @Get()
  get(): HealthDto {
    return this.service.health()
  }

  /** Whether requests may be sent here: 503 when the database or the ledger cannot be used, or on shutdown. */
  @Get('ready')
  @ApiOkResponse({ type: ReadinessDto })
  @ApiServiceUnavailableResponse({ type: ReadinessDto })
  async ready(@Res({ passthrough: true }) response: Response): Promise<ReadinessDto> {
    const readiness = await this.service.ready()
    if (readiness.status !== 'ready') response.status(HttpStatus.SERVICE_UNAVAILABLE)
    return readiness
  }

  /** Whether the process answers at all. */
  @Get('live')
  live(): LivenessDto {
    return this.service.live()
  }

  /** Agents, database and uptime of this installation. */
  @Get('stats')
  stats(): Promise<StatisticsDto> {
    return this.service.stats()
  }
}
