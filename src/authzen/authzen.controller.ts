import { Body, Controller, Get, HttpCode, Post, Req, Res, UseFilters } from '@nestjs/common'
import {
  ApiBody,
  ApiDefaultResponse,
  ApiExtraModels,
  ApiOkResponse,
  ApiTags,
  getSchemaPath,
} from '@nestjs/swagger'
import type { Request, Response } from 'express'
import { MAX_BATCH } from '../enforce/enforce.dto.js'
import { Access } from '../platform/access/access.decorator.js'
import { type AgentPrincipal, By } from '../platform/access/principal.js'
import { Settings } from '../platform/config/settings.js'
import { Limit } from '../platform/throttling/limit.decorator.js'
import { applyRate, rateIdentity, RateLimiter } from '../platform/throttling/rate-limiter.js'
import { InTurn } from '../platform/throttling/turn.guard.js'
import {
  AccessEvaluation,
  AccessEvaluations,
  AuthzenConfiguration,
  AuthzenDecision,
  AuthzenDecisions,
} from './authzen.dto.js'
import { baseOf } from './base-url.js'
import { AuthzenFilter } from './authzen.filter.js'
import { AuthzenService } from './authzen.service.js'

/** Bodies are declared as free objects, which the validation pipe leaves alone: AuthZEN ignores unknown members. */
type Free = Record<string, unknown>

const TEXT_ERROR = {
  description: 'Any other outcome: a message.',
  content: { 'text/plain': { schema: { type: 'string' } } },
}

@ApiTags('authzen')
@Controller()
export class AuthzenController {
  constructor(
    private readonly authzen: AuthzenService,
    private readonly settings: Settings,
    private readonly limiter: RateLimiter,
  ) {}

  /**
   * May I do this? OpenID AuthZEN Authorization API 1.0.
   *
   * The same decision, record and answer as `POST /enforce` in the form of the standard: `action.name` is the action,
   * `resource.id` the resource, and `subject.id` must be the id of the agent whose key asks. Errors are text.
   */
  @Post('access/v1/evaluation')
  @InTurn()
  @HttpCode(200)
  @Access('decisions:create', 'agent')
  @Limit('enforce')
  @UseFilters(AuthzenFilter)
  @ApiDefaultResponse(TEXT_ERROR)
  @ApiBody({ type: AccessEvaluation })
  @ApiOkResponse({ type: AuthzenDecision })
  evaluate(@By() principal: AgentPrincipal, @Body() body: Free): Promise<AuthzenDecision> {
    return this.authzen.evaluate(principal, body)
  }

  /**
   * May I do these? OpenID AuthZEN Authorization API 1.0.
   *
   * `execute_all` decides up to 100 evaluations from one configuration and commits them together;
   * `deny_on_first_deny` and `permit_on_first_permit` go through them in order and evaluate nothing after the first
   * deny or permit. An evaluation that cannot be read is `false` with `context.error`. Each item counts as one request
   * against the limit.
   */
  @Post('access/v1/evaluations')
  @InTurn({ items: MAX_BATCH })
  @HttpCode(200)
  @Access('decisions:create', 'agent')
  @Limit('enforce')
  @UseFilters(AuthzenFilter)
  @ApiDefaultResponse(TEXT_ERROR)
  @ApiExtraModels(AuthzenDecision, AuthzenDecisions)
  @ApiBody({ type: AccessEvaluations })
  @ApiOkResponse({
    schema: { oneOf: [{ $ref: getSchemaPath(AuthzenDecisions) }, { $ref: getSchemaPath(AuthzenDecision) }] },
  })
  async evaluateAll(
    @By() principal: AgentPrincipal,
    @Body() body: Free,
    @Res({ passthrough: true }) response: Response,
  ): Promise<AuthzenDecisions | AuthzenDecision> {
    const questions = this.authzen.read(principal, body)
    if (!questions) return this.authzen.evaluate(principal, body)
    const identity = rateIdentity(principal, undefined)
    const rate = this.limiter.takeMore('enforce', identity, questions.items.length - 1)
    if (rate) applyRate(response, rate)
    return { evaluations: await this.authzen.evaluateAll(principal, questions) }
  }

  /**
   * Where the AuthZEN endpoints are.
   *
   * Under `PUBLIC_URL`, or without it under the address that was asked.
   */
  @Get('.well-known/authzen-configuration')
  @Access('public')
  @Limit('health')
  @ApiOkResponse({ type: AuthzenConfiguration })
  configuration(@Req() request: Request): AuthzenConfiguration {
    const base = baseOf(this.settings, request)
    return {
      policy_decision_point: base,
      access_evaluation_endpoint: `${base}/access/v1/evaluation`,
      access_evaluations_endpoint: `${base}/access/v1/evaluations`,
      access_request_endpoint: `${base}/access/v1/requests`,
      capabilities: ['urn:openid:authzen:capability:access-request'],
    }
  }
}
