import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common'
import type { Request } from 'express'
import type { WithPrincipal } from '../platform/access/principal.js'
import { MAX_BATCH } from './enforce.dto.js'
import { EnforceService } from './enforce.service.js'

/** Refuses a batch before its body is read when a full one would find no room in the organization's queue. */
@Injectable()
export class LedgerRoomGuard implements CanActivate {
  constructor(private readonly enforce: EnforceService) {}

  canActivate(context: ExecutionContext): boolean {
    const { principal } = context.switchToHttp().getRequest<Request & WithPrincipal>()
    if (principal) this.enforce.expectRoom(principal.org_id, MAX_BATCH)
    return true
  }
}
