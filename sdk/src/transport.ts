import {
  APIConnectionError,
  APIError,
  APITimeoutError,
  APIUserAbortError,
  AgentGuardError,
  errorOf,
  type FieldError,
  UnreadableAnswerError,
} from './errors.js'
import { VERSION } from './version.js'

/** Settings of one call; the client's apply where one is absent. */
export interface RequestOptions {
  /** Ends the call, between attempts too. */
  signal?: AbortSignal
  /** For each attempt, until the whole answer is read. */
  timeoutMs?: number
  /** Attempts after the first. */
  maxRetries?: number
  /** Instead of the automatic one; 1 to 255 visible ASCII characters. */
  idempotencyKey?: string
  /** W3C trace context of the caller, sent as `traceparent`. */
  traceparent?: string
  tracestate?: string
  /** Further headers, such as `If-Match`. Credentials cannot be set here. */
  headers?: Readonly<Record<string, string>>
}

/** Who speaks: the agent, the administrator, or whichever the client has (the administrator first). */
export type Speaker = 'agent' | 'any'

export interface Call {
  readonly method: string
  /** With its variables filled in. */
  readonly path: string
  readonly query?: Query
  readonly body?: unknown
  readonly speaker?: Speaker
  readonly accept?: string
  /** Whether a mutation carries an Idempotency-Key; default: all but GET do. */
  readonly idempotent?: boolean
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly request_id: string
}

export type Fetch = (input: string, init: RequestInit) => Promise<Response>

export interface Credentials {
  readonly agentKey: string | undefined
  readonly adminKey: string | undefined
  readonly token: string | (() => string | Promise<string>) | undefined
}

export interface TransportSettings extends Credentials {
  readonly baseURL: string
  readonly orgId: string | undefined
  readonly timeoutMs: number
  readonly maxRetries: number
  readonly fetch: Fetch
  readonly traceContext: (() => { traceparent?: string; tracestate?: string } | undefined) | undefined
  readonly isBrowser: boolean
}

const RETRIED: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504])
/** Backoff: a tenth of a second, doubled each time, with jitter over the upper half. */
const FIRST_DELAY_MS = 100
const MAX_DELAY_MS = 5_000
/** A service that asks for a longer wait than this is not waited for: the caller is told instead. */
const MAX_RETRY_AFTER_S = 20
const MAX_TEXT = 500

/** Reads a body while the attempt's clock still runs. */
type Read<T> = (response: Response, request_id: string) => Promise<T>

/** Sends calls: credentials, timeouts, retries, ids. The only place that holds secrets, and it never shows them. */
export class Transport {
  readonly baseURL: string
  // Private to the engine: not in util.inspect, JSON or a debugger's list of properties.
  readonly #settings: TransportSettings
  readonly #secrets: Set<string>

