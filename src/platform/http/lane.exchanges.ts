import type { IncomingMessage, ServerResponse } from 'node:http'
import { Injectable } from '@nestjs/common'
import type { Principal } from '../access/principal.js'
import { type Begun, Overdue } from '../clock/overdue.js'
import { Settings } from '../config/settings.js'
import type { RequestFacts } from '../logging/request-facts.js'
import { RequestLog } from '../logging/request-log.js'
import { Metrics } from '../metrics/metrics.js'
import { type RateOutcome, rateHeaders } from '../throttling/rate-limiter.js'
import { corsHeaders } from './cors.js'
import { requestTimeout } from './deadline.interceptor.js'
import { timeHead } from './entrance.js'
import { logProblem } from './problem.filter.js'
import { sendProblem } from './problem-response.js'
import { requestId, responseTime } from './request-id.js'
import { apiHeaders } from './security-headers.js'
import { Shutdown } from './shutdown.js'
import { toProblem } from './to-problem.js'

const SWEEP_MS = 250

/** A request that the lane has taken. */
export class Exchange {
  readonly started_at = performance.now()
  readonly id: string
  principal: Principal | undefined
  rate: RateOutcome | undefined
  facts: RequestFacts | undefined
  /** `left`: given to Express. Once it is not open any more, what still comes is for nobody. */
  state: 'open' | 'answered' | 'left' | 'gone' = 'open'
  /** Until it is answered, left or gone. */
  waiting: Begun | undefined

  constructor(
    readonly request: IncomingMessage,
    readonly response: ServerResponse,
    readonly method: string,
    readonly endpoint: string,
    sent_id: string | undefined,
  ) {
    this.id = requestId(sent_id)
  }
}

/**
 * What every answer of the lane shares with one of Express: headers, metrics, log line, deadline, problem documents.
 * test/lane.e2e-spec.ts holds the two equal.
 */
@Injectable()
export class LaneExchanges {
  /** The id's place, then what is the same in every answer, in the order in which Express sets it. */
  private readonly head: readonly string[]
  private readonly open: Overdue<Exchange>

  constructor(
    settings: Settings,
    private readonly shutdown: Shutdown,
    private readonly metrics: Metrics,
    private readonly log: RequestLog,
  ) {
    this.head = [['X-Request-ID', ''], ...apiHeaders(), ...corsHeaders(settings)].flat()
    const seconds = settings.request_timeout_s
    this.open = new Overdue(seconds * 1000, SWEEP_MS, (exchange) =>
      this.fail(exchange, requestTimeout(seconds)),
    )
  }

  /** From here on the request is measured, has a deadline, and is answered by `answer` or `fail`. */
  begin(exchange: Exchange): void {
    this.metrics.requestStarted()
    exchange.waiting = this.open.begin(exchange, exchange.started_at)
    exchange.response.on('finish', () => {
      if (exchange.state === 'answered') this.answered(exchange)
    })
    exchange.response.on('close', () => {
      if (exchange.state === 'left') return
      exchange.state = 'gone'
      this.end(exchange)
    })
  }

  /** Leaves the request to Express, which measures it from its own beginning. */
  leave(exchange: Exchange): void {
    exchange.state = 'left'
    this.end(exchange)
  }

  /** 200 with a JSON document. */
  answer(exchange: Exchange, document: string): void {
    if (exchange.state !== 'open') return
    exchange.state = 'answered'
    const head = this.headOf(exchange)
    head.push('Content-Type', 'application/json; charset=utf-8')
    head.push('Content-Length', String(Buffer.byteLength(document)))
    head.push('X-Response-Time', responseTime(performance.now() - exchange.started_at))
    if (this.shutdown.isDraining) head.push('Connection', 'close')
    exchange.response.writeHead(200, head).end(document)
  }

  /** The problem document for what was thrown, as the filter of Nest's routes writes it. */
  fail(exchange: Exchange, error: unknown): void {
    if (exchange.state !== 'open') return
    exchange.state = 'answered'
    const { response, started_at } = exchange
    const problem = toProblem(error)
    logProblem(problem, exchange.id)
    timeHead(response, started_at, this.shutdown)
    const head = this.headOf(exchange)
    for (let i = 0; i < head.length; i += 2) response.setHeader(head[i] ?? '', head[i + 1] ?? '')
    sendProblem(exchange, response, problem)
  }

  private headOf(exchange: Exchange): string[] {
    const head = this.head.slice()
    head[1] = exchange.id
    if (exchange.rate) {
      for (const [name, value] of Object.entries(rateHeaders(exchange.rate, Date.now())))
        head.push(name, value)
    }
    return head
  }

  private end(exchange: Exchange): void {
    exchange.waiting?.end()
    this.metrics.requestEnded()
  }

  private answered({ method, endpoint, response, started_at, id, principal, facts }: Exchange): void {
    const duration_ms = performance.now() - started_at
    const status = response.statusCode
    this.metrics.requestAnswered(method, endpoint, status, duration_ms / 1000)
    this.log.answeredOften({
      method,
      endpoint,
      path: endpoint,
      status,
      duration_ms,
      request_id: id,
      principal,
      facts,
    })
  }
}
