import type { components, paths } from '../../sdk/src/generated/openapi'

/** The shapes of the API, as `openapi.json` says them: none of them is written down here again. */
export type Schemas = components['schemas']
export type ProblemDocument = Schemas['Problem']

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'
type PathsWith<M extends Method> = {
  [P in keyof paths]: paths[P] extends Record<M, object> ? P : never
}[keyof paths]
type Operation<P extends keyof paths, M extends Method> = paths[P] extends Record<M, infer O> ? O : never
type Part<O, K extends string> = O extends { parameters: infer A }
  ? A extends { [k in K]?: infer V }
    ? V
    : never
  : never
type Body<O> = O extends { requestBody?: { content: { 'application/json': infer B } } } ? B : undefined
type Json<R> = R extends { content: { 'application/json': infer B } } ? B : undefined
type Success<R> = R extends { 200: infer A }
  ? A
  : R extends { 201: infer A }
    ? A
    : R extends { 202: infer A }
      ? A
      : undefined
type Answer<O> = O extends { responses: infer R } ? Json<Success<R>> : undefined

export interface CallOptions<O> {
  path?: Part<O, 'path'>
  query?: Part<O, 'query'>
  body?: Body<O>
  signal?: AbortSignal | undefined
}

/** A page of a list that tells its length in `X-Total-Count`. */
export interface Listed<T> {
  readonly items: T
  readonly total: number
}

/** What the API refused, in its own words. */
export class ApiProblem extends Error {
  constructor(
    readonly problem: ProblemDocument,
    readonly retry_after: number | null,
  ) {
    super(problem.detail ?? problem.title)
    this.name = 'ApiProblem'
  }
}

/** No answer came at all. */
export class Unreachable extends Error {
  constructor(cause: unknown) {
    super('AgentGuard cannot be reached.', { cause })
    this.name = 'Unreachable'
  }
}

/** How far the service's clock is ahead of this machine's: deadlines are its times. Whole seconds are what HTTP tells. */
let ahead_ms = 0
export const serverNow = (): number => Date.now() + ahead_ms

async function send<O>(method: Method, route: string, options: CallOptions<O>): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json' }
  if (method !== 'get') headers['X-AgentGuard-CSRF'] = '1'
  if (options.body !== undefined) headers['Content-Type'] = 'application/json'
  const init: RequestInit = {
    method: method.toUpperCase(),
    headers,
    credentials: 'same-origin',
    cache: 'no-store',
    ...(options.body !== undefined && { body: JSON.stringify(options.body) }),
    ...(options.signal && { signal: options.signal }),
  }
  let response: Response
  try {
    response = await fetch(urlOf(route, options), init)
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause
    throw new Unreachable(cause)
  }
  noteTime(response)
  if (!response.ok) throw await problemOf(response)
  return response
}

/** Asks the API and gives what it answers. @throws ApiProblem, Unreachable */
async function call<O>(method: Method, route: string, options: CallOptions<O>): Promise<Answer<O>> {
  const response = await send(method, route, options)
  const text = await response.text()
  return (text === '' ? undefined : JSON.parse(text)) as Answer<O>
}

export const api = {
  get: <P extends PathsWith<'get'>>(route: P, options: CallOptions<Operation<P, 'get'>> = {}) =>
    call<Operation<P, 'get'>>('get', route, options),
  /** A list with its length. */
  list: async <P extends PathsWith<'get'>>(
    route: P,
    options: CallOptions<Operation<P, 'get'>> = {},
  ): Promise<Listed<Answer<Operation<P, 'get'>>>> => {
    const response = await send('get', route, options)
    const items = (await response.json()) as Answer<Operation<P, 'get'>>
    return { items, total: Number(response.headers.get('X-Total-Count') ?? 0) }
  },
  post: <P extends PathsWith<'post'>>(route: P, options: CallOptions<Operation<P, 'post'>> = {}) =>
    call<Operation<P, 'post'>>('post', route, options),
}

type Query = Record<string, string | number | boolean | undefined>

export function urlOf(route: string, { path, query }: { path?: unknown; query?: unknown }): string {
  const values = { ...(path as Record<string, string> | undefined) }
  const filled = route.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values[name] ?? ''))
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries({ ...(query as Query | undefined) }))
    if (value !== undefined && value !== '') search.set(name, String(value))
  const text = search.toString()
  return text === '' ? filled : `${filled}?${text}`
}

async function problemOf(response: Response): Promise<ApiProblem> {
  const retry = Number(response.headers.get('Retry-After'))
  const retry_after = Number.isFinite(retry) && retry > 0 ? retry : null
  const text = await response.text()
  try {
    return new ApiProblem(JSON.parse(text) as ProblemDocument, retry_after)
  } catch {
    // A proxy in between answered in its own way.
    const { status, statusText } = response
    const title = statusText === '' ? `The answer was ${status}` : statusText
    const problem = { type: 'about:blank', title, status, detail: title, code: 'not_ready', request_id: '' }
    return new ApiProblem(problem as ProblemDocument, retry_after)
  }
}

function noteTime(response: Response): void {
  const told = Date.parse(response.headers.get('Date') ?? '')
  if (Number.isNaN(told)) return
  const ahead = told + 500 - Date.now()
  // Less than two seconds is what the header's rounding and the way here make.
  ahead_ms = Math.abs(ahead) < 2_000 ? 0 : ahead
}

export const isUnauthenticated = (error: unknown): boolean =>
  error instanceof ApiProblem && error.problem.status === 401

/** Whether the same request may well succeed in a moment. */
export const isPassing = (error: unknown): boolean =>
  error instanceof Unreachable ||
  (error instanceof ApiProblem && (error.problem.status === 503 || error.problem.status === 429))
