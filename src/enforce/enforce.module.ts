import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { ProofsModule } from '../proofs/proofs.module.js'
import { ApprovalsModule } from '../approvals/approvals.module.js'
import { SnapshotsModule } from '../snapshots/snapshots.module.js'
import { EnforceController } from './enforce.controller.js'
import { EnforceLane } from './enforce.lane.js'
import { EnforceService } from './enforce.service.js'

/** The decision point: `POST /enforce`. */
@Module({
  imports: [ApprovalsModule, LedgerModule, SnapshotsModule, ProofsModule],
  controllers: [EnforceController],
  providers: [EnforceService, EnforceLane],
  exports: [EnforceService],
})
export class EnforceModule {}
