import { Module } from '@nestjs/common'
import { LedgerModule } from '../ledger/ledger.module.js'
import { Admission } from './admission.js'
import { EventsController } from './events.controller.js'
import { EventsService } from './events.service.js'
import { WebSocketService } from './websocket.service.js'

/** What is committed to the log, as it happens: server-sent events and a WebSocket. */
@Module({
  imports: [LedgerModule],
  controllers: [EventsController],
  providers: [EventsService, WebSocketService, Admission],
})
export class EventsModule {}
