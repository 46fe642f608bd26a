import { Body, Controller, Post } from '@nestjs/common'
import { ApiTags } from '@nestjs/swagger'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { SetUp, SetUpLink, Welcome } from './setup.dto.js'
import { SetupService } from './setup.service.js'

@ApiTags('setup')
@Controller()
export class SetupController {
  constructor(private readonly setup: SetupService) {}

  /**
   * Makes a link with which the first owner of an organization sets it up.
   * @remarks Only the root key may, for the default organization or the one of `X-ORG-ID`, while it has no owner. A link
   * works once, for 24 hours; a new one takes the place of those before.
   */
  @Post('setup-links')
  @Access('organizations:write')
  createLink(@By() principal: Principal): Promise<SetUpLink> {
    return this.setup.create(principal)
  }

  /** Makes the first owner of an organization, with the token of a set-up link. */
  @Post('setup')
  @Access('public')
  setUp(@Body() body: SetUp): Promise<Welcome> {
    return this.setup.setUp(body)
  }
}
