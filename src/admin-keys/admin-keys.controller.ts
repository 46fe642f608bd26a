import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query, Res } from '@nestjs/common'
import { ApiSecurity, ApiTags } from '@nestjs/swagger'
import type { Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { ApiPage, sendPage } from '../platform/http/page.dto.js'
import { AdminKey, CreateAdminKey, CreatedAdminKey, ListAdminKeys } from './admin-keys.dto.js'
import { AdminKeysService } from './admin-keys.service.js'

@ApiTags('admin-keys')
@ApiSecurity('admin_key')
@Controller('admin-keys')
export class AdminKeysController {
  constructor(private readonly adminKeys: AdminKeysService) {}

  /**
   * Makes an administrator key.
   * @remarks The answer is the only place where its secret ever appears.
   */
  @Post()
  @Access('admin-keys:write', 'admin', { within_team: true })
  create(@By() principal: Principal, @Body() body: CreateAdminKey): Promise<CreatedAdminKey> {
    return this.adminKeys.create(principal, body)
  }

  /** Lists the organization's administrator keys, oldest first, without secrets. */
  @Get()
  @Access('admin-keys:read', 'admin', { within_team: true })
  @ApiPage(AdminKey)
  async list(
    @By() principal: Principal,
    @Query() query: ListAdminKeys,
    @Res({ passthrough: true }) response: Response,
  ): Promise<AdminKey[]> {
    return sendPage(response, await this.adminKeys.list(principal, query))
  }

  /** Gets one administrator key, also a revoked one. */
  @Get(':admin_id')
  @Access('admin-keys:read', 'admin', { within_team: true })
  get(@By() principal: Principal, @Param('admin_id') admin_id: string): Promise<AdminKey> {
    return this.adminKeys.get(principal, admin_id)
  }

  /**
   * Revokes an administrator key for good.
   * @remarks The very next request with it is a 401. A key that is revoked already is a 404.
   */
  @Delete(':admin_id')
  @Access('admin-keys:write', 'admin', { within_team: true })
  @HttpCode(204)
  revoke(@By() principal: Principal, @Param('admin_id') admin_id: string): Promise<void> {
    return this.adminKeys.revoke(principal, admin_id)
  }
}
