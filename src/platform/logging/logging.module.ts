import { Global, Module } from '@nestjs/common'
import { LoggerModule } from 'nestjs-pino'
import type { DestinationStream } from 'pino'
import { Settings } from '../config/settings.js'
import { logDestination, logOptions } from './log-options.js'
import { AppLogger } from './app-logger.js'
import { RequestLog } from './request-log.js'

/** Where log lines go; a test overrides it to read them. */
export const LOG_DESTINATION = Symbol('LOG_DESTINATION')

const destination = { provide: LOG_DESTINATION, useFactory: logDestination, inject: [Settings] }

@Module({ providers: [destination], exports: [LOG_DESTINATION] })
class DestinationModule {}

/**
 * JSON logs. nestjs-pino gives every line written while a request is answered its `request_id`; the line about the
 * request itself is `RequestLog`'s, because a guard's refusal and the fast lane must appear in it too.
 */
@Global()
@Module({
  imports: [
    LoggerModule.forRootAsync({
      imports: [DestinationModule],
      inject: [Settings, LOG_DESTINATION],
      useFactory: (settings: Settings, stream: DestinationStream) => ({
        renameContext: 'logger',
        pinoHttp: {
          ...logOptions(settings),
          stream,
          autoLogging: false,
          quietReqLogger: true,
          customAttributeKeys: { reqId: 'request_id' },
        },
      }),
    }),
  ],
  providers: [RequestLog, AppLogger],
  exports: [RequestLog, AppLogger],
})
export class LoggingModule {}
