import { Body, Controller, Get, Put } from '@nestjs/common'
import { ApiTags } from '@nestjs/swagger'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { Notifications, PutNotifications } from './notifications.dto.js'
import { NotificationsService } from './notifications.service.js'

@ApiTags('notifications')
@Controller('organization/notifications')
export class NotificationsController {
  constructor(private readonly notifications: NotificationsService) {}

  /** Says who is told of what, by e-mail and chat. */
  @Get()
  @Access('organization:read')
  get(@By() principal: Principal): Promise<Notifications> {
    return this.notifications.get(principal)
  }

  /**
   * Replaces who is told of what.
   * @remarks Messages carry a link to the exact request. The link decides nothing: deciding needs a signed-in approver.
   */
  @Put()
  @Access('organization:write')
  put(@By() principal: Principal, @Body() body: PutNotifications): Promise<Notifications> {
    return this.notifications.put(principal, body)
  }
}
