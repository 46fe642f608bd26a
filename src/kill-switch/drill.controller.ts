import { Body, Controller, HttpCode, Post } from '@nestjs/common'
import { ApiSecurity, ApiTags } from '@nestjs/swagger'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { KillDrillService } from './drill.service.js'
import { DrillKillSwitch, KillSwitchDrill } from './kill-switch.dto.js'

@ApiTags('kill-switch')
@ApiSecurity('admin_key')
@Controller('kill-switch')
export class KillDrillController {
  constructor(private readonly drills: KillDrillService) {}

  /**
   * Tries the kill switch on one agent and measures how long it takes.
   * @remarks Stops the agent while it asks, lets it go on, and records the figures. Refused (409) while a kill switch
   * covers the agent, when a rule does not allow it `drill:kill-switch`, and while another drill runs.
   */
  @Post('drill')
  @HttpCode(200)
  @Access('kill-switch:write', 'admin', { within_team: true })
  drill(@By() principal: Principal, @Body() { agent_id }: DrillKillSwitch): Promise<KillSwitchDrill> {
    return this.drills.drill(principal, agent_id)
  }
}
