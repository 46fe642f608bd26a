import { Controller, Get } from '@nestjs/common'
import { ApiTags } from '@nestjs/swagger'
import { Access } from '../access/access.decorator.js'
import { Settings } from '../config/settings.js'
import { SERVICE, VERSION } from '../http/version.js'
import { Limit } from '../throttling/limit.decorator.js'
import { IndexDto } from './health.dto.js'

@ApiTags('operations')
@Controller()
export class IndexController {
  constructor(private readonly settings: Settings) {}

  /** What this is and where to go next. */
  @Get()
  @Access('public')
  @Limit('health')
  get(): IndexDto {
    return {
      service: SERVICE,
      version: VERSION,
      status: 'operational',
      docs: '/docs',
      health: '/health',
      metrics: this.settings.metrics_path,
    }
  }
}
