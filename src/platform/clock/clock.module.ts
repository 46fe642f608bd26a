import { Global, Module } from '@nestjs/common'
import { Clock } from './clock.js'

/** The one source of time, for everybody. Tests override the provider. */
@Global()
@Module({ providers: [Clock], exports: [Clock] })
export class ClockModule {}
