import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import {
  Injectable,
  Logger,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common'
import { Reflector } from '@nestjs/core'
import type { Request, Response } from 'express'
import { catchError, mergeMap, of, type Observable } from 'rxjs'
import { Problem } from '../../core/problems.js'
import { ACCESS, type AccessRule } from '../access/access.decorator.js'
import { singleHeader } from '../access/credentials.js'
import type { Principal, WithPrincipal } from '../access/principal.js'
import { Clock } from '../clock/clock.js'
import { Settings } from '../config/settings.js'
import { withoutSecrets } from './without-secrets.js'
import { IdempotencyStore, type IdempotencyScope } from './idempotency.store.js'

const HEADER = 'idempotency-key'
const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])
const KEPT_MS = 24 * 3600 * 1000

/**
 * `Idempotency-Key` on every changing route of administrators: the first answer of 2xx is kept for 24 hours and
 * given again, without its secrets, to the same request; another request under the same key is a 409. A failure
 * keeps nothing, so that it can be tried again.
 */
@Injectable()
export class IdempotencyInterceptor implements NestInterceptor {
  private readonly logger = new Logger('idempotency')
  private readonly fingerprintKey: KeyObject
  private readonly claim_ms: number

  constructor(
    private readonly store: IdempotencyStore,
    private readonly reflector: Reflector,
    private readonly clock: Clock,
    settings: Settings,
  ) {
    // Keyed, because a plain hash of a small body could be guessed from the table. A KeyObject is ten times faster
    // than the same bytes as a Buffer.
    const derived = createHmac('sha256', settings.ledger_kek).update('agentguard/idempotency/v1').digest()
    this.fingerprintKey = createSecretKey(derived)
    // A request that is still running may not be joined by its repetition.
    this.claim_ms = Math.max(60, 2 * settings.request_timeout_s) * 1000
  }

  async intercept(context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    const request = context.switchToHttp().getRequest<Request & WithPrincipal>()
    if (!this.applies(context, request)) return next.handle()
    const key = idempotencyKey(request)
    if (key === undefined || !request.principal) return next.handle()

    const response = context.switchToHttp().getResponse<Response>()
    const scope = { org_id: request.principal.org_id, principal: nameOf(request.principal), key }
    const now = this.clock.now()
    const claim = await this.store.claim(
      scope,
      this.fingerprint(request),
      new Date(now),
      new Date(now + this.claim_ms),
    )
    switch (claim.state) {
      case 'claimed':
        return this.run(next, scope, response)
      case 'kept':
        response.status(claim.status).setHeader('Idempotent-Replayed', 'true')
        return of(claim.body ?? undefined)
      case 'conflict':
        throw new Problem('idempotency_conflict', { detail: 'Use a new Idempotency-Key for a new request.' })
      case 'in_progress':
        throw new Problem('idempotency_in_progress', {
          detail: 'Wait for the first answer, then try again.',
          retry_after: 1,
        })
    }
  }

  private applies(context: ExecutionContext, request: Request): boolean {
    if (SAFE_METHODS.has(request.method)) return false
    const targets = [context.getHandler(), context.getClass()]
    return this.reflector.getAllAndOverride<AccessRule | undefined>(ACCESS, targets)?.by === 'admin'
  }

  private run(next: CallHandler, scope: IdempotencyScope, response: Response): Observable<unknown> {
    return next.handle().pipe(
      mergeMap(async (body: unknown) => {
        await this.keep(scope, response.statusCode, body)
        return body
      }),
      catchError(async (error: unknown) => {
        await this.release(scope)
        throw error
      }),
    )
  }

  /** The change has been made: not being able to remember its answer must not turn it into a failure. */
  private async keep(scope: IdempotencyScope, status: number, body: unknown): Promise<void> {
    try {
      await this.store.keep(
        scope,
        { status, body: withoutSecrets(body) },
        new Date(this.clock.now() + KEPT_MS),
      )
    } catch (error) {
      this.logger.error(
        { err: error },
        'the answer could not be kept; a repetition will be refused for a while',
      )
    }
  }

  private async release(scope: IdempotencyScope): Promise<void> {
    try {
      await this.store.release(scope)
    } catch (error) {
      this.logger.warn({ err: error }, 'the key could not be released; it will be free after a while')
    }
  }

  /** Of method, path (the same for `/agents` and `/v1/agents`) and body. */
  private fingerprint(request: Request): Uint8Array {
    const content = JSON.stringify([request.method, request.url, request.body ?? null])
    return createHmac('sha256', this.fingerprintKey).update(content).digest()
  }
}

function idempotencyKey(request: Request): string | undefined {
  const key = singleHeader(request, HEADER)
  if (key === undefined || /^[\x21-\x7e]{1,255}$/.test(key)) return key
  throw new Problem('bad_request', { detail: 'Idempotency-Key must be 1 to 255 visible ASCII characters.' })
}

function nameOf(principal: Principal): string {
  switch (principal.kind) {
    case 'root':
      return 'root'
    case 'member':
      return principal.member_id
    case 'admin_key':
    case 'agent':
      return principal.key_id
  }
}
