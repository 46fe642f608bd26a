import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { KeysController } from './keys.controller.js'
import { KeysService } from './keys.service.js'

/** Keys of agents. Looking a presented one up is the `authentication` capability's. */
@Module({
  imports: [LedgerModule],
  controllers: [KeysController],
  providers: [KeysService],
  exports: [KeysService],
})
export class KeysModule {}
