import { Module } from '@nestjs/common'
import { DeliveriesModule } from '../deliveries/deliveries.module.js'
import { LedgerModule } from '../ledger/ledger.module.js'
import { ReplayService } from './replay.service.js'
import { SecretsService } from './secrets.service.js'
import { WebhooksChannel } from './webhooks.channel.js'
import { WebhooksController } from './webhooks.controller.js'
import { WebhooksService } from './webhooks.service.js'

/** Endpoints of an organization that receive its events, signed. */
@Module({
  imports: [LedgerModule, DeliveriesModule],
  controllers: [WebhooksController],
  providers: [WebhooksService, SecretsService, WebhooksChannel, ReplayService],
  exports: [WebhooksService],
})
export class WebhooksModule {}
