import { Module } from '@nestjs/common'
import { AgentsModule } from '../agents/agents.module.js'
import { LedgerModule } from '../ledger/ledger.module.js'
import { SnapshotsModule } from '../snapshots/snapshots.module.js'
import { WorkflowsModule } from '../workflows/workflows.module.js'
import { ApprovalsController } from './approvals.controller.js'
import { ApprovalsService } from './approvals.service.js'
import { ApprovalsWorker } from './approvals.worker.js'
import { AskingService } from './asking.service.js'
import { ApprovalLifeService } from './life.service.js'
import { WaitingController } from './waiting.controller.js'
import { WaitingService } from './waiting.service.js'

/** What agents must ask people, what people answer, and what the answer is good for. */
@Module({
  imports: [AgentsModule, LedgerModule, SnapshotsModule, WorkflowsModule],
  controllers: [ApprovalsController, WaitingController],
  providers: [ApprovalsService, ApprovalLifeService, ApprovalsWorker, AskingService, WaitingService],
  exports: [ApprovalsService, AskingService, WaitingService],
})
export class ApprovalsModule {}
