import { Body, Controller, Get, Param, Patch, Post, Query, Res } from '@nestjs/common'
import { ApiSecurity, ApiTags } from '@nestjs/swagger'
import type { Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { ApiPage, Page, sendPage } from '../platform/http/page.dto.js'
import { CreateOrganization, Organization, UpdateOrganization } from './organizations.dto.js'
import { OrganizationsService } from './organizations.service.js'

@ApiTags('organizations')
@ApiSecurity('admin_key')
@Controller('organizations')
export class OrganizationsController {
  constructor(private readonly organizations: OrganizationsService) {}

  /**
   * Makes an organization.
   * @remarks Only the root key may; it works in the new organization with the header `X-ORG-ID`.
   */
  @Post()
  @Access('organizations:write')
  create(@By() principal: Principal, @Body() body: CreateOrganization): Promise<Organization> {
    return this.organizations.create(principal, body)
  }

  /** Lists all organizations, oldest first. */
  @Get()
  @Access('organizations:read')
  @ApiPage(Organization)
  async list(
    @By() principal: Principal,
    @Query() page: Page,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Organization[]> {
    return sendPage(response, await this.organizations.list(principal, page))
  }

  /** Gets one organization, also a suspended one. */
  @Get(':org_id')
  @Access('organizations:read')
  get(@By() principal: Principal, @Param('org_id') org_id: string): Promise<Organization> {
    return this.organizations.get(principal, org_id)
  }

  /**
   * Renames, suspends or activates an organization.
   * @remarks While it is suspended, its keys are answered with 401 and nothing is decided for it.
   */
  @Patch(':org_id')
  @Access('organizations:write')
  update(
    @By() principal: Principal,
    @Param('org_id') org_id: string,
    @Body() body: UpdateOrganization,
  ): Promise<Organization> {
    return this.organizations.update(principal, org_id, body)
  }
}
