import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common'
import type { Request } from 'express'
import { Problem } from '../core/problems.js'
import { LedgerService } from '../ledger/ledger.service.js'
import type { WithPrincipal } from '../platform/access/principal.js'
import { MAX_BATCH } from './enforce.dto.js'

/**
 * Refuses a batch before its body is read when a full one would find no room in the organization's queue: reading,
 * validating and deciding a hundred items for nothing is what would slow down everybody else.
 */
@Injectable()
export class LedgerRoomGuard implements CanActivate {
  constructor(private readonly ledger: LedgerService) {}

  canActivate(context: ExecutionContext): boolean {
    const { principal } = context.switchToHttp().getRequest<Request & WithPrincipal>()
    if (principal && !this.ledger.hasRoom(principal.org_id, MAX_BATCH))
      throw new Problem('ledger_busy', { retry_after: 1 })
    return true
  }
}
