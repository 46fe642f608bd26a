import { Global, Module } from '@nestjs/common'
import { APP_FILTER, APP_INTERCEPTOR, APP_PIPE } from '@nestjs/core'
import { IdempotencyInterceptor } from '../idempotency/idempotency.interceptor.js'
import { DeadlineInterceptor } from './deadline.interceptor.js'
import { InputInterceptor } from './input.interceptor.js'
import { LaneExchanges } from './lane.exchanges.js'
import { ProblemFilter } from './problem.filter.js'
import { Shutdown } from './shutdown.js'
import { validationPipe } from './validation.js'

/**
 * What every route shares: strict input, problem documents, a deadline, idempotency. Guards (`AccessModule`) come
 * before all of it; the order of the interceptors is the order here, so that a fingerprint is made of a read body.
 */
@Global()
@Module({
  providers: [
    Shutdown,
    LaneExchanges,
    { provide: APP_FILTER, useClass: ProblemFilter },
    { provide: APP_INTERCEPTOR, useClass: DeadlineInterceptor },
    { provide: APP_INTERCEPTOR, useClass: InputInterceptor },
    { provide: APP_INTERCEPTOR, useClass: IdempotencyInterceptor },
    { provide: APP_PIPE, useFactory: validationPipe },
  ],
  exports: [Shutdown, LaneExchanges],
})
export class HttpModule {}
