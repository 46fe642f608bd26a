import { Injectable, type ExecutionContext } from '@nestjs/common'
import { Reflector } from '@nestjs/core'
import {
  InjectThrottlerOptions,
  InjectThrottlerStorage,
  ThrottlerGuard,
  type ThrottlerModuleOptions,
  type ThrottlerRequest,
  type ThrottlerStorage,
} from '@nestjs/throttler'
import type { Request, Response } from 'express'
import { ACCESS, type AccessRule } from '../access/access.decorator.js'
import type { WithPrincipal } from '../access/principal.js'
import { LIMIT } from './limit.decorator.js'
import type { LimitClass } from './limits.js'
import { applyRate, rateIdentity, RateLimiter, type WithRateOutcome } from './rate-limiter.js'

/**
 * Applies `RateLimiter` to every route, after authentication: the identity is a principal, not a claim. The
 * library gives the frame (skipping, per-route options); one call of ours replaces its loop over throttlers, so
 * that all windows of a class stand in one set of headers.
 */
@Injectable()
export class RateLimitGuard extends ThrottlerGuard {
  constructor(
    @InjectThrottlerOptions() options: ThrottlerModuleOptions,
    @InjectThrottlerStorage() storage: ThrottlerStorage,
    reflector: Reflector,
    private readonly limiter: RateLimiter,
  ) {
    super(options, storage, reflector)
  }

  protected override async handleRequest({ context }: ThrottlerRequest): Promise<boolean> {
    const request = context.switchToHttp().getRequest<Request & WithPrincipal & WithRateOutcome>()
    const response = context.switchToHttp().getResponse<Response>()
    const outcome =
      request.rate_outcome ??
      this.limiter.take(this.limitClass(context, request), rateIdentity(request.principal, request.ip))
    if (outcome) applyRate(response, outcome)
    return true
  }

  private limitClass(context: ExecutionContext, request: Request): LimitClass {
    const targets = [context.getHandler(), context.getClass()]
    const named = this.reflector.getAllAndOverride<LimitClass | undefined>(LIMIT, targets)
    if (named) return named
    const access = this.reflector.getAllAndOverride<AccessRule | undefined>(ACCESS, targets)
    return access?.by === 'admin' ? adminClass(request.method) : 'default'
  }
}

function adminClass(method: string): LimitClass {
  if (method === 'DELETE') return 'admin_delete'
  return method === 'GET' || method === 'HEAD' ? 'admin_read' : 'admin_create'
}
