import { Module } from '@nestjs/common'
import { KeysModule } from '../keys/keys.module.js'
import { LedgerModule } from '../ledger/ledger.module.js'
import { AgentsController } from './agents.controller.js'
import { AgentsService } from './agents.service.js'

/** The programs that ask. */
@Module({
  imports: [KeysModule, LedgerModule],
  controllers: [AgentsController],
  providers: [AgentsService],
  exports: [AgentsService],
})
export class AgentsModule {}
