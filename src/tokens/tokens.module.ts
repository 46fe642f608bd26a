import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { SigningKeysModule } from '../signing-keys/signing-keys.module.js'
import { TokensController } from './tokens.controller.js'
import { TokensService } from './tokens.service.js'

/** Short-lived tokens made from keys. */
@Module({
  imports: [LedgerModule, SigningKeysModule],
  controllers: [TokensController],
  providers: [TokensService],
})
export class TokensModule {}
