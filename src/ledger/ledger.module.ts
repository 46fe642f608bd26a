import { Module } from '@nestjs/common'
import { LedgerService } from './ledger.service.js'
import { LedgerWorker } from './ledger.worker.js'
import { SignWorker } from './sign.worker.js'
import { TreeService } from './tree.service.js'
import { TreeWorker } from './tree.worker.js'
import { Witnesses } from './witnesses.js'

/** The append-only log: appending, payloads, partitions, its tree and checkpoints. Reading it is the `logs` capability's. */
@Module({
  providers: [LedgerService, LedgerWorker, TreeService, TreeWorker, SignWorker, Witnesses],
  exports: [LedgerService, LedgerWorker, TreeService],
})
export class LedgerModule {}
