import { Catch, Logger, NotFoundException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common'
import type { Request, Response } from 'express'
import { Problem } from '../../core/problems.js'
import { allowedMethods } from './allowed-methods.js'
import { sendProblem } from './problem-response.js'
import { toProblem } from './to-problem.js'

const logger = new Logger('problems')

/** Refusals for want of room come by the thousand, and are on the request's own line: one a second says enough. */
const ROOM_EVERY_MS = 1_000
let said_at = -Infinity
let unsaid = 0

/** The one place where an error becomes an answer; the lane comes here too. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    const request = host.switchToHttp().getRequest<Request>()
    const response = host.switchToHttp().getResponse<Response>()
    // Nest's own 404 of its router; capabilities throw Problems.
    const problem = error instanceof NotFoundException ? notRouted(request, response) : toProblem(error)
    logProblem(problem)
    sendProblem(request, response, problem)
  }
}

/** @param request_id where no logger of the request would say it */
export function logProblem(problem: Problem, request_id?: string): void {
  if (problem.status < 500 && problem.cause === undefined) return
  if (problem.code === 'ledger_busy') return logRefusal(problem, request_id)
  const facts = { request_id, code: problem.code, err: problem.cause ?? problem }
  if (problem.status < 500) logger.debug(facts, problem.title)
  else if (problem.status === 503) logger.warn(facts, problem.title)
  else logger.error(facts, problem.title)
}

function logRefusal({ code, title }: Problem, request_id?: string): void {
  const now = performance.now()
  if (now - said_at < ROOM_EVERY_MS) {
    unsaid++
    return
  }
  logger.warn({ request_id, code, unsaid }, title)
  said_at = now
  unsaid = 0
}

/** 405 with `Allow` where the path is served in another way, else 404. */
export function notRouted(request: Request, response: Response): Problem {
  const methods = allowedMethods(request).join(', ')
  if (methods === '') return new Problem('not_found', { detail: 'No route has this path.' })
  response.setHeader('Allow', methods)
  return new Problem('method_not_allowed', { detail: `Served here: ${methods}.` })
}
