import { Module } from '@nestjs/common'
import { AgentsModule } from '../agents/agents.module.js'
import { KillSwitchModule } from '../kill-switch/kill-switch.module.js'
import { LedgerModule } from '../ledger/ledger.module.js'
import { PoliciesModule } from '../policies/policies.module.js'
import { SnapshotsModule } from '../snapshots/snapshots.module.js'
import { WorkflowsModule } from '../workflows/workflows.module.js'
import { AgentApprovalsService } from './agent-approvals.service.js'
import { ApprovalsController } from './approvals.controller.js'
import { ApprovalsService } from './approvals.service.js'
import { ApprovalsWorker } from './approvals.worker.js'
import { AskingRulesService } from './asking-rules.service.js'
import { AskingService } from './asking.service.js'
import { ApprovalReportController } from './report.controller.js'
import { ApprovalReportService } from './report.service.js'
import { ErasureModule } from '../erasure/erasure.module.js'
import { KeysModule } from '../keys/keys.module.js'
import { ApprovalEndingService } from './ending.service.js'
import { ApprovalLifeService } from './life.service.js'
import { WaitingController } from './waiting.controller.js'
import { WaitingService } from './waiting.service.js'

/** What agents must ask people, what people answer, and what the answer is good for. */
@Module({
  imports: [
    AgentsModule,
    ErasureModule,
    KeysModule,
    KillSwitchModule,
    LedgerModule,
    PoliciesModule,
    SnapshotsModule,
    WorkflowsModule,
  ],
  controllers: [ApprovalsController, ApprovalReportController, WaitingController],
  providers: [
    AgentApprovalsService,
    ApprovalsService,
    ApprovalReportService,
    ApprovalEndingService,
    ApprovalLifeService,
    ApprovalsWorker,
    AskingRulesService,
    AskingService,
    WaitingService,
  ],
  exports: [AgentApprovalsService, ApprovalsService, AskingService, WaitingService],
})
export class ApprovalsModule {}
