import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { ProofsController } from './proofs.controller.js'
import { ProofsService } from './proofs.service.js'
import { ReceiptsService } from './receipts.service.js'

/** Checkpoints, tiles and proofs for anyone who wants to check the log. */
@Module({
  imports: [LedgerModule],
  controllers: [ProofsController],
  providers: [ProofsService, ReceiptsService],
  exports: [ReceiptsService],
})
export class ProofsModule {}
