import { createHmac } from 'node:crypto'
import { Global, Module } from '@nestjs/common'
import { ThrottlerModule } from '@nestjs/throttler'
import { Clock } from '../clock/clock.js'
import { PrimaryExchange } from '../cluster/primary-exchange.js'
import { primary } from '../cluster/worker.js'
import { Settings } from '../config/settings.js'
import { CounterExchange } from './counter-exchange.js'
import { CounterStorage } from './counter-storage.js'
import { RateLimiter } from './rate-limiter.js'
import { RedisExchange } from './redis-exchange.js'
import { SharedCounters } from './shared-counters.js'
import { Turns } from './turns.js'

const storage = {
  provide: CounterStorage,
  useFactory: (clock: Clock) => new CounterStorage(clock),
  inject: [Clock],
}

/** Null: nobody else counts. */
const exchange = {
  provide: CounterExchange,
  useFactory: ({ redis_url, ledger_kek }: Settings): CounterExchange | null => {
    if (redis_url !== undefined) return new RedisExchange(redis_url, `agentguard:${nameOf(ledger_kek)}:rate:`)
    const line = primary()
    return line && new PrimaryExchange(line)
  },
  inject: [Settings],
}

/** The same for all replicas of an installation, and another for others that use the same Redis. */
const nameOf = (ledger_kek: Uint8Array): string =>
  createHmac('sha256', ledger_kek).update('agentguard/redis/v1').digest('base64url').slice(0, 8)

@Module({ providers: [storage], exports: [CounterStorage] })
class CounterModule {}

/** Rate limits. `AccessModule` places the guard, because it must come after authentication. */
@Global()
@Module({
  imports: [
    CounterModule,
    ThrottlerModule.forRootAsync({
      imports: [CounterModule],
      inject: [CounterStorage],
      // One entry, so that the library's guard runs once a request; `RateLimitGuard` knows the real windows.
      useFactory: (counters: CounterStorage) => ({
        throttlers: [{ limit: 100, ttl: 60_000 }],
        storage: counters,
      }),
    }),
  ],
  providers: [RateLimiter, exchange, SharedCounters, { provide: Turns, useFactory: () => new Turns() }],
  exports: [RateLimiter, ThrottlerModule, Turns],
})
export class ThrottlingModule {}