  constructor(settings: TransportSettings) {
    this.baseURL = settings.baseURL
    this.#settings = settings
    this.#secrets = new Set(
      [settings.agentKey, settings.adminKey, settings.token].filter((s) => typeof s === 'string'),
    )
  }

  /**
   * Sends a call and reads its answer, again after failures that may pass (408, 429, 5xx, no answer), with backoff
   * and at most `maxRetries` times. All attempts have one X-Request-ID and one Idempotency-Key.
   */
  async send<T>(call: Call, options: RequestOptions, read: Read<T>): Promise<{ value: T; answer: Answer }> {
    const request_id = `req_${crypto.randomUUID()}`
    const headers = await this.#headers(call, options, request_id)
    const url = this.baseURL + call.path + queryOf(call.query)
    const body = call.body === undefined ? null : JSON.stringify(call.body)
    const init: RequestInit = { method: call.method, headers, body, redirect: 'manual' }
    const retries = options.maxRetries ?? this.#settings.maxRetries
    for (let attempt = 0; ; attempt++) {
      const result = await this.#attempt(url, init, options, read, request_id)
      if (result.ok) return result
      const { error } = result
      const delay_ms = delayBefore(attempt, error)
      if (!error.retryable || attempt >= retries || delay_ms === null) throw error
      await sleep(delay_ms, options.signal, request_id)
    }
  }

  async #attempt<T>(
    url: string,
    init: RequestInit,
    options: RequestOptions,
    read: Read<T>,
    request_id: string,
  ): Promise<{ ok: true; value: T; answer: Answer } | { ok: false; error: APIError }> {
    const { signal, timeoutMs = this.#settings.timeoutMs } = options
    if (signal?.aborted) throw aborted(request_id)
    const clock = new AbortController()
    let timedOut = false
    const timer = setTimeout(() => {
      timedOut = true
      clock.abort()
    }, timeoutMs)
    const end = () => clock.abort()
    signal?.addEventListener('abort', end, { once: true })
    try {
      const response = await this.#settings.fetch(url, { ...init, signal: clock.signal })
      const named = response.headers.get('X-Request-ID') ?? request_id
      const unchanged = response.status === 304 && new Headers(init.headers).has('If-None-Match')
      if (!response.ok && !unchanged) return { ok: false, error: await this.#problem(response, named) }
      const answer = { status: response.status, headers: response.headers, request_id: named }
      return { ok: true, value: await read(response, named), answer }
    } catch (error) {
      if (signal?.aborted) throw aborted(request_id)
      if (error instanceof APIError) return { ok: false, error }
      if (error instanceof AgentGuardError) throw error
      return { ok: false, error: this.#failure(error, request_id, timedOut ? timeoutMs : null) }
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
    }
  }

  #failure(error: unknown, request_id: string, timeout_ms: number | null): APIError {
    if (timeout_ms !== null) {
      const detail = `${this.baseURL} gave no whole answer within ${timeout_ms} ms.`
      return new APITimeoutError({ code: 'timeout', detail, request_id, retryable: true })
    }
    if (error instanceof SyntaxError) return unreadable('The answer is not JSON.', request_id)
    // Only its words: an error of somebody's `fetch` may hold the request, and with it the key.
    const detail = this.#clean(`${this.baseURL} gave no answer: ${wordsOf(error)}`)
    return new APIConnectionError({ code: 'connection_failed', detail, request_id, retryable: true })
  }

  /** An answer that is not 2xx. */
  async #problem(response: Response, request_id: string): Promise<APIError> {
    const { status } = response
    if (status === 0 || (status >= 300 && status < 400))
      return unreadable(
        `${this.baseURL} redirects. Keys are not sent to another place: give the right baseURL.`,
        request_id,
        false,
      )
    const document = await problemOf(response)
    const retry_after_s = secondsOf(response.headers.get('Retry-After'))
    const code = textOf(document.code) ?? `http_${status}`
    const errors = Array.isArray(document.errors) ? (document.errors as FieldError[]) : undefined
    return errorOf({
      status,
      code: this.#clean(code),
      detail: this.#clean(textOf(document.detail) ?? 'The answer is no problem document; is it a proxy’s?'),
      request_id: textOf(document.request_id) ?? request_id,
      retryable: RETRIED.has(status) || code === 'idempotency_in_progress',
      ...(errors && { errors: JSON.parse(this.#clean(JSON.stringify(errors), Infinity)) as FieldError[] }),
      ...(retry_after_s !== undefined && { retry_after_s }),
    })
  }

  async #headers(call: Call, options: RequestOptions, request_id: string): Promise<Headers> {
    const { orgId, traceContext, isBrowser } = this.#settings
    const headers = new Headers(options.headers)
    headers.set('Accept', call.accept ?? 'application/json')
    headers.set('X-Request-ID', request_id)
    if (!isBrowser) headers.set('User-Agent', `agentguard-sdk/${VERSION}`)
    if (call.body !== undefined) headers.set('Content-Type', 'application/json')
    if (call.idempotent ?? call.method !== 'GET')
      headers.set('Idempotency-Key', options.idempotencyKey ?? crypto.randomUUID())
    const trace = { ...traceContext?.(), ...options }
    if (trace.traceparent !== undefined) headers.set('traceparent', trace.traceparent)
    if (trace.tracestate !== undefined) headers.set('tracestate', trace.tracestate)
    const [name, value] = await this.#credential(call.speaker ?? 'any')
    if (name !== undefined) headers.set(name, value)
    if (name === 'X-Admin-Key' && orgId !== undefined) headers.set('X-Org-ID', orgId)
    return headers
  }

  async #credential(speaker: Speaker): Promise<[string, string] | [undefined, '']> {
    const { agentKey, adminKey, token } = this.#settings
    if (speaker === 'any' && adminKey !== undefined) return ['X-Admin-Key', adminKey]
    if (agentKey !== undefined) return ['X-Agent-Key', agentKey]
    if (token !== undefined) {
      const text = typeof token === 'string' ? token : await token()
      assertSecret('token', text)
      this.#secrets.add(text)
      return ['Authorization', `Bearer ${text}`]
    }
    if (speaker === 'agent')
      throw new AgentGuardError('This call is made by an agent: give the client an agentKey.')
    return [undefined, '']
  }

  /** Text of others, short and without any secret of ours. */
  #clean(text: string, max = MAX_TEXT): string {
    for (const secret of this.#secrets) text = text.replaceAll(secret, '[secret]')
    return text.length <= max ? text : `${text.slice(0, max)}…`
  }
}

/** @throws AgentGuardError for text that no HTTP header can carry; says which, never the text. */
export function assertSecret(name: string, text: unknown): asserts text is string {
  if (typeof text !== 'string' || !/^[\x21-\x7e]+$/.test(text))
    throw new AgentGuardError(`${name} must be visible ASCII characters without spaces.`)
}

export const unreadable = (detail: string, request_id: string, retryable = true): UnreadableAnswerError =>
  new UnreadableAnswerError({ code: 'unreadable_answer', detail, request_id, retryable })

const aborted = (request_id: string): APIUserAbortError =>
  new APIUserAbortError({
    code: 'aborted',
    detail: 'The caller ended the call.',
    request_id,
    retryable: false,
  })

function delayBefore(attempt: number, { retry_after_s }: APIError): number | null {
  if (retry_after_s !== undefined && retry_after_s > MAX_RETRY_AFTER_S) return null
  const backoff_ms = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt) * (0.5 + Math.random() / 2)
  return Math.max(backoff_ms, (retry_after_s ?? 0) * 1000)
}

