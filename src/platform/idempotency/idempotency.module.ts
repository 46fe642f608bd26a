import { Global, Module } from '@nestjs/common'
import { IdempotencyStore } from './idempotency.store.js'
import { PostgresIdempotencyStore } from './postgres-idempotency.store.js'

/** Where kept answers live. `HttpModule` places the interceptor, because it must come after the body is read. */
@Global()
@Module({
  providers: [{ provide: IdempotencyStore, useClass: PostgresIdempotencyStore }],
  exports: [IdempotencyStore],
})
export class IdempotencyModule {}
