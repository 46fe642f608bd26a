import { Body, Controller, HttpCode, Post, Req, Res, UseGuards } from '@nestjs/common'
import { ApiHeader, ApiOkResponse, ApiTags } from '@nestjs/swagger'
import type { Request, Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { type AgentPrincipal, By } from '../platform/access/principal.js'
import { prefers } from '../platform/http/prefer.js'
import { note } from '../platform/logging/request-facts.js'
import { Limit } from '../platform/throttling/limit.decorator.js'
import { applyRate, rateIdentity, RateLimiter } from '../platform/throttling/rate-limiter.js'
import { InTurn, type WithTurn } from '../platform/throttling/turn.guard.js'
import { ReceiptsService } from '../proofs/receipts.service.js'
import { EnforceAnswer, EnforceBatchAnswer, EnforceBatchDto, EnforceDto, MAX_BATCH } from './enforce.dto.js'
import { EnforceService } from './enforce.service.js'
import { LedgerRoomGuard } from './ledger-room.guard.js'

@ApiTags('enforce')
@Controller('enforce')
export class EnforceController {
  constructor(
    private readonly enforce: EnforceService,
    private readonly receipts: ReceiptsService,
    private readonly limiter: RateLimiter,
  ) {}

  /**
   * May I do this?
   *
   * Decides from the agent's policies: a deny rule wins, then a rule that requires approval, then an allow rule;
   * nothing matching is a deny. A deny is an answer (200), not an error. The answer is given only after its entry
   * is committed to the log; when that cannot be done, the answer is 503 and the action must not be taken.
   *
   * With `Prefer: receipt` the answer waits, up to two seconds, for the signed checkpoint that covers its entry, and
   * carries the proof as `receipt` and `Preference-Applied: receipt`. When none came in time, `receipt` is null and
   * `receipt_url` says where it will be.
   */
  @Post()
  @InTurn()
  @HttpCode(200)
  @Access('decisions:create', 'agent')
  @Limit('enforce')
  @ApiHeader({ name: 'Prefer', required: false, description: '`receipt`: answer with the proof (RFC 7240)' })
  @ApiOkResponse({ type: EnforceAnswer })
  async decide(
    @By() principal: AgentPrincipal,
    @Body() body: EnforceDto,
    @Req() request: Request & WithTurn,
    @Res({ passthrough: true }) response: Response,
  ): Promise<EnforceAnswer> {
    const answer = await this.enforce.enforce(principal, body)
    note(request, { action: body.action, allowed: answer.allowed })
    if (!prefers(request, 'receipt')) return answer
    request.turn?.end() // waiting for a checkpoint is no work
    const { decision_id, log } = answer
    const receipt = await this.receipts.receipt(principal.org_id, decision_id, log.index)
    if (receipt !== null) response.setHeader('Preference-Applied', 'receipt')
    return { ...answer, receipt, receipt_url: `/v1/logs/${decision_id}/proof` }
  }
  /**
   * May I do these?
   *
   * Up to 100 requests, each decided as by `POST /enforce`, from one configuration at one moment. The answers come in
   * the order of the requests, after all log entries are committed: in one commit, with indexes that follow each
   * other. A request that cannot be read refuses the batch (422, paths such as `requests[3].action`), and when the
   * entries cannot be committed none is answered (503).
   *
   * Each item counts as one request against the limit; a batch that does not fit is refused whole. The body may have
   * 1 MB.
   */
  @Post('batch')
  @InTurn({ items: MAX_BATCH })
  @UseGuards(LedgerRoomGuard)
  @HttpCode(200)
  @Access('decisions:create', 'agent')
  @Limit('enforce')
  @ApiOkResponse({ type: EnforceBatchAnswer })
  async decideBatch(
    @By() principal: AgentPrincipal,
    @Body() { requests }: EnforceBatchDto,
    @Res({ passthrough: true }) response: Response,
  ): Promise<EnforceBatchAnswer> {
    const identity = rateIdentity(principal, undefined)
    const rate = this.limiter.takeMore('enforce', identity, requests.length - 1)
    if (rate) applyRate(response, rate)
    return { results: await this.enforce.enforceBatch(principal, requests) }
  }
}
