import { Controller, Get, Param, Query, Req } from '@nestjs/common'
import { ApiTags } from '@nestjs/swagger'
import type { Request } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { type AgentPrincipal, By } from '../platform/access/principal.js'
import { Limit } from '../platform/throttling/limit.decorator.js'
import { ApprovalState, WaitQuery } from './approvals.dto.js'
import { WaitingService } from './waiting.service.js'

@ApiTags('enforce')
@Controller('enforce/approval')
export class WaitingController {
  constructor(private readonly waiting: WaitingService) {}

  /**
   * What became of an approval of the agent's own.
   *
   * With `wait` the answer comes as soon as people have decided, at the latest after that time. When it says
   * `approved`, send the same request again with its `approval_id`.
   */
  @Get(':approval_id')
  @Access('decisions:create', 'agent')
  @Limit('enforce')
  async get(
    @By() principal: AgentPrincipal,
    @Param('approval_id') approval_id: string,
    @Query() { wait }: WaitQuery,
    @Req() request: Request,
  ): Promise<ApprovalState> {
    const gone = new AbortController()
    const leave = () => gone.abort()
    request.socket.once('close', leave)
    try {
      return await this.waiting.state(principal, approval_id, wait, gone.signal)
    } finally {
      request.socket.off('close', leave)
    }
  }
}
