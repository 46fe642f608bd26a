import type { PolicyDocument, RollbackPolicy } from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** Rules for every agent of a team. */
export class TeamPolicies extends Resource {
  /** Replaces a policy as a whole and makes a new version of it. */
  put(team: string, body: PolicyDocument, options?: RequestOptions) {
    return this.call('put', '/v1/teams/{team}/policy', { params: { team }, body }, options)
  }
  /** Gets the current policy, with its version as `ETag`. */
  get(team: string, options?: RequestOptions) {
    return this.call('get', '/v1/teams/{team}/policy', { params: { team } }, options)
  }
  /** Lists the versions of a policy, newest first, without their rules. */
  listVersions(
    team: string,
    query?: QueryOf<'get', '/v1/teams/{team}/policy/versions'>,
    options?: RequestOptions,
  ) {
    return this.pages('/v1/teams/{team}/policy/versions', { params: { team }, query }, options)
  }
  /** Gets one version of a policy with its rules. */
  getVersion(team: string, version: string, options?: RequestOptions) {
    return this.call(
      'get',
      '/v1/teams/{team}/policy/versions/{version}',
      { params: { team, version } },
      options,
    )
  }
  /** Makes a new version of a policy with the content of an old one. */
  rollback(team: string, body: RollbackPolicy, options?: RequestOptions) {
    return this.call('post', '/v1/teams/{team}/policy/rollback', { params: { team }, body }, options)
  }
}
