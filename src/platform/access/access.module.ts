import { Global, Module } from '@nestjs/common'
import { APP_GUARD, DiscoveryModule } from '@nestjs/core'
import { RateLimitGuard } from '../throttling/rate-limit.guard.js'
import { ThrottlingModule } from '../throttling/throttling.module.js'
import { AccessAudit } from './access.audit.js'
import { AccessGuard } from './access.guard.js'
import { Gatekeeper } from './gatekeeper.js'

/**
 * Who may do what. The `Authenticator` comes from a global module of the authentication capability. Guards run in
 * the order of this list: first who asks, then how often.
 */
@Global()
@Module({
  imports: [DiscoveryModule, ThrottlingModule],
  providers: [
    Gatekeeper,
    AccessAudit,
    { provide: APP_GUARD, useClass: AccessGuard },
    { provide: APP_GUARD, useClass: RateLimitGuard },
  ],
  exports: [Gatekeeper],
})
export class AccessModule {}
