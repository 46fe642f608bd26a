import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { DataKeysController } from './data-keys.controller.js'
import { DataKeysService } from './data-keys.service.js'

/** Rotation of the keys that payloads are sealed with. */
@Module({
  imports: [LedgerModule],
  controllers: [DataKeysController],
  providers: [DataKeysService],
})
export class DataKeysModule {}
