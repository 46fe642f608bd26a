import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { LogsModule } from '../logs/logs.module.js'
import { RetentionController } from './retention.controller.js'
import { RetentionService } from './retention.service.js'
import { RetentionWorker } from './retention.worker.js'

/** How long the log is kept, and what happens at the end of that time. */
@Module({
  imports: [LedgerModule, LogsModule],
  controllers: [RetentionController],
  providers: [RetentionService, RetentionWorker],
})
export class RetentionModule {}
