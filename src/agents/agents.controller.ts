import { Body, Controller, Delete, Get, HttpCode, Param, Patch, Post, Query, Res } from '@nestjs/common'
import { ApiSecurity, ApiTags } from '@nestjs/swagger'
import type { Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { ApiPage, sendPage } from '../platform/http/page.dto.js'
import { Agent, CreateAgent, CreatedAgent, ListAgents, UpdateAgent } from './agents.dto.js'
import { AgentsService } from './agents.service.js'

@ApiTags('agents')
@ApiSecurity('admin_key')
@Controller('agents')
export class AgentsController {
  constructor(private readonly agents: AgentsService) {}

  /**
   * Makes an agent and its first key.
   * @remarks The answer is the only place where the secret ever appears.
   */
  @Post()
  @Access('agents:write', 'admin', { within_team: true })
  create(@By() principal: Principal, @Body() body: CreateAgent): Promise<CreatedAgent> {
    return this.agents.create(principal, body)
  }

  /** Lists agents, oldest first; only active ones unless asked for all. */
  @Get()
  @Access('agents:read', 'admin', { within_team: true })
  @ApiPage(Agent)
  async list(
    @By() principal: Principal,
    @Query() query: ListAgents,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Agent[]> {
    return sendPage(response, await this.agents.list(principal, query))
  }

  /** Gets one agent, also an inactive one. Never a key. */
  @Get(':agent_id')
  @Access('agents:read', 'admin', { within_team: true })
  get(@By() principal: Principal, @Param('agent_id') agent_id: string): Promise<Agent> {
    return this.agents.get(principal, agent_id)
  }

  /**
   * Changes an agent; what is left out stays.
   * @remarks Activating a deleted agent does not revive its keys; make a new one.
   */
  @Patch(':agent_id')
  @Access('agents:write', 'admin', { within_team: true })
  update(
    @By() principal: Principal,
    @Param('agent_id') agent_id: string,
    @Body() body: UpdateAgent,
  ): Promise<Agent> {
    return this.agents.update(principal, agent_id, body)
  }

  /**
   * Deletes an agent.
   * @remarks It becomes inactive and its keys are revoked for good; its log and policy history stay.
   */
  @Delete(':agent_id')
  @Access('agents:write', 'admin', { within_team: true })
  @HttpCode(204)
  delete(@By() principal: Principal, @Param('agent_id') agent_id: string): Promise<void> {
    return this.agents.delete(principal, agent_id)
  }
}
