import type { PutNotifications } from '../generated/openapi.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** Telling people by mail and chat. */
export class Notifications extends Resource {
  /** Says who is told of what, by e-mail and chat. */
  get(options?: RequestOptions) {
    return this.call('get', '/v1/organization/notifications', {}, options)
  }
  /** Replaces who is told of what. */
  put(body: PutNotifications, options?: RequestOptions) {
    return this.call('put', '/v1/organization/notifications', { body }, options)
  }
}
