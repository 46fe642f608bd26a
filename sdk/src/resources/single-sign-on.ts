import type { PutSingleSignOn } from '../generated/openapi.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** An organization's own OpenID provider. */
export class SingleSignOn extends Resource {
  /** Gets the connection to the organization's identity provider, without its secret. */
  get(options?: RequestOptions) {
    return this.call('get', '/v1/organization/single-sign-on', {}, options)
  }
  /** Sets up or changes how people sign in through the organization's identity provider (OpenID Connect). */
  put(body: PutSingleSignOn, options?: RequestOptions) {
    return this.call('put', '/v1/organization/single-sign-on', { body }, options)
  }
  /** Ends single sign-on. Sessions go on; people who never had a password need an invitation. */
  async delete(options?: RequestOptions): Promise<void> {
    await this.call('delete', '/v1/organization/single-sign-on', {}, options)
  }
}
