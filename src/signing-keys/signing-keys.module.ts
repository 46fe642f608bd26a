import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { SigningKeysService } from './signing-keys.service.js'
import { TokenFormatService } from './token-format.service.js'

/** The keys that tokens are signed with, and what a token of ours is. Who may do what with one is `authentication`'s. */
@Module({
  imports: [LedgerModule],
  providers: [SigningKeysService, TokenFormatService],
  exports: [SigningKeysService, TokenFormatService],
})
export class SigningKeysModule {}
