import type { CreateOrganization, UpdateOrganization } from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** The tenants of an installation; its operator's. */
export class Organizations extends Resource {
  create(body: CreateOrganization, options?: RequestOptions) {
    return this.call('post', '/v1/organizations', { body }, options)
  }
  list(query?: QueryOf<'get', '/v1/organizations'>, options?: RequestOptions) {
    return this.pages('/v1/organizations', { query }, options)
  }
  get(org_id: string, options?: RequestOptions) {
    return this.call('get', '/v1/organizations/{org_id}', { params: { org_id } }, options)
  }
  update(org_id: string, body: UpdateOrganization, options?: RequestOptions) {
    return this.call('patch', '/v1/organizations/{org_id}', { params: { org_id }, body }, options)
  }
}
