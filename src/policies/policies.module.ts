import { Module } from '@nestjs/common'
import { AgentsModule } from '../agents/agents.module.js'
import { LedgerModule } from '../ledger/ledger.module.js'
import { TeamsModule } from '../teams/teams.module.js'
import { WorkflowsModule } from '../workflows/workflows.module.js'
import {
  OrganizationPoliciesController,
  PoliciesController,
  TeamPoliciesController,
} from './policies.controller.js'
import { PoliciesService } from './policies.service.js'

/** The rules of agents, teams and the organization, and every version they ever had. Deciding from them is the `enforce` capability's. */
@Module({
  imports: [AgentsModule, LedgerModule, TeamsModule, WorkflowsModule],
  controllers: [PoliciesController, TeamPoliciesController, OrganizationPoliciesController],
  providers: [PoliciesService],
  exports: [PoliciesService],
})
export class PoliciesModule {}
