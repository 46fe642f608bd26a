import type { CreateRole, ReplaceRole } from '../generated/openapi.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** What administrators may do: the built-in roles and an organization's own. */
export class Roles extends Resource {
  create(body: CreateRole, options?: RequestOptions) {
    return this.call('post', '/v1/roles', { body }, options)
  }
  list(options?: RequestOptions) {
    return this.pages('/v1/roles', {}, options)
  }
  get(role: string, options?: RequestOptions) {
    return this.call('get', '/v1/roles/{role}', { params: { role } }, options)
  }
  replace(role: string, body: ReplaceRole, options?: RequestOptions) {
    return this.call('put', '/v1/roles/{role}', { params: { role }, body }, options)
  }
  async delete(role: string, options?: RequestOptions): Promise<void> {
    await this.call('delete', '/v1/roles/{role}', { params: { role } }, options)
  }
}
