import type { PolicyDocument, RollbackPolicy } from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** Rules for every agent of the organization. */
export class OrganizationPolicy extends Resource {
  /** Replaces a policy as a whole and makes a new version of it. */
  put(body: PolicyDocument, options?: RequestOptions) {
    return this.call('put', '/v1/organization/policy', { body }, options)
  }
  /** Gets the current policy, with its version as `ETag`. */
  get(options?: RequestOptions) {
    return this.call('get', '/v1/organization/policy', {}, options)
  }
  /** Lists the versions of a policy, newest first, without their rules. */
  listVersions(query?: QueryOf<'get', '/v1/organization/policy/versions'>, options?: RequestOptions) {
    return this.pages('/v1/organization/policy/versions', { query }, options)
  }
  /** Gets one version of a policy with its rules. */
  getVersion(version: string, options?: RequestOptions) {
    return this.call('get', '/v1/organization/policy/versions/{version}', { params: { version } }, options)
  }
  /** Makes a new version of a policy with the content of an old one. */
  rollback(body: RollbackPolicy, options?: RequestOptions) {
    return this.call('post', '/v1/organization/policy/rollback', { body }, options)
  }
}
