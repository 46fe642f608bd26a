import { Injectable, Logger } from '@nestjs/common'
import type { Principal } from '../access/principal.js'
import { type LogLevel, Settings } from '../config/settings.js'
import type { RequestFacts } from './request-facts.js'

/** Slower than this is a warning (row AG-97). */
export const SLOW_MS = 1_000

export interface AnsweredRequest {
  readonly method: string
  /** Route template or `unmatched`; the path itself only when nothing matched, and never the query. */
  readonly endpoint: string
  readonly path: string
  readonly status: number
  readonly duration_ms: number
  readonly request_id: string
  readonly principal: Principal | undefined
  readonly facts: RequestFacts | undefined
}

const LINES_A_SECOND = 10
/** Levels that show the line of an ordinary request. */
const ORDINARY_LEVELS: ReadonlySet<LogLevel> = new Set(['trace', 'debug', 'info'])

/** One line an answered request. Plain, so that the fast lane can write the same line, or leave it out. */
@Injectable()
export class RequestLog {
  private readonly logger = new Logger('http')
  private second = 0
  private lines = 0
  private left_out = 0

  constructor(private readonly settings: Settings) {}

  /**
   * The same line for a route that is answered thousands of times a second and keeps its own record: errors and slow
   * answers always, of the others the first ten of each second; the next line says how many were `left_out`.
   */
  answeredOften(request: AnsweredRequest): void {
    if (request.status < 400 && request.duration_ms <= SLOW_MS) {
      if (!ORDINARY_LEVELS.has(this.settings.log_level)) return
      const second = Math.trunc(performance.now() / 1000)
      if (second !== this.second) this.lines = 0
      this.second = second
      if (++this.lines > LINES_A_SECOND) {
        this.left_out++
        return
      }
    }
    const left_out = this.left_out
    this.left_out = 0
    this.answered(request, left_out > 0 ? { left_out } : undefined)
  }

  answered(request: AnsweredRequest, more?: { readonly left_out: number }): void {
    const { method, path, status, duration_ms, principal } = request
    const slow = duration_ms > SLOW_MS
    const entry = {
      request_id: request.request_id,
      method,
      endpoint: request.endpoint,
      status,
      duration_ms: Math.round(duration_ms * 1000) / 1000,
      org_id: principal?.org_id,
      agent_id: principal?.kind === 'agent' ? principal.agent_id : undefined,
      ...request.facts,
      ...more,
    }
    const message = `${method} ${path.slice(0, 200)} ${status}${slow ? ' was slow' : ''}`
    if (status >= 500 || slow) this.logger.warn(entry, message)
    else this.logger.log(entry, message)
  }
}
