import { Body, Controller, Delete, Get, HttpCode, Param, Patch, Post, Query, Res } from '@nestjs/common'
import { ApiTags } from '@nestjs/swagger'
import type { Response } from 'express'
import { Access } from '../platform/access/access.decorator.js'
import { By, type Principal } from '../platform/access/principal.js'
import { ApiPage, Page, sendPage } from '../platform/http/page.dto.js'
import { ReplayService } from './replay.service.js'
import {
  CreateWebhook,
  ListDeliveries,
  ReplayedWebhook,
  ReplayWebhook,
  RotateWebhookSecret,
  TestedWebhook,
  UpdateWebhook,
  Webhook,
  WebhookDelivery,
  WebhookWithSecret,
} from './webhooks.dto.js'
import { WebhooksService } from './webhooks.service.js'

@ApiTags('webhooks')
@Controller('webhooks')
export class WebhooksController {
  constructor(
    private readonly webhooks: WebhooksService,
    private readonly replays: ReplayService,
  ) {}

  /**
   * Makes a webhook: entries of the log that it asks for are sent to its URL from now on.
   * @remarks The answer is the only place where its secret ever appears.
   */
  @Post()
  @Access('webhooks:write')
  create(@By() principal: Principal, @Body() body: CreateWebhook): Promise<WebhookWithSecret> {
    return this.webhooks.create(principal, body)
  }

  /** Lists the organization's webhooks, oldest first, without secrets. */
  @Get()
  @Access('webhooks:read')
  @ApiPage(Webhook)
  async list(
    @By() principal: Principal,
    @Query() query: Page,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Webhook[]> {
    return sendPage(response, await this.webhooks.list(principal, query))
  }

  /** Gets one webhook. */
  @Get(':webhook_id')
  @Access('webhooks:read')
  get(@By() principal: Principal, @Param('webhook_id') webhook_id: string): Promise<Webhook> {
    return this.webhooks.get(principal, webhook_id)
  }

  /** Changes a webhook, or switches it off and on. */
  @Patch(':webhook_id')
  @Access('webhooks:write')
  update(
    @By() principal: Principal,
    @Param('webhook_id') webhook_id: string,
    @Body() body: UpdateWebhook,
  ): Promise<Webhook> {
    return this.webhooks.update(principal, webhook_id, body)
  }

  /** Deletes a webhook. What waits for it is not sent any more. */
  @Delete(':webhook_id')
  @Access('webhooks:write')
  @HttpCode(204)
  delete(@By() principal: Principal, @Param('webhook_id') webhook_id: string): Promise<void> {
    return this.webhooks.delete(principal, webhook_id)
  }

  /**
   * Makes a new signing secret; the old one goes on signing beside it for a while.
   * @remarks The answer is the only place where the new secret ever appears.
   */
  @Post(':webhook_id/rotate-secret')
  @Access('webhooks:write')
  @HttpCode(200)
  rotateSecret(
    @By() principal: Principal,
    @Param('webhook_id') webhook_id: string,
    @Body() body: RotateWebhookSecret,
  ): Promise<WebhookWithSecret> {
    return this.webhooks.rotateSecret(principal, webhook_id, body.overlap_hours)
  }

  /** Sends an event to this webhook alone. How it went is in its deliveries. */
  @Post(':webhook_id/test')
  @Access('webhooks:write')
  @HttpCode(202)
  test(@By() principal: Principal, @Param('webhook_id') webhook_id: string): Promise<TestedWebhook> {
    return this.webhooks.test(principal, webhook_id)
  }

  /** Lists what was and will be sent, newest entry first. Settled deliveries are kept for 30 days. */
  @Get(':webhook_id/deliveries')
  @Access('webhooks:read')
  @ApiPage(WebhookDelivery)
  async listDeliveries(
    @By() principal: Principal,
    @Param('webhook_id') webhook_id: string,
    @Query() query: ListDeliveries,
    @Res({ passthrough: true }) response: Response,
  ): Promise<WebhookDelivery[]> {
    return sendPage(response, await this.webhooks.listDeliveries(principal, webhook_id, query))
  }

  /** Sends again: some deliveries, or everything of a time that the webhook asks for, sent before or not. */
  @Post(':webhook_id/replay')
  @Access('webhooks:write')
  @HttpCode(202)
  replay(
    @By() principal: Principal,
    @Param('webhook_id') webhook_id: string,
    @Body() body: ReplayWebhook,
  ): Promise<ReplayedWebhook> {
    return this.replays.replay(principal, webhook_id, body)
  }
}
