import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Problem, type ProblemCode } from '../../core/problems.js'
import type { Settings } from '../config/settings.js'
import { problemDocument, problemHeaders } from './problem-response.js'
import { requestId } from './request-id.js'
import { apiHeaders } from './security-headers.js'
import type { Shutdown } from './shutdown.js'

/** Longer than the idle timeout of common load balancers (60 s), so that they, not we, end idle connections. */
const KEEP_ALIVE_MS = 65_000
/** How long a refused client may go on sending before it is cut off: closing at once would lose the answer. */
const LINGER_MS = 1_000

/** How long clients with an open connection may take to hear that we are leaving. */
const LEAVE_MS = 1_000

/**
 * Leaves a load balancer without dropping anything: readiness is refused, and every answer announces that its
 * connection closes, until nobody has one. Closing the listener or idle connections any earlier would lose the
 * requests that are on their way: in the backlog, or on a connection that was idle a moment ago.
 */
export async function leave(server: Server, shutdown: Shutdown): Promise<void> {
  shutdown.drain()
  const until = performance.now() + LEAVE_MS
  while (performance.now() < until && (await connections(server)) > 0) await sleep(10)
}

const connections = (server: Server): Promise<number> =>
  new Promise((resolve) => server.getConnections((_, count) => resolve(count)))

/** Time limits of the server, and a problem document for what Node refuses before Express sees it. */
export function configureServer(server: Server, settings: Settings): void {
  server.requestTimeout = settings.request_timeout_s * 1000
  server.headersTimeout = Math.min(server.requestTimeout, 15_000)
  server.keepAliveTimeout = KEEP_ALIVE_MS
  const refused = new WeakSet<Socket>()
  server.on('clientError', (error: NodeJS.ErrnoException, stream) => {
    const socket = stream as Socket
    // The parser goes on failing on whatever else arrives; the first answer counts.
    if (refused.has(socket)) return
    refused.add(socket)
    if (error.code === 'ECONNRESET' || !socket.writable || isAnswering(socket)) {
      socket.destroy()
      return
    }
    socket.end(rawAnswer(codeOf(error)))
    socket.resume()
    setTimeout(() => socket.destroy(), LINGER_MS).unref()
  })
}

/** True while a response has begun on this socket: another one in its middle would be taken for its body. */
function isAnswering(socket: Socket & { _httpMessage?: { headersSent: boolean } | null }): boolean {
  return socket._httpMessage?.headersSent === true
}

function codeOf(error: NodeJS.ErrnoException): ProblemCode {
  if (error.code === 'HPE_HEADER_OVERFLOW') return 'headers_too_large'
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'request_incomplete'
  if (error.code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') return 'payload_too_large'
  return 'bad_request'
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  413: 'Content Too Large',
  431: 'Request Header Fields Too Large',
}

function rawAnswer(code: ProblemCode): string {
  const problem = new Problem(code)
  const id = requestId(undefined)
  const document = problemDocument(problem, id)
  const headers = [
    ...apiHeaders(),
    ...Object.entries(problemHeaders(problem)),
    ['X-Request-ID', id],
    ['Content-Length', String(Buffer.byteLength(document))],
    ['Connection', 'close'],
  ]
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  return `HTTP/1.1 ${problem.status} ${REASONS[problem.status] ?? ''}\r\n${lines}\r\n${document}`
}
