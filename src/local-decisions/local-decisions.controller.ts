import { Body, Controller, Get, Headers, HttpCode, Param, Post, Res } from '@nestjs/common'
import { ApiHeader, ApiOkResponse, ApiResponse, ApiTags } from '@nestjs/swagger'
import type { Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { type AgentPrincipal, By, type Principal } from '../platform/access/principal.js'
import { Limit } from '../platform/throttling/limit.decorator.js'
import { BundlesService } from './bundles.service.js'
import { Bundle, LocalDecisionsDto, RecordedDecisions } from './local-decisions.dto.js'
import { RecordingService } from './recording.service.js'

const LEASE_HEADER = 'AgentGuard-Lease'

@ApiTags('local decisions')
@Controller('agents/:agent_id')
export class LocalDecisionsController {
  constructor(
    private readonly bundles: BundlesService,
    private readonly recording: RecordingService,
  ) {}

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
  @ApiHeader({ name: 'AgentGuard-Nonce', required: false, description: 'Repeated in the lease.' })
  @ApiOkResponse({ type: Bundle, headers: { [LEASE_HEADER]: { schema: { type: 'string' } } } })
  @ApiResponse({ status: 304, description: 'Nothing has changed; `AgentGuard-Lease` is new.' })
  async bundle(
    @By() principal: Principal,
    @Param('agent_id') agent_id: string,
    @Headers('if-none-match') if_none_match: string | undefined,
    @Headers('agentguard-nonce') nonce: string | undefined,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Bundle | undefined> {
    const { etag, lease, bundle } = await this.bundles.get(principal, agent_id, nonce)
    response.setHeader('ETag', etag)
    response.setHeader('Cache-Control', 'private, no-cache')
    if (lease !== null) response.setHeader(LEASE_HEADER, lease)
    if (!names(if_none_match, etag)) return bundle()
    response.status(304)
    return undefined
  }

  /**
   * Enter into the log what an agent decided by itself.
   *
   * Up to 100 decisions that were made from one bundle under one lease, in the order in which the agent's spool holds
   * them; `seq` counts them from 0 without a gap. Those that the log has got already are passed over, so a batch can
   * be sent again. Each is made again from the policies that the manifest names: `agrees` says whether the service
   * decides the same, and stands in the entry (`decision.local`). A body may have 1 MB.
   */
  @Post('decisions')
  @HttpCode(200)
  @Access('decisions:create', 'agent')
  @Limit('log_submit')
  @ApiOkResponse({ type: RecordedDecisions })
  record(
    @By() principal: AgentPrincipal,
    @Param('agent_id') agent_id: string,
    @Body() batch: LocalDecisionsDto,
  ): Promise<RecordedDecisions> {
    return this.recording.record(principal, agent_id, batch)
  }
}

/** RFC 9110 13.1.2: a list of entity tags compared weakly, or any. */
const names = (header: string | undefined, etag: string): boolean =>
  header !== undefined &&
  header.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag)
