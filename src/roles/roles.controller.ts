import { Body, Controller, Delete, Get, HttpCode, Param, Post, Put } from '@nestjs/common'
import { ApiSecurity, ApiTags } from '@nestjs/swagger'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { CreateRole, ReplaceRole, Role } from './roles.dto.js'
import { RolesService } from './roles.service.js'

@ApiTags('roles')
@ApiSecurity('admin_key')
@Controller('roles')
export class RolesController {
  constructor(private readonly roles: RolesService) {}

  /**
   * Makes a role: a set of permissions under a name.
   * @remarks Nobody gives more than they hold.
   */
  @Post()
  @Access('roles:write')
  create(@By() principal: Principal, @Body() body: CreateRole): Promise<Role> {
    return this.roles.create(principal, body)
  }

  /** Lists all roles: the built-in ones, then the organization's own by name. */
  @Get()
  @Access('roles:read')
  list(@By() principal: Principal): Promise<Role[]> {
    return this.roles.list(principal)
  }

  /** Gets one role. */
  @Get(':role')
  @Access('roles:read')
  get(@By() principal: Principal, @Param('role') role: string): Promise<Role> {
    return this.roles.get(principal, role)
  }

  /**
   * Replaces the permissions of a role of the organization's own.
   * @remarks It holds from the very next request of everybody who has the role. Nobody changes a role that may do
   * more than they, before or after.
   */
  @Put(':role')
  @Access('roles:write')
  replace(@By() principal: Principal, @Param('role') role: string, @Body() body: ReplaceRole): Promise<Role> {
    return this.roles.replace(principal, role, body)
  }

  /**
   * Deletes a role of the organization's own.
   * @remarks One that anybody still has is a 409, which says how many.
   */
  @Delete(':role')
  @Access('roles:write')
  @HttpCode(204)
  delete(@By() principal: Principal, @Param('role') role: string): Promise<void> {
    return this.roles.delete(principal, role)
  }
}
