import { Injectable } from '@nestjs/common'
import { Logger } from 'nestjs-pino'

/** What Nest tells about its own start: a hundred lines that say only that all is as it was written. */
const FRAMEWORK: ReadonlySet<unknown> = new Set([
  'NestFactory',
  'NestApplication',
  'InstanceLoader',
  'RoutesResolver',
  'RouterExplorer',
])

/** Nest's logger over pino, with the framework's start-up lines at level debug. */
@Injectable()
export class AppLogger extends Logger {
  override log(message: unknown, ...parameters: unknown[]): void {
    if (FRAMEWORK.has(parameters.at(-1))) super.debug(message, ...parameters)
    else super.log(message, ...parameters)
  }
}
