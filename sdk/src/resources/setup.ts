import type { SetUp } from '../generated/openapi.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** The first owner of an organization. */
export class Setup extends Resource {
  /** Makes a link with which the first owner of an organization sets it up. */
  createLink(options?: RequestOptions) {
    return this.call('post', '/v1/setup-links', {}, options)
  }
  /** Makes the first owner of an organization, with the token of a set-up link. */
  complete(body: SetUp, options?: RequestOptions) {
    return this.call('post', '/v1/setup', { body }, options)
  }
}
