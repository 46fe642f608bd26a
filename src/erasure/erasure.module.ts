import { Module } from '@nestjs/common'
import { AgentsModule } from '../agents/agents.module.js'
import { LedgerModule } from '../ledger/ledger.module.js'
import { ErasureController } from './erasure.controller.js'
import { ErasureService } from './erasure.service.js'

/** Erasing payloads of the log. */
@Module({
  imports: [AgentsModule, LedgerModule],
  controllers: [ErasureController],
  providers: [ErasureService],
  exports: [ErasureService],
})
export class ErasureModule {}
