import { Module } from '@nestjs/common'
import { AgentsModule } from '../agents/agents.module.js'
import { LedgerModule } from '../ledger/ledger.module.js'
import { SigningKeysModule } from '../signing-keys/signing-keys.module.js'
import { SnapshotsModule } from '../snapshots/snapshots.module.js'
import { BundlesService } from './bundles.service.js'
import { LocalDecisionsController } from './local-decisions.controller.js'
import { RecordingService } from './recording.service.js'
import { StatementsService } from './statements.service.js'

/** What agents decide by themselves: from what, for how long, and what the log says of it. */
@Module({
  imports: [AgentsModule, LedgerModule, SigningKeysModule, SnapshotsModule],
  controllers: [LocalDecisionsController],
  providers: [BundlesService, RecordingService, StatementsService],
})
export class LocalDecisionsModule {}
