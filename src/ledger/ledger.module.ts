import { Module } from '@nestjs/common'
import { LedgerService } from './ledger.service.js'
import { LedgerWorker } from './ledger.worker.js'

/** The append-only log: appending, payloads, partitions. Reading it is the `logs` capability's. */
@Module({ providers: [LedgerService, LedgerWorker], exports: [LedgerService, LedgerWorker] })
export class LedgerModule {}
