import { Injectable, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common'
import { throwError, timeout, type Observable } from 'rxjs'
import { Problem } from '../../core/problems.js'
import { Settings } from '../config/settings.js'

/**
 * `REQUEST_TIMEOUT`: an answer that has not begun by then is a 503, so that a stuck dependency does not hold
 * connections for ever. Streams that have begun are not cut.
 */
@Injectable()
export class DeadlineInterceptor implements NestInterceptor {
  constructor(private readonly settings: Settings) {}

  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    const seconds = this.settings.request_timeout_s
    return next.handle().pipe(
      timeout({
        first: seconds * 1000,
        with: () => throwError(() => requestTimeout(seconds)),
      }),
    )
  }
}

export const requestTimeout = (seconds: number): Problem =>
  new Problem('request_timeout', { detail: `No answer within ${seconds} s. Try again.`, retry_after: 1 })
