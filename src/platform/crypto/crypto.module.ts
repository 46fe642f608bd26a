import { Global, Module } from '@nestjs/common'
import { Settings } from '../config/settings.js'
import { KeyRing } from './key-ring.js'

/** Sealing of what is kept encrypted. Inject `KeyRing`. */
@Global()
@Module({
  providers: [
    {
      provide: KeyRing,
      inject: [Settings],
      useFactory: (settings: Settings) => new KeyRing(settings.ledger_kek, settings.ledger_kek_previous),
    },
  ],
  exports: [KeyRing],
})
export class CryptoModule {}
