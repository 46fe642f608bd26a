import type { PolicyDocument, RollbackPolicy } from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** What an agent may do. Every change makes a new version that never changes. */
export class Policies extends Resource {
  /**
   * Replaces the policy. With `headers: { 'If-Match': '"3"' }` only when version 3 is the present one.
   * @throws UnprocessableEntityError with every mistake at once, each with its path
   */
  put(agent_id: string, body: PolicyDocument, options?: RequestOptions) {
    return this.call('put', '/v1/agents/{agent_id}/policy', { params: { agent_id }, body }, options)
  }
  /** The present policy. @throws NotFoundError when there is none */
  get(agent_id: string, options?: RequestOptions) {
    return this.call('get', '/v1/agents/{agent_id}/policy', { params: { agent_id } }, options)
  }
  /** Newest first, without the rules. */
  listVersions(
    agent_id: string,
    query?: QueryOf<'get', '/v1/agents/{agent_id}/policy/versions'>,
    options?: RequestOptions,
  ) {
    return this.pages('/v1/agents/{agent_id}/policy/versions', { params: { agent_id }, query }, options)
  }
  /** One version with its rules. */
  getVersion(agent_id: string, version: number, options?: RequestOptions) {
    const params = { agent_id, version: String(version) }
    return this.call('get', '/v1/agents/{agent_id}/policy/versions/{version}', { params }, options)
  }
  /** Makes an earlier version the present one, as a new version. */
  rollback(agent_id: string, body: RollbackPolicy, options?: RequestOptions) {
    return this.call('post', '/v1/agents/{agent_id}/policy/rollback', { params: { agent_id }, body }, options)
  }
}
