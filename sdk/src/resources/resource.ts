import { AgentGuardError, SecretLostError } from '../errors.js'
import type { AnswerOf, BodyOf, ItemOf, Method, ParamsOf, PathOf, QueryOf } from '../operations.js'
import { List, Page } from '../pages.js'
import {
  type Answer,
  type Call,
  type Query,
  type RequestOptions,
  type Transport,
  unreadable,
} from '../transport.js'

/** What fills an operation: the variables of its path, its query, its body. */
export interface Filling<M extends Method, P extends PathOf<M>> {
  params?: ParamsOf<M, P>
  query?: QueryOf<M, P>
  body?: BodyOf<M, P>
}

type How = Pick<Call, 'speaker' | 'accept' | 'idempotent'>

/**
 * A namespace of the client. Its methods are one line each: method and path as in openapi.json, which gives argument
 * and answer their types. A test walks openapi.json and fails for an operation that no method calls.
 */
export abstract class Resource {
  constructor(protected readonly transport: Transport) {}

  /** Sends JSON and reads JSON. */
  protected async call<M extends Method, P extends PathOf<M>>(
    method: M,
    path: P,
    filling: Filling<M, P> = {},
    options: RequestOptions = {},
    how: How = {},
  ): Promise<AnswerOf<M, P>> {
    const call = callOf(method, path, filling, how)
    const { value, answer } = await this.transport.send(call, options, readJson)
    if (answer.headers.get('Idempotent-Replayed') === 'true') assertNoSecretLost(value, answer)
    return value as AnswerOf<M, P>
  }

  /** Reads text, such as a checkpoint. */
  protected async text<P extends PathOf<'get'>>(
    path: P,
    filling: Filling<'get', P>,
    accept: string,
    options: RequestOptions = {},
  ): Promise<string> {
    const call = callOf('get', path, filling, { accept })
    return (await this.transport.send(call, options, (response) => response.text())).value
  }

  /** A list, page by page: after the cursor of `Link`, else by `offset`. */
  protected pages<P extends PathOf<'get'>>(
    path: P,
    filling: Filling<'get', P> = {},
    options: RequestOptions = {},
  ): List<ItemOf<AnswerOf<'get', P>>> {
    type Item = ItemOf<AnswerOf<'get', P>>
    const given: Query = { ...filling.query }
    const load = async (query: Query): Promise<Page<Item>> => {
      const call = { ...callOf('get', path, filling, {}), query }
      const { value, answer } = await this.transport.send(call, options, readJson)
      const items = itemsOf(value, answer) as Item[]
      const total = totalOf(value, answer)
      const next = nextQuery(query, items.length, total, answer.headers.get('Link'))
      const lower = answer.headers.get('X-Total-Count-Relation') === 'gte'
      return new Page(items, total, lower, value, next && (() => load(next)))
    }
    return new List(() => load(given))
  }
}

export function callOf<M extends Method, P extends PathOf<M>>(
  method: M,
  path: P,
  { params, query, body }: Filling<M, P>,
  how: How,
): Call {
  return {
    method: method.toUpperCase(),
    path: pathOf(path, params as Readonly<Record<string, unknown>> | undefined),
    ...(query && { query: query }),
    ...(body !== undefined && { body }),
    ...how,
  }
}

/** `/agents/{agent_id}` with its variables. What would name another path is refused: empty, `.` and `..`. */
function pathOf(template: string, params: Readonly<Record<string, unknown>> = {}): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = params[name]
    const segments = (
      typeof value === 'number' ? String(value) : typeof value === 'string' ? value : ''
    ).split(name === 'path' ? '/' : /(?!)/)
    if (segments.some((segment) => /^\.{0,2}$/.test(segment)))
      throw new AgentGuardError(`${name} must be the id of something.`)
    return segments.map(encodeURIComponent).join('/')
  })
}

export async function readJson(response: Response): Promise<unknown> {
  const text = await response.text()
  return text === '' ? undefined : (JSON.parse(text) as unknown)
}

function itemsOf(value: unknown, { request_id }: Answer): unknown[] {
  if (Array.isArray(value)) return value
  const items = (value as { items?: unknown } | undefined)?.items
  if (Array.isArray(items)) return items
  throw unreadable('The answer is not a list.', request_id)
}

function totalOf(value: unknown, { headers }: Answer): number | null {
  const total = headers.get('X-Total-Count') ?? (value as { total?: unknown }).total
  return total === undefined || !Number.isFinite(Number(total)) ? null : Number(total)
}

/** The query of the next page; null at the end. Of a link only its cursor is taken: it names no other place. */
function nextQuery(query: Query, count: number, total: number | null, link: string | null): Query | null {
  const target = /<([^>]*)>\s*;\s*rel="?next"?/.exec(link ?? '')?.[1]
  const cursor = target && new URL(target, 'http://localhost').searchParams.get('cursor')
  if (cursor) return { ...query, offset: undefined, skip: undefined, cursor }
  // A list that pages by cursor and names no next page has ended.
  if (query.cursor !== undefined || count === 0 || total === null) return null
  const offset = Number(query.offset ?? query.skip ?? 0) + count
  return offset < total ? { ...query, skip: undefined, offset } : null
}

const SECRETS = ['api_key', 'key', 'secret']

/** A replayed answer has its secrets as null (they are shown once): saying nothing would hand out `null` as a key. */
function assertNoSecretLost(value: unknown, { request_id, status }: Answer): void {
  if (typeof value !== 'object' || value === null) return
  if (!SECRETS.some((name) => (value as Record<string, unknown>)[name] === null)) return
  const detail = 'It was made, but the answer with its secret was lost on the way. Make it another key.'
  throw new SecretLostError({ status, code: 'secret_lost', detail, request_id, retryable: false }, value)
}
