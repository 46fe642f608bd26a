import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { Injectable, type OnModuleInit } from '@nestjs/common'
import { HttpAdapterHost } from '@nestjs/core'
import { Authenticator } from '../platform/access/authenticator.js'
import type { AgentPrincipal } from '../platform/access/principal.js'
import { Settings } from '../platform/config/settings.js'
import type { WithBodyBytes } from '../platform/http/input.interceptor.js'
import { DEFAULT_BODY_LIMIT } from '../platform/http/body.js'
import { type Lane, LaneAdapter } from '../platform/http/lane.adapter.js'
import { Exchange, LaneExchanges } from '../platform/http/lane.exchanges.js'
import { collectBody, plainRequest } from '../platform/http/lane.request.js'
import { whenClosed } from '../platform/http/when-closed.js'
import {
  RateLimiter,
  rateIdentity,
  rateProblem,
  type WithRateOutcome,
} from '../platform/throttling/rate-limiter.js'
import type { WithTurn } from '../platform/throttling/turn.guard.js'
import { costOf, Turn, Turns } from '../platform/throttling/turns.js'
import { readBatch, readOne } from './enforce.body.js'
import { type EnforceDto, MAX_BATCH } from './enforce.dto.js'
import { EnforceService } from './enforce.service.js'

interface Way {
  /** As the recorder calls this route. */
  readonly endpoint: string
  /** Larger bodies take the long way: they are rare, and cost more than what the lane saves. */
  readonly max_bytes: number
  /** Questions that may be in one request. */
  readonly items: number
}

const ONE: Way = { endpoint: '/v1/enforce', max_bytes: 16 * 1024, items: 1 }
/** However large: those that wait for their turn, or are told that it does not come, must cost nobody else anything. */
const BATCH: Way = { endpoint: '/v1/enforce/batch', max_bytes: DEFAULT_BODY_LIMIT, items: MAX_BATCH }
const WAYS: ReadonlyMap<string, Way> = new Map([
  ['/enforce', ONE],
  ['/v1/enforce', ONE],
  ['/enforce/batch', BATCH],
  ['/v1/enforce/batch', BATCH],
])

/**
 * The short way for the ordinary `POST /enforce` (design 5) and its batches: the same services as
 * `EnforceController`, which is the reference, without router, guards, pipes and interceptors around them.
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
    if (enforce_lane && !WAYS.has(metrics_path) && httpAdapter instanceof LaneAdapter) httpAdapter.open(this)
  }

  take(request: IncomingMessage, response: ServerResponse, express: RequestListener): void {
    const way = WAYS.get(request.url ?? '')
    const plain = way && plainRequest(request, Math.min(way.max_bytes, this.settings.max_request_size))
    // Who asks comes first: a stranger's body is not read.
    const principal = plain && this.authenticator.knownAgent(plain.agent_key)
    if (!plain || !principal?.permissions.has('decisions:create')) {
      express(request, response)
      return
    }
    const exchange = new Exchange(request, response, 'POST', way.endpoint, plain.request_id)
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
        const answered =
          way === BATCH
            ? this.answerBatch(exchange, principal, bytes)
            : this.answerOne(exchange, principal, bytes)
        if (answered) void answered.finally(() => turn.end())
        else this.handOver(exchange, bytes, turn, express)
      })
    }
    this.inTurn(exchange, principal, costOf(plain.length, way.items, way.max_bytes), begin)
  }

  /** Most find room at once, and do not wait for a promise either. */
  private inTurn(
    exchange: Exchange,
    { org_id }: AgentPrincipal,
    cost: number,
    begin: (turn: Turn) => void,
  ): void {
    try {
      if (exchange.endpoint === BATCH.endpoint) this.enforce.expectRoom(org_id, MAX_BATCH)
      const turn = this.turns.take(org_id, cost)
      if (turn instanceof Turn) begin(turn)
      else turn.then(begin, (error: unknown) => this.exchanges.fail(exchange, error))
    } catch (error) {
      this.exchanges.fail(exchange, error)
    }
  }

  /** @returns null when the body is not the DTO's */
  private answerOne(exchange: Exchange, principal: AgentPrincipal, bytes: Buffer): Promise<void> | null {
    const body = readOne(bytes)
    return body && this.decide(exchange, principal, body)
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

  /** As `answerOne`. */
  private answerBatch(exchange: Exchange, principal: AgentPrincipal, bytes: Buffer): Promise<void> | null {
    const requests = readBatch(bytes)
    return requests && this.decideBatch(exchange, principal, requests)
  }

  private async decideBatch(
    exchange: Exchange,
    principal: AgentPrincipal,
    requests: readonly EnforceDto[],
  ): Promise<void> {
    try {
      const rate = this.limiter.takeMore('enforce', rateIdentity(principal, undefined), requests.length - 1)
      exchange.rate = rate ?? exchange.rate
      if (rate && !rate.allowed) throw rateProblem(rate)
      const results = await this.enforce.enforceBatch({ ...principal, request_id: exchange.id }, requests)
      this.exchanges.answer(exchange, JSON.stringify({ results }))
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
