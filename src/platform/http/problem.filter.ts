import { Catch, Logger, NotFoundException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common'
import type { Request, Response } from 'express'
import { Problem } from '../../core/problems.js'
import { problemDocument, problemHeaders } from './problem-response.js'
import { toProblem } from './to-problem.js'

/** The one place where an error becomes an answer. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  private readonly logger = new Logger('problems')

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp()
    const request = http.getRequest<Request>()
    const response = http.getResponse<Response>()
    const problem = this.problem(error, request, response)
    this.log(problem, String(request.id))
    if (response.headersSent) {
      // Half an answer cannot be taken back; cutting it short is the only way to say that it is not whole.
      response.destroy()
      return
    }
    const document = problemDocument(problem, String(request.id))
    response.removeHeader('ETag')
    for (const [name, value] of Object.entries(problemHeaders(problem))) response.setHeader(name, value)
    response.statusCode = problem.status
    response.setHeader('Content-Length', Buffer.byteLength(document))
    response.end(document)
  }

  private problem(error: unknown, request: Request, response: Response): Problem {
    const unrouted = error instanceof NotFoundException && request.route === undefined
    const allowed = unrouted ? methodsOf(request) : []
    if (allowed.length === 0) return toProblem(error)
    response.setHeader('Allow', allowed.join(', '))
    return new Problem('method_not_allowed', { detail: `Served here: ${allowed.join(', ')}.` })
  }

  private log(problem: Problem, request_id: string): void {
    if (problem.status < 500 && problem.cause === undefined) return
    const facts = { code: problem.code, request_id, err: problem.cause ?? problem }
    if (problem.status >= 500 && problem.code !== 'not_ready') this.logger.error(facts, problem.title)
    else if (problem.status >= 500) this.logger.warn(facts, problem.title)
    else this.logger.debug(facts, problem.title)
  }
}

interface Layer {
  match(path: string): boolean
  route?: { methods: Record<string, boolean> }
}

/** The methods that the path is served with, asked only when nothing else matched. */
function methodsOf(request: Request): string[] {
  const { stack } = request.app.router as unknown as { stack: Layer[] }
  const methods = new Set<string>()
  for (const layer of stack) {
    if (!layer.route || !layer.match(request.path)) continue
    for (const method of Object.keys(layer.route.methods))
      if (method !== '_all') methods.add(method.toUpperCase())
  }
  if (methods.has('GET')) methods.add('HEAD')
  return [...methods].sort()
}
