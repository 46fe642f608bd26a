import { Global, Module } from '@nestjs/common'
import { Settings } from '../config/settings.js'
import { KeyRing } from './key-ring.js'
import { Resealing } from './resealing.js'

/** Sealing of what is kept encrypted. Inject `KeyRing`; register with `Resealing`. */
@Global()
@Module({
  providers: [
    Resealing,
    {
      provide: KeyRing,
      inject: [Settings],
      useFactory: (settings: Settings) => new KeyRing(settings.ledger_kek, settings.ledger_kek_previous),
    },
  ],
  exports: [KeyRing, Resealing],
})
export class CryptoModule {}
