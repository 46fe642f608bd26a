import { type ArgumentsHost, Catch, type ExceptionFilter } from '@nestjs/common'
import type { Request, Response } from 'express'
import type { Problem } from '../core/problems.js'
import { logProblem } from '../platform/http/problem.filter.js'
import { problemHeaders } from '../platform/http/problem-response.js'
import { toProblem } from '../platform/http/to-problem.js'
import { inWords } from './evaluation.js'

const MAX_ERRORS = 5
const MAX_TEXT = 1000

/**
 * Errors as AuthZEN 1.0 wants them (10.1.7): the body is the message, as text, and a request that cannot be understood
 * is a 400 whatever is wrong with it. Status and headers are otherwise those of the problem.
 */
@Catch()
export class AuthzenFilter implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse<Response>()
    const problem = toProblem(error)
    logProblem(problem, host.switchToHttp().getRequest<Request & { id?: string }>().id)
    if (response.headersSent) {
      response.destroy()
      return
    }
    const text = messageOf(problem)
    for (const [name, value] of Object.entries(problemHeaders(problem))) response.setHeader(name, value)
    response.statusCode = problem.status === 422 ? 400 : problem.status
    response.setHeader('Content-Type', 'text/plain; charset=utf-8')
    response.setHeader('Content-Length', Buffer.byteLength(text))
    response.end(text)
  }
}

function messageOf({ detail, title, errors = [] }: Problem): string {
  const text = detail ?? [`${title}.`, ...errors.slice(0, MAX_ERRORS).map(inWords)].join('\n')
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}…`
}
