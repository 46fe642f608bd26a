import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query, Res } from '@nestjs/common'
import { ApiSecurity, ApiTags } from '@nestjs/swagger'
import type { Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { ApiPage, Page, sendPage } from '../platform/http/page.dto.js'
import { CreatedKey, CreateKey, Key, RotateKey } from './keys.dto.js'
import { KeysService } from './keys.service.js'

@ApiTags('keys')
@ApiSecurity('admin_key')
@Controller('agents/:agent_id/keys')
export class KeysController {
  constructor(private readonly keys: KeysService) {}

  /**
   * Makes another key for an agent, which may have 20 active ones.
   * @remarks The answer is the only place where its secret ever appears.
   */
  @Post()
  @Access('agents:write', 'admin', { within_team: true })
  create(
    @By() principal: Principal,
    @Param('agent_id') agent_id: string,
    @Body() body: CreateKey,
  ): Promise<CreatedKey> {
    return this.keys.create(principal, agent_id, body)
  }

  /** Lists an agent's keys with their state, newest first, without secrets. */
  @Get()
  @Access('agents:read', 'admin', { within_team: true })
  @ApiPage(Key)
  async list(
    @By() principal: Principal,
    @Param('agent_id') agent_id: string,
    @Query() page: Page,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Key[]> {
    return sendPage(response, await this.keys.list(principal, agent_id, page))
  }

  /** Revokes a key for good: the very next request with it is a 401. */
  @Delete(':key_id')
  @Access('agents:write', 'admin', { within_team: true })
  @HttpCode(204)
  revoke(
    @By() principal: Principal,
    @Param('agent_id') agent_id: string,
    @Param('key_id') key_id: string,
  ): Promise<void> {
    return this.keys.revoke(principal, agent_id, key_id)
  }

  /**
   * Replaces a key by a new one; both work for `overlap_seconds`.
   * @remarks A key that is revoked or expired is a 409.
   */
  @Post(':key_id/rotate')
  @Access('agents:write', 'admin', { within_team: true })
  rotate(
    @By() principal: Principal,
    @Param('agent_id') agent_id: string,
    @Param('key_id') key_id: string,
    @Body() body: RotateKey,
  ): Promise<CreatedKey> {
    return this.keys.rotate(principal, agent_id, key_id, body)
  }
}
