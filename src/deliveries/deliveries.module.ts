import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { DeliveriesService } from './deliveries.service.js'
import { DeliveryWorker } from './delivery.worker.js'
import { FanOutWorker } from './fan-out.worker.js'

/** Entries of the log on their way out: which destinations want them, and the attempts to deliver them. */
@Module({
  imports: [LedgerModule],
  providers: [DeliveriesService, FanOutWorker, DeliveryWorker],
  exports: [DeliveriesService],
})
export class DeliveriesModule {}
