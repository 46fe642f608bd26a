import { Controller, Get, Headers, Param, Res } from '@nestjs/common'
import { ApiHeader, ApiOkResponse, ApiResponse, ApiTags } from '@nestjs/swagger'
import type { Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { Limit } from '../platform/throttling/limit.decorator.js'
import { BundlesService } from './bundles.service.js'
import { Bundle } from './local-decisions.dto.js'

const LEASE_HEADER = 'AgentGuard-Lease'

@ApiTags('local decisions')
@Controller('agents/:agent_id')
export class LocalDecisionsController {
  constructor(private readonly bundles: BundlesService) {}

  /**
   * What an agent decides from by itself.
   *
   * The same as the service decides from, signed. An agent gets its own, and with it the header `AgentGuard-Lease`: a
   * compact JWS of type `agentguard-lease+jws` that says until when it may be decided from. Ask again with
   * `If-None-Match` before that: 304 with a new lease while nothing has changed. An administrator (`policies:read` and
   * `agents:read`) may look at it, and gets no lease.
   */
  @Get('bundle')
  @Access('policies:read', 'either', { within_team: true })
  @Limit('enforce')
  @ApiHeader({ name: 'If-None-Match', required: false, description: 'The `ETag` of the bundle you have.' })
  @ApiOkResponse({ type: Bundle, headers: { [LEASE_HEADER]: { schema: { type: 'string' } } } })
  @ApiResponse({ status: 304, description: 'Nothing has changed; `AgentGuard-Lease` is new.' })
  async bundle(
    @By() principal: Principal,
    @Param('agent_id') agent_id: string,
    @Headers('if-none-match') if_none_match: string | undefined,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Bundle | undefined> {
    const { etag, lease, bundle } = await this.bundles.get(principal, agent_id)
    response.setHeader('ETag', etag)
    response.setHeader('Cache-Control', 'private, no-cache')
    if (lease !== null) response.setHeader(LEASE_HEADER, lease)
    if (!names(if_none_match, etag)) return bundle()
    response.status(304)
    return undefined
  }
}

/** RFC 9110 13.1.2: a list of entity tags compared weakly, or any. */
const names = (header: string | undefined, etag: string): boolean =>
  header !== undefined &&
  header.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag)