/** Waits, unless `signal` ends it. */
export function sleep(delay_ms: number, signal: AbortSignal | undefined, request_id: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer)
      reject(aborted(request_id))
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', end)
      resolve()
    }, delay_ms)
    if (signal?.aborted) end()
    else signal?.addEventListener('abort', end, { once: true })
  })
}

export type Query = Readonly<Record<string, string | number | boolean | Date | null | undefined>>

function queryOf(query: Query = {}): string {
  const parts = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === null) continue
    parts.set(name, value instanceof Date ? value.toISOString() : String(value))
  }
  const text = parts.toString()
  return text === '' ? '' : `?${text}`
}

async function problemOf(response: Response): Promise<Readonly<Record<string, unknown>>> {
  if (!/json/.test(response.headers.get('Content-Type') ?? '')) {
    await response.body?.cancel()
    return {}
  }
  const text = await response.text()
  try {
    const document: unknown = JSON.parse(text)
    return typeof document === 'object' && document !== null ? { ...document } : {}
  } catch {
    return {} // The status alone says enough.
  }
}

const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)

/** RFC 9110 10.2.3: seconds or a date. */
function secondsOf(header: string | null): number | undefined {
  if (header === null) return undefined
  const seconds = /^\d+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - Date.now()) / 1000
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined
}

/** The messages of an error and of what caused it. */
function wordsOf(error: unknown): string {
  const words: string[] = []
  for (let at = error; at instanceof Error && words.length < 4; at = at.cause)
    words.push(at.message || (at as { code?: string }).code || at.name)
  return words.join(': ') || 'unknown failure'
}
