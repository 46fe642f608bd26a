import type { ServerResponse } from 'node:http'
import { idOf } from './request-id.js'
import { problemType, type Problem } from '../../core/problems.js'

export const PROBLEM_TYPE = 'application/problem+json'

/** Paths and messages may quote the request's own keys; the answer stays small whatever they are. */
const MAX_TEXT = 300
const cut = (text: string): string => (text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}…`)

/**
 * The problem document of RFC 9457, always with its members in this order: two problems of one code and detail
 * differ in `request_id` alone, which is what makes a foreign resource look like a missing one.
 */
export function problemDocument(problem: Problem, request_id: string): string {
  return JSON.stringify({
    type: problemType(problem.code),
    title: problem.title,
    status: problem.status,
    detail: cut(problem.detail ?? `${problem.title}.`),
    code: problem.code,
    request_id,
    errors: problem.errors?.map((error) => ({
      ...error,
      path: cut(error.path),
      message: cut(error.message),
    })),
    ...problem.extensions,
  })
}

/** The headers that belong to a problem, besides its media type. */
export function problemHeaders(problem: Problem): Record<string, string> {
  const headers: Record<string, string> = { 'Content-Type': PROBLEM_TYPE }
  if (problem.retry_after !== undefined)
    headers['Retry-After'] = String(Math.max(1, Math.ceil(problem.retry_after)))
  // RFC 9110 11.6.1 wants a challenge on every 401; no registered scheme carries a key in a header of its own.
  if (problem.status === 401) headers['WWW-Authenticate'] = 'ApiKey realm="agentguard"'
  return headers
}

/** Answers with a problem, whatever the response had been going to be. */
export function sendProblem(request: { id?: unknown }, response: ServerResponse, problem: Problem): void {
  if (response.headersSent) {
    // Half an answer cannot be taken back; cutting it short is the only way to say that it is not whole.
    response.destroy()
    return
  }
  const document = problemDocument(problem, idOf(request))
  for (const [name, value] of Object.entries(problemHeaders(problem))) response.setHeader(name, value)
  response.statusCode = problem.status
  response.setHeader('Content-Length', Buffer.byteLength(document))
  response.end(document)
}
