import type { ServerResponse } from 'node:http'
import type { NextFunction, Request, RequestHandler, Response } from 'express'
import type { Settings } from '../config/settings.js'
import { routedUrl } from './paths.js'
import { requestId, responseTime } from './request-id.js'
import { apiHeaders, docsHeaders } from './security-headers.js'
import type { Shutdown } from './shutdown.js'

/**
 * The first thing that every request meets: its id, the headers of every answer, and the routed form of its path.
 * Whatever fails later, these are set.
 */
export function entrance(settings: Settings, shutdown: Shutdown): RequestHandler {
  const api = apiHeaders()
  const docs = docsHeaders()
  return (request: Request, response: Response, next: NextFunction) => {
    const start = performance.now()
    request.id = requestId(request.headers['x-request-id'])
    response.setHeader('X-Request-ID', request.id)
    const isDocs = request.url === '/docs' || request.url.startsWith('/docs/')
    for (const [name, value] of isDocs ? docs : api) response.setHeader(name, value)
    timeHead(response, start, shutdown)
    try {
      request.url = routedUrl(request.url, settings.metrics_path)
    } catch (error) {
      next(error)
      return
    }
    next()
  }
}

/** Adds what is known only when the head is about to be written: how long it took, and whether we are closing. */
export function timeHead(response: ServerResponse, start: number, shutdown: Shutdown): void {
  const writeHead = response.writeHead.bind(response) as (...head: unknown[]) => never
  response.writeHead = (...head: unknown[]) => {
    if (!response.headersSent) {
      response.setHeader('X-Response-Time', responseTime(performance.now() - start))
      if (shutdown.isDraining) response.setHeader('Connection', 'close')
    }
    return writeHead(...head)
  }
}
