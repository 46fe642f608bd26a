import { Body, Controller, HttpCode, Param, Post } from '@nestjs/common'
import { ApiTags } from '@nestjs/swagger'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { EraseAgent, EraseEntry, type Erasure } from './erasure.dto.js'
import { ErasureService } from './erasure.service.js'

/** Erasing what people have a right to have erased, without touching what was proved. */
@ApiTags('erasure')
@Controller()
export class ErasureController {
  constructor(private readonly erasure: ErasureService) {}

  /**
   * Erase the payload of an entry.
   *
   * Arguments, context, metadata, before and after are removed for good; the entry, its hash and every proof stay,
   * and `GET /logs` shows it as `redacted`. Repeating it erases nothing more.
   */
  @Post('logs/:log_id/erase')
  @HttpCode(200)
  @Access('payloads:erase')
  entry(
    @By() principal: Principal,
    @Param('log_id') log_id: string,
    @Body() body: EraseEntry,
  ): Promise<Erasure> {
    return this.erasure.eraseEntry(principal, log_id, body)
  }

  /**
   * Erase the payloads of an agent's entries.
   *
   * All of them, or those up to `end_time`; 5,000 a transaction, each recorded by a `redaction` entry. When the
   * connection breaks, ask again: it goes on where it ended.
   */
  @Post('agents/:agent_id/erase')
  @HttpCode(200)
  @Access('payloads:erase')
  agent(
    @By() principal: Principal,
    @Param('agent_id') agent_id: string,
    @Body() body: EraseAgent,
  ): Promise<Erasure> {
    return this.erasure.eraseAgent(principal, agent_id, body)
  }
}
