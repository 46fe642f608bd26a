import { Body, Controller, Get, HttpCode, Param, Post, Req, Res } from '@nestjs/common'
import { ApiBody, ApiCreatedResponse, ApiOkResponse, ApiTags } from '@nestjs/swagger'
import type { Request, Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { type AgentPrincipal, By } from '../platform/access/principal.js'
import { Settings } from '../platform/config/settings.js'
import { Limit } from '../platform/throttling/limit.decorator.js'
import { AccessRequest, AccessTaskAnswer, CancelAccessRequest } from './access-requests.dto.js'
import { AccessRequestsService, taskOf } from './access-requests.service.js'
import { baseOf } from './base-url.js'

/** Bodies are declared as free objects, which the validation pipe leaves alone: AuthZEN ignores unknown members. */
type Free = Record<string, unknown>

/** How long a program should wait before it asks again whether a person has decided. */
const POLL_S = 5

@ApiTags('authzen')
@Controller('access/v1/requests')
export class AccessRequestsController {
  constructor(
    private readonly requests: AccessRequestsService,
    private readonly settings: Settings,
  ) {}

  /**
   * Asks people for what an evaluation refused. AuthZEN Access Request and Approval Profile, Draft 1.
   *
   * Only for an evaluation whose answer has `context.access_request`. It has asked people already: this gives the
   * task by which to follow them, the same one however often it is submitted. Errors are problem documents of the
   * profile's types.
   */
  @Post()
  @HttpCode(201)
  @Access('decisions:create', 'agent')
  @Limit('enforce')
  @ApiBody({ type: AccessRequest })
  @ApiCreatedResponse({ type: AccessTaskAnswer })
  async submit(
    @By() principal: AgentPrincipal,
    @Body() body: Free,
    @Req() request: Request,
    @Res({ passthrough: true }) response: Response,
  ): Promise<AccessTaskAnswer> {
    const answer = taskOf(await this.requests.submit(principal, body), baseOf(this.settings, request))
    response.setHeader('Location', answer.task.status_endpoint)
    return answer
  }

  /** What became of a request of the agent's own. While it waits, `Retry-After` says when to ask again. */
  @Get(':task_id')
  @Access('decisions:create', 'agent')
  @Limit('enforce')
  @ApiOkResponse({ type: AccessTaskAnswer })
  async get(
    @By() principal: AgentPrincipal,
    @Param('task_id') task_id: string,
    @Req() request: Request,
    @Res({ passthrough: true }) response: Response,
  ): Promise<AccessTaskAnswer> {
    const answer = taskOf(await this.requests.get(principal, task_id), baseOf(this.settings, request))
    if (answer.task.status === 'pending') response.setHeader('Retry-After', String(POLL_S))
    return answer
  }

  /** Withdraws a request that waits. People see it as cancelled by the agent. */
  @Post(':task_id/cancel')
  @HttpCode(200)
  @Access('decisions:create', 'agent')
  @Limit('enforce')
  @ApiBody({ type: CancelAccessRequest })
  @ApiOkResponse({ type: AccessTaskAnswer })
  async cancel(
    @By() principal: AgentPrincipal,
    @Param('task_id') task_id: string,
    @Body() body: Free,
    @Req() request: Request,
  ): Promise<AccessTaskAnswer> {
    return taskOf(await this.requests.cancel(principal, task_id, body), baseOf(this.settings, request))
  }
}
