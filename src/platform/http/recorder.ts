import { AsyncResource } from 'node:async_hooks'
import type { NextFunction, Request, RequestHandler, Response } from 'express'
import type { WithPrincipal } from '../access/principal.js'
import { factsOf } from '../logging/request-facts.js'
import type { RequestLog } from '../logging/request-log.js'
import type { Metrics } from '../metrics/metrics.js'
import { idOf } from './request-id.js'

export const UNMATCHED = 'unmatched'

/**
 * Measures every answer when it has left: counters, duration, log line. On the response's own events and not in an
 * interceptor, which misses what a guard refuses and what no route matched.
 */
export function recorder(metrics: Metrics, log: RequestLog): RequestHandler {
  return (request: Request & WithPrincipal, response: Response, next: NextFunction) => {
    const start = performance.now()
    metrics.requestStarted()
    response.once('close', () => metrics.requestEnded())
    // Bound to this moment, where no logger of the request exists yet: the line names its request itself.
    const answered = AsyncResource.bind(() => {
      const duration_ms = performance.now() - start
      const endpoint = endpointOf(request)
      metrics.requestAnswered(request.method, endpoint, response.statusCode, duration_ms / 1000)
      log.answered({
        method: request.method,
        endpoint,
        path: endpoint === UNMATCHED ? pathOf(request) : endpoint,
        status: response.statusCode,
        duration_ms,
        request_id: idOf(request),
        principal: request.principal,
        facts: factsOf(request),
      })
    })
    response.once('finish', answered)
    next()
  }
}

const templates = new Map<string, string>()

/** The route's template as `openapi.json` spells it, `/v1/agents/{agent_id}`; `unmatched` bounds the label. */
function endpointOf(request: Request): string {
  const route = (request.route as { path?: unknown } | undefined)?.path
  // Nest's own 404 is a route called `*path`.
  if (typeof route !== 'string' || !route.startsWith('/')) return UNMATCHED
  let template = templates.get(route)
  if (template === undefined) {
    template = route.replace(/:(\w+)/g, '{$1}')
    templates.set(route, template)
  }
  return template
}

function pathOf(request: Request): string {
  const end = request.originalUrl.search(/[?#]/)
  return end < 0 ? request.originalUrl : request.originalUrl.slice(0, end)
}
