import { createHash, timingSafeEqual } from 'node:crypto'
import { Controller, Get, Header, Req } from '@nestjs/common'
import {
  ApiBearerAuth,
  ApiOkResponse,
  ApiOperation,
  ApiProduces,
  ApiSecurity,
  ApiTags,
} from '@nestjs/swagger'
import type { Request } from 'express'
import { Problem } from '../../core/problems.js'
import { Access } from '../access/access.decorator.js'
import { credentialsOf } from '../access/credentials.js'
import { Gatekeeper } from '../access/gatekeeper.js'
import { Settings } from '../config/settings.js'
import { Limit } from '../throttling/limit.decorator.js'
import { Metrics } from './metrics.js'

const BEARER = /^Bearer +([\x21-\x7e]+)$/i

@ApiTags('operations')
@Controller('metrics')
export class MetricsController {
  constructor(
    private readonly metrics: Metrics,
    private readonly settings: Settings,
    private readonly gatekeeper: Gatekeeper,
  ) {}

  /**
   * Metrics in Prometheus text format. Needs `metrics:read`, or `METRICS_TOKEN` as a bearer token, unless
   * `METRICS_PUBLIC=true`. Served at `METRICS_PATH`.
   */
  @Get()
  // Public to the guard, because a scraper's token is no principal: admit() below is the check.
  @Access('public')
  @Limit('health')
  @Header('Content-Type', 'text/plain; version=0.0.4; charset=utf-8')
  @ApiOperation({ summary: 'Metrics in Prometheus text format' })
  @ApiSecurity('admin_key')
  @ApiBearerAuth('metrics_token')
  @ApiProduces('text/plain')
  @ApiOkResponse({ schema: { type: 'string' } })
  async get(@Req() request: Request): Promise<string> {
    if (!this.settings.metrics_enabled) throw new Problem('not_found')
    await this.admit(request)
    return this.metrics.text()
  }

  private async admit(request: Request): Promise<void> {
    if (this.settings.metrics_public) return
    const token = BEARER.exec(request.headers.authorization ?? '')?.[1]
    const { metrics_token } = this.settings
    if (token !== undefined && metrics_token !== undefined && sameSecret(token, metrics_token)) return
    await this.gatekeeper.admit(
      { permission: 'metrics:read', by: 'admin' },
      credentialsOf(request),
      request.ip,
    )
  }
}

/** Digests have one length, so that neither content nor length shows in the time taken. */
function sameSecret(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}
