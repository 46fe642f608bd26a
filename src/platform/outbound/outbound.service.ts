import { Inject, Injectable, Optional } from '@nestjs/common'
import dns from 'node:dns'
import http from 'node:http'
import https from 'node:https'
import type { LookupFunction } from 'node:net'
import { Settings } from '../config/settings.js'
import { type AllowList, parseAllowList } from './allow-list.js'
import { type Destination, mayConnect, readDestination, type Refusal, REFUSALS } from './destination.js'

export type Resolver = (host: string) => Promise<readonly dns.LookupAddress[]>
/** Tests give their own answers; nothing else does. */
export const RESOLVER = Symbol('RESOLVER')

export type OutboundFailure = Refusal | 'resolve' | 'connect' | 'tls' | 'timeout' | 'too_large' | 'broken'

/** A request that was not answered, and why. `code` is stable; the message is for people and names no address. */
export class OutboundError extends Error {
  constructor(
    readonly code: OutboundFailure,
    message: string,
    cause?: unknown,
  ) {
    super(message, { cause })
    this.name = 'OutboundError'
  }
}

export interface OutboundRequest {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Empty: none is sent. */
  readonly body: string
  /** Default POST. */
  readonly method?: 'GET' | 'POST'
  /** For everything, from the first DNS question to the last byte. */
  readonly timeout_ms: number
  readonly signal?: AbortSignal
}

export interface OutboundAnswer {
  readonly status: number
  readonly retry_after: string | undefined
  readonly content_type: string | undefined
  /** At most `MAX_ANSWER_BYTES`. */
  readonly body: string
}

/** What a receiver says in answer is not kept, so there is no reason to read much of it. */
const MAX_ANSWER_BYTES = 64 * 1024

/**
 * The one way out: to a URL that a tenant chose. The name is resolved here, every address of the answer is vetted,
 * and the connection goes to a vetted address of that same answer: a second answer (DNS rebinding) is never asked for.
 * Redirects are answers, not instructions. No connection is kept, no proxy is used, certificates are always verified.
 */
@Injectable()
export class Outbound {
  private readonly list: AllowList
  private readonly resolve: Resolver

  constructor(settings: Settings, @Optional() @Inject(RESOLVER) resolver?: Resolver) {
    this.list = parseAllowList(settings.outbound_allow)
    this.resolve = resolver ?? ((host) => dns.promises.lookup(host, { all: true, verbatim: true }))
  }

  /** What is wrong with a URL as far as it can be told without resolving its name; null: nothing. */
  refusal(url: string): string | null {
    const destination = readDestination(url, this.list)
    return typeof destination === 'string' ? REFUSALS[destination] : null
  }

  /** @throws OutboundError when no complete answer came */
  post(request: Omit<OutboundRequest, 'method'>): Promise<OutboundAnswer> {
    return this.exchange(request)
  }

  /** @throws OutboundError when no complete answer came */
  async exchange(request: OutboundRequest): Promise<OutboundAnswer> {
    const destination = readDestination(request.url, this.list)
    if (typeof destination === 'string') throw refused(destination)
    const timeout = AbortSignal.timeout(request.timeout_ms)
    const signal = request.signal ? AbortSignal.any([timeout, request.signal]) : timeout
    try {
      const addresses = await this.addressesOf(destination, signal)
      return await send(destination, addresses, request, signal)
    } catch (error) {
      if (error instanceof OutboundError) throw error
      if (timeout.aborted) {
        throw new OutboundError('timeout', `no answer within ${request.timeout_ms / 1000} s`, error)
      }
      throw failureOf(error)
    }
  }

  /** The vetted addresses of a destination. One that is not public makes the whole answer suspect. */
  private async addressesOf(destination: Destination, signal: AbortSignal): Promise<dns.LookupAddress[]> {
    const { literal } = destination
    const answer = literal
      ? [{ address: literal.toString(), family: literal.kind() === 'ipv4' ? 4 : 6 }]
      : await abortable(this.resolve(destination.host), signal).catch((error: unknown) => {
          if (signal.aborted) throw error
          throw new OutboundError('resolve', 'the host name cannot be resolved', error)
        })
    if (answer.length === 0) throw new OutboundError('resolve', 'the host name has no address')
    const texts = answer.map(({ address }) => address)
    if (!mayConnect(destination, texts, this.list)) throw refused('address')
    return [...answer]
  }
}

function send(
  { url, host, literal }: Destination,
  addresses: readonly dns.LookupAddress[],
  { method = 'POST', headers, body }: OutboundRequest,
  signal: AbortSignal,
): Promise<OutboundAnswer> {
  // Given to the socket instead of a resolver: it can only choose among addresses that were vetted.
  const lookup: LookupFunction = (_, options, callback) => {
    const [first] = addresses
    if (options.all) callback(null, [...addresses])
    else callback(null, first?.address ?? '', first?.family)
  }
  const bytes = Buffer.from(body)
  return new Promise((resolve, reject) => {
    const transport = url.protocol === 'https:' ? https : http
    const request = transport.request(
      url,
      {
        method,
        agent: false,
        lookup,
        signal,
        // Also when NODE_TLS_REJECT_UNAUTHORIZED says otherwise for the whole process.
        rejectUnauthorized: true,
        ...(literal ? {} : { servername: host }),
        headers: {
          ...headers,
          ...(method === 'POST' && { 'content-length': bytes.length }),
          connection: 'close',
        },
        maxHeaderSize: 16 * 1024,
        insecureHTTPParser: false,
      },
      (response) => void read(response, signal).then(resolve, reject),
    )
    request.once('error', reject)
    request.end(bytes)
  })
}

async function read(response: http.IncomingMessage, signal: AbortSignal): Promise<OutboundAnswer> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > MAX_ANSWER_BYTES) {
        throw new OutboundError('too_large', `the answer is longer than ${MAX_ANSWER_BYTES / 1024} KiB`)
      }
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof OutboundError || signal.aborted) throw error
    throw new OutboundError('broken', 'the connection ended in the middle of the answer', error)
  } finally {
    response.destroy()
  }
  return {
    status: response.statusCode ?? 0,
    retry_after: response.headers['retry-after'],
    content_type: response.headers['content-type'],
    body: Buffer.concat(chunks).toString(),
  }
}

const refused = (refusal: Refusal): OutboundError =>
  new OutboundError(refusal, `the URL ${REFUSALS[refusal]}`)

const TLS = /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|HOSTNAME_MISMATCH|EPROTO)/

function failureOf(error: unknown): OutboundError {
  const { code = '' } = error as { code?: string }
  if (TLS.test(code))
    return new OutboundError('tls', `the certificate or TLS is not acceptable (${code})`, error)
  if (code === 'ECONNRESET' || code.startsWith('HPE_')) {
    return new OutboundError('broken', 'the connection ended before the answer', error)
  }
  return new OutboundError(
    'connect',
    `the host cannot be reached (${code === '' ? 'no reason given' : code})`,
    error,
  )
}

/** `getaddrinfo` cannot be interrupted; the wait for it can. */
function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'))
    if (signal.aborted) return stop()
    signal.addEventListener('abort', stop, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}
