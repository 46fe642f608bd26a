import { Global, Module } from '@nestjs/common'
import { ThrottlerModule } from '@nestjs/throttler'
import { Clock } from '../clock/clock.js'
import { CounterStorage } from './counter-storage.js'
import { RateLimiter } from './rate-limiter.js'

const storage = {
  provide: CounterStorage,
  useFactory: (clock: Clock) => new CounterStorage(clock),
  inject: [Clock],
}

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
  providers: [RateLimiter],
  exports: [RateLimiter, ThrottlerModule],
})
export class ThrottlingModule {}
