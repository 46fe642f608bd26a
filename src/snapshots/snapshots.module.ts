import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { AgentLogService } from './agent-log.service.js'
import { SnapshotsService } from './snapshots.service.js'
import { SnapshotsWorker } from './snapshots.worker.js'

/** The decision path's view of keys, agents and policies. */
@Module({
  imports: [LedgerModule],
  providers: [SnapshotsService, SnapshotsWorker, AgentLogService],
  exports: [SnapshotsService, SnapshotsWorker, AgentLogService],
})
export class SnapshotsModule {}
