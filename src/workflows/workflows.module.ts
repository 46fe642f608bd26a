import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { ApprovalSettingsService } from './settings.service.js'
import { WorkflowsController } from './workflows.controller.js'
import { WorkflowsService } from './workflows.service.js'

/** How people decide about what waits for them. */
@Module({
  imports: [LedgerModule],
  controllers: [WorkflowsController],
  providers: [ApprovalSettingsService, WorkflowsService],
  exports: [ApprovalSettingsService, WorkflowsService],
})
export class WorkflowsModule {}
