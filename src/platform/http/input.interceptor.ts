import {
  Injectable,
  SetMetadata,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common'
import { ROUTE_ARGS_METADATA } from '@nestjs/common/constants'
import { RouteParamtypes } from '@nestjs/common/enums/route-paramtypes.enum'
import { Reflector } from '@nestjs/core'
import type { Request } from 'express'
import type { Observable } from 'rxjs'
import { Problem, type FieldError } from '../../core/problems.js'
import { Settings } from '../config/settings.js'
import { announcesBody, DEFAULT_BODY_LIMIT, readBody } from './body.js'
import { parseStrictJson } from './strict-json.js'

const LARGE_BODY = 'agentguard:large-body'

/** This route takes bodies up to `MAX_REQUEST_SIZE` instead of 1 MB. */
export const LargeBody = () => SetMetadata(LARGE_BODY, true)

/** Set by who has read the bytes already (the fast lane), so that a refused request is answered here alone. */
export interface WithBodyBytes {
  body_bytes?: Buffer
}

interface Accepts {
  readonly body: boolean
  /** null: a DTO validates the names. Otherwise the names that single `@Query('name')` parameters take. */
  readonly queryNames: ReadonlySet<string> | null
}

/**
 * Reads body and query strictly, before pipes validate them. An interceptor and not a middleware, because
 * authentication comes first: a stranger's body is never read, and an unknown route reads nothing.
 */
@Injectable()
export class InputInterceptor implements NestInterceptor {
  private readonly accepted = new WeakMap<object, Accepts>()

  constructor(
    private readonly settings: Settings,
    private readonly reflector: Reflector,
  ) {}

  async intercept(context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    const request = context.switchToHttp().getRequest<Request & WithBodyBytes>()
    const accepts = this.acceptedBy(context)
    refuseStrangeQuery(request.query, accepts.queryNames)
    const body = await this.body(request, context)
    if (!accepts.body && body !== undefined) refuseFields(body)
    // An absent body is an empty one: the DTO says which of its fields are missing.
    if (accepts.body) request.body = body ?? {}
    return next.handle()
  }

  private async body(request: Request & WithBodyBytes, context: ExecutionContext) {
    const given: unknown = request.body
    if (given !== undefined) return asObject(given)
    let bytes = request.body_bytes ?? null
    if (!bytes && announcesBody(request)) bytes = await readBody(request, this.limit(context))
    return bytes ? asObject(parseStrictJson(bytes)) : undefined
  }

  private limit(context: ExecutionContext): number {
    const large = this.reflector.get<boolean | undefined>(LARGE_BODY, context.getHandler())
    const { max_request_size } = this.settings
    return large ? max_request_size : Math.min(DEFAULT_BODY_LIMIT, max_request_size)
  }

  private acceptedBy(context: ExecutionContext): Accepts {
    const handler = context.getHandler()
    let accepts = this.accepted.get(handler)
    if (!accepts) {
      accepts = declaredInput(context.getClass(), handler.name)
      this.accepted.set(handler, accepts)
    }
    return accepts
  }
}

/** What the handler's parameters say it takes: Nest keeps them as `<kind>:<index>` on the class. */
function declaredInput(controller: object, method: string): Accepts {
  const parameters = (Reflect.getMetadata(ROUTE_ARGS_METADATA, controller, method) ?? {}) as Record<
    string,
    { data?: unknown }
  >
  let body = false
  let dto = false
  const names = new Set<string>()
  for (const [key, { data }] of Object.entries(parameters)) {
    const kind = Number(key.split(':')[0])
    if (kind === Number(RouteParamtypes.BODY)) body = true
    if (kind !== Number(RouteParamtypes.QUERY)) continue
    if (typeof data === 'string') names.add(data)
    else dto = true
  }
  return { body, queryNames: dto ? null : names }
}

function asObject(value: unknown): Record<string, unknown> {
  if (value !== null && typeof value === 'object' && !Array.isArray(value))
    return value as Record<string, unknown>
  throw invalid([{ path: '', message: 'must be a JSON object' }])
}

function refuseFields(body: Record<string, unknown>): void {
  const errors = Object.keys(body).map((path) => ({ path, message: UNKNOWN_FIELD }))
  if (errors.length > 0) throw invalid(errors)
}

/** One value a name: two readers of `?limit=1&limit=2` could each take another one. */
function refuseStrangeQuery(query: Request['query'], known: ReadonlySet<string> | null): void {
  let errors: FieldError[] | undefined
  for (const name in query) {
    if (Array.isArray(query[name])) (errors ??= []).push({ path: name, message: 'must be given once' })
    else if ((known && !known.has(name)) || name === '__proto__')
      (errors ??= []).push({ path: name, message: 'is not a known parameter' })
  }
  if (errors) throw invalid(errors)
}

const UNKNOWN_FIELD = 'is not a known field'

const invalid = (errors: FieldError[]) => new Problem('validation_failed', { errors })
