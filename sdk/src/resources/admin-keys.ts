import type { CreateAdminKey } from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** Keys of administrators. */
export class AdminKeys extends Resource {
  /** `api_key` is in this answer and nowhere else, ever. */
  create(body: CreateAdminKey, options?: RequestOptions) {
    return this.call('post', '/v1/admin-keys', { body }, options)
  }
  list(query?: QueryOf<'get', '/v1/admin-keys'>, options?: RequestOptions) {
    return this.pages('/v1/admin-keys', { query }, options)
  }
  get(admin_id: string, options?: RequestOptions) {
    return this.call('get', '/v1/admin-keys/{admin_id}', { params: { admin_id } }, options)
  }
  async revoke(admin_id: string, options?: RequestOptions): Promise<void> {
    await this.call('delete', '/v1/admin-keys/{admin_id}', { params: { admin_id } }, options)
  }
}
