import { Body, Controller, Get, HttpCode, Post, Put, Query, Res } from '@nestjs/common'
import { ApiAcceptedResponse, ApiOkResponse, ApiSecurity, ApiTags } from '@nestjs/swagger'
import type { Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { ApiPage, sendPage } from '../platform/http/page.dto.js'
import {
  ActivateKillSwitch,
  DeactivateKillSwitch,
  KillSwitch,
  KillSwitchSettings,
  ListKillSwitches,
} from './kill-switch.dto.js'
import { KillSwitchService } from './kill-switch.service.js'
import { KillReleaseService } from './release.service.js'

@ApiTags('kill-switch')
@ApiSecurity('admin_key')
@Controller('kill-switch')
export class KillSwitchController {
  constructor(
    private readonly killSwitch: KillSwitchService,
    private readonly release: KillReleaseService,
  ) {}

  /**
   * Stops the installation, the organization, an environment, team, agent or key, or the actions of a pattern.
   * @remarks When this is answered it holds on every replica: no allow in its scope follows it in the log. Activating
   * what is active already changes nothing and answers the same switch.
   */
  @Post('activate')
  @HttpCode(200)
  @Access('kill-switch:write', 'admin', { within_team: true })
  activate(@By() principal: Principal, @Body() body: ActivateKillSwitch): Promise<KillSwitch> {
    return this.killSwitch.activate(principal, body)
  }

  /**
   * Ends a kill switch.
   * @remarks Where two people are needed, the first call is answered 202 and changes nothing; a second, different
   * person completes it within 15 minutes. Ending what has ended changes nothing.
   */
  @Post('deactivate')
  @HttpCode(200)
  @Access('kill-switch:write', 'admin', { within_team: true })
  @ApiOkResponse({ type: KillSwitch })
  @ApiAcceptedResponse({ type: KillSwitch, description: 'Still active: a second person must ask as well.' })
  async deactivate(
    @By() principal: Principal,
    @Body() body: DeactivateKillSwitch,
    @Res({ passthrough: true }) response: Response,
  ): Promise<KillSwitch> {
    const kill = await this.release.deactivate(principal, body)
    if (kill.state === 'active') response.status(202)
    return kill
  }

  /** Lists what is stopped, newest first; with `include_ended` also what was. */
  @Get()
  @Access('kill-switch:read', 'admin', { within_team: true })
  @ApiPage(KillSwitch)
  async list(
    @By() principal: Principal,
    @Query() query: ListKillSwitches,
    @Res({ passthrough: true }) response: Response,
  ): Promise<KillSwitch[]> {
    return sendPage(response, await this.killSwitch.list(principal, query))
  }

  /** Whether two people are needed to end an organization-wide kill switch. */
  @Get('settings')
  @Access('kill-switch:read')
  getSettings(@By() principal: Principal): Promise<KillSwitchSettings> {
    return this.release.getSettings(principal)
  }

  /**
   * Sets whether two people are needed to end an organization-wide kill switch.
   * @remarks Cannot be lifted while such a switch is active: that would be one person's way around it.
   */
  @Put('settings')
  @Access('organization:write')
  putSettings(@By() principal: Principal, @Body() body: KillSwitchSettings): Promise<KillSwitchSettings> {
    return this.release.putSettings(principal, body)
  }
}
