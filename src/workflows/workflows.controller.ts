import { Body, Controller, Get, Param, Put } from '@nestjs/common'
import { ApiBody, ApiTags } from '@nestjs/swagger'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { Workflow, WorkflowDocument } from './workflows.dto.js'
import { WorkflowsService } from './workflows.service.js'

@ApiTags('workflows')
@Controller('workflows')
export class WorkflowsController {
  constructor(private readonly workflows: WorkflowsService) {}

  /** Lists the organization's workflows, shipped ones and its own, by name. */
  @Get()
  @Access('workflows:read', 'admin', { within_team: true })
  list(@By() principal: Principal): Promise<Workflow[]> {
    return this.workflows.list(principal)
  }

  /** Gets one workflow. */
  @Get(':workflow')
  @Access('workflows:read', 'admin', { within_team: true })
  get(@By() principal: Principal, @Param('workflow') name: string): Promise<Workflow> {
    return this.workflows.get(principal, name)
  }

  /**
   * Writes a workflow as a whole, also in place of a shipped one.
   * @remarks Every mistake is reported at once with its path. Requests that wait already keep the workflow that they
   * were asked for with.
   */
  @Put(':workflow')
  @Access('workflows:write')
  @ApiBody({ type: WorkflowDocument })
  put(
    @By() principal: Principal,
    @Param('workflow') name: string,
    // Not a DTO: the reader of `core` validates it, and names every mistake with its path.
    @Body() document: unknown,
  ): Promise<Workflow> {
    return this.workflows.put(principal, name, document)
  }
}
