import { Body, Controller, HttpCode, Post, Req } from '@nestjs/common'
import { ApiOkResponse, ApiTags } from '@nestjs/swagger'
import type { Request } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { type AgentPrincipal, By } from '../platform/access/principal.js'
import { note } from '../platform/logging/request-facts.js'
import { Limit } from '../platform/throttling/limit.decorator.js'
import { EnforceAnswer, EnforceDto } from './enforce.dto.js'
import { EnforceService } from './enforce.service.js'

@ApiTags('enforce')
@Controller('enforce')
export class EnforceController {
  constructor(private readonly enforce: EnforceService) {}

  /**
   * May I do this?
   *
   * Decides from the agent's policies: a deny rule wins, then a rule that requires approval, then an allow rule;
   * nothing matching is a deny. A deny is an answer (200), not an error. The answer is given only after its entry
   * is committed to the log; when that cannot be done, the answer is 503 and the action must not be taken.
   */
  @Post()
  @HttpCode(200)
  @Access('decisions:create', 'agent')
  @Limit('enforce')
  @ApiOkResponse({ type: EnforceAnswer })
  async decide(
    @By() principal: AgentPrincipal,
    @Body() body: EnforceDto,
    @Req() request: Request,
  ): Promise<EnforceAnswer> {
    const answer = await this.enforce.enforce(principal, body)
    note(request, { action: body.action, allowed: answer.allowed })
    return answer
  }
}
