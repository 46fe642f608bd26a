import { Module } from '@nestjs/common'
import { DeliveriesModule } from '../deliveries/deliveries.module.js'
import { LedgerModule } from '../ledger/ledger.module.js'
import { MailService } from './mail.service.js'
import { NotificationsChannel } from './notifications.channel.js'
import { NotificationsController } from './notifications.controller.js'
import { OperatorWebhookChannel } from './operator-webhook.channel.js'
import { NotificationsService } from './notifications.service.js'
import { ChatUrlService } from './chat-url.service.js'

/** Telling people of approvals, kills and other events. `MailService` sends any e-mail of this product. */
@Module({
  imports: [LedgerModule, DeliveriesModule],
  controllers: [NotificationsController],
  providers: [
    NotificationsService,
    NotificationsChannel,
    OperatorWebhookChannel,
    MailService,
    ChatUrlService,
  ],
  exports: [MailService],
})
export class NotificationsModule {}
