import { Injectable, type OnApplicationBootstrap } from '@nestjs/common'
import { HttpAdapterHost } from '@nestjs/core'
import type { Express } from 'express'
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { Problem } from '../core/problems.js'
import { foreignOrigin } from '../platform/access/session-cookie.js'
import { Settings } from '../platform/config/settings.js'
import { problemDocument } from '../platform/http/problem-response.js'
import { requestId } from '../platform/http/request-id.js'
import { toProblem } from '../platform/http/to-problem.js'
import { RateLimiter, rateIdentity, rateProblem } from '../platform/throttling/rate-limiter.js'
import { Admission, asSeen } from './admission.js'
import { readLastEventId } from './events.controller.js'
import { MAX_TYPES, TYPE_NAME } from './events.dto.js'
import { EventsService } from './events.service.js'
import type { LiveEvent } from './live-event.js'
import type { Ending, Sink } from './subscriber.js'

const PATHS: ReadonlySet<string> = new Set(['/ws', '/v1/ws'])
/** RFC 6455 7.4: 1001 going away; 4000 and above are ours. */
const CODES: Readonly<Record<Ending, number>> = {
  shutdown: 1001,
  failed: 1011,
  slow_consumer: 4001,
  credentials: 4003,
}
/** Clients have nothing to say here. */
const MAX_MESSAGE_BYTES = 1024

/**
 * The same events over a WebSocket at `/ws`. Plain `ws` on the server's own upgrade event: authentication, origin and
 * limits are asked before the handshake is answered, and nothing a client sends is interpreted.
 */
@Injectable()
export class WebSocketService implements OnApplicationBootstrap {
  private readonly server = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    clientTracking: false,
  })

  constructor(
    private readonly host: HttpAdapterHost,
    private readonly settings: Settings,
    private readonly admission: Admission,
    private readonly limiter: RateLimiter,
    private readonly events: EventsService,
  ) {}

  onApplicationBootstrap(): void {
    const server = this.host.httpAdapter.getHttpServer() as Server
    server.on('upgrade', (request, socket, head) => {
      socket.on('error', () => socket.destroy())
      this.accept(request, socket, head).catch((error: unknown) => refuse(socket, toProblem(error)))
    })
  }

  private async accept(message: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const url = new URL(message.url ?? '/', 'http://localhost')
    if (!PATHS.has(url.pathname)) throw new Problem('not_found')
    const request = asSeen(message, this.host.httpAdapter.getInstance<Express>())
    // A page of another origin can open a WebSocket with the person's cookie; no preflight asks (RFC 6455 10.2).
    const foreign = foreignOrigin(request, this.settings)
    if (foreign) throw new Problem('forbidden', { detail: foreign })
    const { ip } = request
    const principal = await this.admission.admit(request, ip)
    const rate = this.limiter.take('default', rateIdentity(principal, ip))
    if (rate && !rate.allowed) throw rateProblem(rate)
    const wanted = readQuery(url.searchParams)
    const sink = new SocketSink()
    const gone = await this.events.listen(principal, sink, {
      ...wanted,
      admit: () => this.admission.admit(request, ip),
    })
    socket.once('close', gone)
    if (socket.destroyed) return gone()
    this.server.handleUpgrade(message, socket, head, (client) => sink.open(client))
  }
}

/** What was sent before the handshake was answered waits. */
class SocketSink implements Sink {
  private client: WebSocket | undefined
  private waiting: string[] = []
  private answered = true
  onDrained = () => undefined as void

  open(client: WebSocket): void {
    this.client = client
    client.on('pong', () => (this.answered = true))
    client.on('error', () => client.terminate())
    for (const text of this.waiting) client.send(text)
    this.waiting = []
  }

  get buffered(): number {
    return this.client?.bufferedAmount ?? 0
  }

  send({ json }: LiveEvent): void {
    if (this.client) this.client.send(json, () => this.buffered === 0 && this.onDrained())
    else this.waiting.push(json)
  }

  beat(): void {
    // No pong since the last ping: the network is gone, and TCP would notice much later.
    if (!this.answered) this.client?.terminate()
    this.answered = false
    this.client?.ping()
  }

  end(reason: Ending): void {
    const { client } = this
    if (!client) return
    client.close(CODES[reason], reason)
    setTimeout(() => client.terminate(), 500).unref()
  }
}

/** @throws Problem `validation_failed`, also for a parameter that nobody knows: a token has no place in a URL */
function readQuery(query: URLSearchParams): { types?: string[]; last_event_id?: number } {
  const fail = (path: string, message: string) =>
    new Problem('validation_failed', { errors: [{ path, message }] })
  for (const name of new Set(query.keys())) {
    if (name !== 'types' && name !== 'last_event_id') throw fail(name, 'is not a known parameter')
    if (query.getAll(name).length > 1) throw fail(name, 'must be given once')
  }
  const types = query.get('types')?.split(',')
  if (types && (types.length > MAX_TYPES || !types.every((type) => TYPE_NAME.test(type))))
    throw fail('types', 'must be names of types or events with commas between')
  const after = query.get('last_event_id')
  const last_event_id = after === null ? undefined : after === '-1' ? -1 : readLastEventId(after)
  return { ...(types && { types }), ...(last_event_id !== undefined && { last_event_id }) }
}

/** A handshake that is refused is an ordinary HTTP answer. */
function refuse(socket: Duplex, problem: Problem): void {
  if (!socket.writable) return void socket.destroy()
  const id = requestId(undefined)
  const document = problemDocument(problem, id)
  socket.end(
    `HTTP/1.1 ${problem.status} Refused\r\nContent-Type: application/problem+json\r\nX-Request-ID: ${id}\r\n` +
      `Content-Length: ${Buffer.byteLength(document)}\r\nConnection: close\r\n\r\n${document}`,
  )
}
