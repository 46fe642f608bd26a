import { Module } from '@nestjs/common'
import { AgentsModule } from '../agents/agents.module.js'
import { LedgerModule } from '../ledger/ledger.module.js'
import { PoliciesController } from './policies.controller.js'
import { PoliciesService } from './policies.service.js'

/** The rules of agents and every version they ever had. Deciding from them is the `enforce` capability's. */
@Module({
  imports: [AgentsModule, LedgerModule],
  controllers: [PoliciesController],
  providers: [PoliciesService],
  exports: [PoliciesService],
})
export class PoliciesModule {}
