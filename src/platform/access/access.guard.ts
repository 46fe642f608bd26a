import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common'
import { Reflector } from '@nestjs/core'
import type { Request } from 'express'
import { Settings } from '../config/settings.js'
import { idOf } from '../http/request-id.js'
import { ACCESS, type AccessRule } from './access.decorator.js'
import { presentedBy, saysWho } from './credentials.js'
import { Gatekeeper } from './gatekeeper.js'
import type { WithPrincipal } from './principal.js'

/** First guard of every route: reads the route's `@Access` and leaves the principal on the request. */
@Injectable()
export class AccessGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    private readonly gatekeeper: Gatekeeper,
    private readonly settings: Settings,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const rule = this.reflector.getAllAndOverride<AccessRule | undefined>(ACCESS, [
      context.getHandler(),
      context.getClass(),
    ])
    // Unreachable after AccessAudit, and still closed.
    if (!rule) throw new Error(`${context.getClass().name}.${context.getHandler().name} declares no @Access`)
    if (rule.by === 'public') return true
    const request = context.switchToHttp().getRequest<Request & WithPrincipal>()
    const credentials = presentedBy(request, this.settings)
    const nobody = !saysWho(credentials) && credentials.session === undefined
    if (nobody && rule.open_with && this.settings[rule.open_with]) return true
    const principal = await this.gatekeeper.admit(rule, credentials, request.ip)
    request.principal = { ...principal, request_id: idOf(request) }
    return true
  }
}
