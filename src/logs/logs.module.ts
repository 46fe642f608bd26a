import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { SnapshotsModule } from '../snapshots/snapshots.module.js'
import { LogsController } from './logs.controller.js'
import { LogsExportController } from './logs.export.controller.js'
import { LogsExportService } from './logs.export.service.js'
import { LogsService } from './logs.service.js'

/** Reading the log, and agents' reports into it. */
@Module({
  imports: [LedgerModule, SnapshotsModule],
  controllers: [LogsExportController, LogsController],
  providers: [LogsService, LogsExportService],
  exports: [LogsExportService],
})
export class LogsModule {}
