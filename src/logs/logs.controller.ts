import { Body, Controller, Get, Post, Query, Req, Res } from '@nestjs/common'
import { ApiCreatedResponse, ApiOkResponse, ApiTags } from '@nestjs/swagger'
import type { Request, Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { type AgentPrincipal, By, type Principal } from '../platform/access/principal.js'
import { Limit } from '../platform/throttling/limit.decorator.js'
import { LargeAnswer } from '../platform/throttling/large-answer.guard.js'
import { InTurn } from '../platform/throttling/turn.guard.js'
import { ListLogsQuery, LogEntry, ReportActionDto } from './logs.dto.js'
import { LogsService } from './logs.service.js'

@ApiTags('logs')
@Controller('logs')
export class LogsController {
  constructor(private readonly logs: LogsService) {}

  /**
   * Report what the agent did.
   *
   * The service's own decisions are recorded by themselves; this is the agent's word beside them. `decision_id` ties
   * the two together, and a disagreement is recorded.
   */
  @Post()
  @InTurn()
  @Access('logs:create', 'agent')
  @Limit('log_submit')
  @ApiCreatedResponse({ type: LogEntry })
  report(@By() principal: AgentPrincipal, @Body() body: ReportActionDto): Promise<LogEntry> {
    return this.logs.report(principal, body)
  }

  /**
   * Read the log, newest first.
   *
   * An agent sees its own entries. `X-Total-Count` is exact to 10,000 (`X-Total-Count-Relation: eq`), beyond that a
   * lower bound (`gte`). A page is shorter than `limit` when its payloads would have more than 4 MB. Follow `Link: rel="next"` to page without skipping or repeating while entries are added.
   */
  @Get()
  @LargeAnswer()
  @Access('logs:read', 'either', { within_team: true })
  @Limit('log_query')
  @ApiOkResponse({
    type: [LogEntry],
    headers: {
      'X-Total-Count': { schema: { type: 'integer' } },
      'X-Total-Count-Relation': { schema: { type: 'string', enum: ['eq', 'gte'] } },
      Link: { schema: { type: 'string' } },
    },
  })
  async list(
    @By() principal: Principal,
    @Query() query: ListLogsQuery,
    @Req() request: Request,
    @Res({ passthrough: true }) response: Response,
  ): Promise<LogEntry[]> {
    const page = await this.logs.list(principal, query)
    response.setHeader('X-Total-Count', page.total)
    response.setHeader('X-Total-Count-Relation', page.total_is_lower_bound ? 'gte' : 'eq')
    if (page.next) response.setHeader('Link', `<${nextUrl(request, page.next)}>; rel="next"`)
    return page.items
  }
}

/** This request's path and query with the next cursor. Relative: a proxy may have changed the host. */
function nextUrl(request: Request, cursor: string): string {
  const url = new URL(request.originalUrl, 'http://localhost')
  url.searchParams.delete('offset')
  url.searchParams.set('cursor', cursor)
  return url.pathname + url.search
}
