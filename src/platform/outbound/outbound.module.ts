import { Global, Module } from '@nestjs/common'
import { Outbound } from './outbound.service.js'

/** Requests that leave this service for a place that a tenant named. */
@Global()
@Module({ providers: [Outbound], exports: [Outbound] })
export class OutboundModule {}
