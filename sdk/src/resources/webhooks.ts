import type {
  CreateWebhook,
  ReplayWebhook,
  RotateWebhookSecret,
  UpdateWebhook,
} from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** Entries of the log, sent to endpoints. */
export class Webhooks extends Resource {
  /** Makes a webhook: entries of the log that it asks for are sent to its URL from now on. */
  create(body: CreateWebhook, options?: RequestOptions) {
    return this.call('post', '/v1/webhooks', { body }, options)
  }
  /** Lists the organization's webhooks, oldest first, without secrets. */
  list(query?: QueryOf<'get', '/v1/webhooks'>, options?: RequestOptions) {
    return this.pages('/v1/webhooks', { query }, options)
  }
  /** Gets one webhook. */
  get(webhook_id: string, options?: RequestOptions) {
    return this.call('get', '/v1/webhooks/{webhook_id}', { params: { webhook_id } }, options)
  }
  /** Changes a webhook, or switches it off and on. */
  update(webhook_id: string, body: UpdateWebhook, options?: RequestOptions) {
    return this.call('patch', '/v1/webhooks/{webhook_id}', { params: { webhook_id }, body }, options)
  }
  /** Deletes a webhook. What waits for it is not sent any more. */
  async delete(webhook_id: string, options?: RequestOptions): Promise<void> {
    await this.call('delete', '/v1/webhooks/{webhook_id}', { params: { webhook_id } }, options)
  }
  /** Makes a new signing secret; the old one goes on signing beside it for a while. */
  rotateSecret(webhook_id: string, body: RotateWebhookSecret, options?: RequestOptions) {
    return this.call(
      'post',
      '/v1/webhooks/{webhook_id}/rotate-secret',
      { params: { webhook_id }, body },
      options,
    )
  }
  /** Sends an event to this webhook alone. How it went is in its deliveries. */
  test(webhook_id: string, options?: RequestOptions) {
    return this.call('post', '/v1/webhooks/{webhook_id}/test', { params: { webhook_id } }, options)
  }
  /** Lists what was and will be sent, newest entry first. Settled deliveries are kept for 30 days. */
  listDeliveries(
    webhook_id: string,
    query?: QueryOf<'get', '/v1/webhooks/{webhook_id}/deliveries'>,
    options?: RequestOptions,
  ) {
    return this.pages('/v1/webhooks/{webhook_id}/deliveries', { params: { webhook_id }, query }, options)
  }
  /** Sends again: some deliveries, or everything of a time that the webhook asks for, sent before or not. */
  replay(webhook_id: string, body: ReplayWebhook, options?: RequestOptions) {
    return this.call('post', '/v1/webhooks/{webhook_id}/replay', { params: { webhook_id }, body }, options)
  }
}
