import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { Injectable, type OnModuleInit } from '@nestjs/common'
import { HttpAdapterHost } from '@nestjs/core'
import { Authenticator } from '../platform/access/authenticator.js'
import type { AgentPrincipal } from '../platform/access/principal.js'
import { Settings } from '../platform/config/settings.js'
import type { WithBodyBytes } from '../platform/http/input.interceptor.js'
import { type Lane, LaneAdapter } from '../platform/http/lane.adapter.js'
import { Exchange, LaneExchanges } from '../platform/http/lane.exchanges.js'
import { collectBody, plainRequest } from '../platform/http/lane.request.js'
import { whenClosed } from '../platform/http/when-closed.js'
import { parseStrictJson } from '../platform/http/strict-json.js'
import {
  RateLimiter,
  rateIdentity,
  rateProblem,
  type WithRateOutcome,
} from '../platform/throttling/rate-limiter.js'
import type { WithTurn } from '../platform/throttling/turn.guard.js'
import { Turn, Turns } from '../platform/throttling/turns.js'
import type { EnforceDto } from './enforce.dto.js'
import { EnforceService } from './enforce.service.js'

const PATHS: ReadonlySet<string> = new Set(['/enforce', '/v1/enforce'])
/** As the recorder calls this route. */
const ENDPOINT = '/v1/enforce'

/**
 * The short way for the ordinary `POST /enforce` (design 5): the same services as `EnforceController`, which is the
 * reference, without router, guards, pipes and interceptors around them.
 *
 * Whatever is not ordinary goes to Express: another shape, a key that memory does not know, a body that is not the
 * DTO's. So Nest alone says what is wrong with a request, and the lane needs no second set of messages. Nothing is
 * done twice then: the limiter's answer and the bytes of the body travel with the request.
 */
@Injectable()
export class EnforceLane implements Lane, OnModuleInit {
  constructor(
    private readonly host: HttpAdapterHost,
    private readonly settings: Settings,
    private readonly authenticator: Authenticator,
    private readonly limiter: RateLimiter,
    private readonly turns: Turns,
    private readonly enforce: EnforceService,
    private readonly exchanges: LaneExchanges,
  ) {}

  onModuleInit(): void {
    const { httpAdapter } = this.host
    const { enforce_lane, metrics_path } = this.settings
    if (enforce_lane && !PATHS.has(metrics_path) && httpAdapter instanceof LaneAdapter) httpAdapter.open(this)
  }

  take(request: IncomingMessage, response: ServerResponse, express: RequestListener): void {
    const plain = plainRequest(request, PATHS)
    // Who asks comes first: a stranger's body is not read.
    const principal = plain && this.authenticator.knownAgent(plain.agent_key)
    if (!plain || !principal?.permissions.has('decisions:create')) {
      express(request, response)
      return
    }
    const exchange = new Exchange(request, response, 'POST', ENDPOINT, plain.request_id)
    exchange.principal = principal
    exchange.rate = this.limiter.take('enforce', rateIdentity(principal, undefined))
    this.exchanges.begin(exchange)
    if (exchange.rate && !exchange.rate.allowed) {
      this.exchanges.fail(exchange, rateProblem(exchange.rate))
      return
    }
    const begin = (turn: Turn): void => {
      whenClosed(response, () => turn.end())
      if (response.closed) return
      collectBody(request, plain.length, (bytes) => {
        if (exchange.state !== 'open') return
        const body = readBody(bytes)
        if (body) void this.decide(exchange, principal, body).finally(() => turn.end())
        else this.handOver(exchange, bytes, turn, express)
      })
    }
    this.inTurn(exchange, principal, begin)
  }

  /** Most find room at once, and do not wait for a promise either. */
  private inTurn(exchange: Exchange, { org_id }: AgentPrincipal, begin: (turn: Turn) => void): void {
    try {
      const turn = this.turns.take(org_id, 1)
      if (turn instanceof Turn) begin(turn)
      else turn.then(begin, (error: unknown) => this.exchanges.fail(exchange, error))
    } catch (error) {
      this.exchanges.fail(exchange, error)
    }
  }

  private async decide(exchange: Exchange, principal: AgentPrincipal, body: EnforceDto): Promise<void> {
    try {
      const answer = await this.enforce.enforce({ ...principal, request_id: exchange.id }, body)
      exchange.facts = { action: body.action, allowed: answer.allowed }
      this.exchanges.answer(exchange, JSON.stringify(answer))
    } catch (error) {
      this.exchanges.fail(exchange, error)
    }
  }

  private handOver(exchange: Exchange, bytes: Buffer, turn: Turn, express: RequestListener): void {
    this.exchanges.leave(exchange)
    const request: IncomingMessage & WithBodyBytes & WithRateOutcome & WithTurn = exchange.request
    request.turn = turn
    request.body_bytes = bytes
    if (exchange.rate) request.rate_outcome = exchange.rate
    express(request, exchange.response)
  }
}

/** The body when it is what the DTO takes, else null: which mistake it holds is the DTO's to say. */
function readBody(bytes: Buffer): EnforceDto | null {
  let body: unknown
  try {
    body = parseStrictJson(bytes)
  } catch {
    return null // Express reads the same bytes with the same function, and answers what it throws
  }
  return isEnforceDto(body) ? body : null
}

function isEnforceDto(body: unknown): body is EnforceDto {
  if (!isObject(body)) return false
  for (const name in body) {
    const value = body[name]
    switch (name) {
      case 'action':
      case 'resource':
        if (typeof value !== 'string') return false
        break
      case 'arguments':
      case 'context':
        if (!isObject(value)) return false
        break
      default:
        return false
    }
  }
  return body.action !== undefined
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
