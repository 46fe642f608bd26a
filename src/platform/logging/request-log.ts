import { Injectable, Logger } from '@nestjs/common'
import type { Principal } from '../access/principal.js'
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

/** One line an answered request. Plain, so that the fast lane can write the same line, or leave it out. */
@Injectable()
export class RequestLog {
  private readonly logger = new Logger('http')

  answered(request: AnsweredRequest): void {
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
    }
    const message = `${method} ${path.slice(0, 200)} ${status}${slow ? ' was slow' : ''}`
    if (status >= 500 || slow) this.logger.warn(entry, message)
    else this.logger.log(entry, message)
  }
}
