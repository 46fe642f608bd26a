import type { CreateKey, RotateKey } from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** The secrets of an agent. */
export class Keys extends Resource {
  /** One more key: `api_key` is in this answer and nowhere else, ever. */
  create(agent_id: string, body: CreateKey = {}, options?: RequestOptions) {
    return this.call('post', '/v1/agents/{agent_id}/keys', { params: { agent_id }, body }, options)
  }
  /** All keys of an agent, without their secrets. */
  list(agent_id: string, query?: QueryOf<'get', '/v1/agents/{agent_id}/keys'>, options?: RequestOptions) {
    return this.pages('/v1/agents/{agent_id}/keys', { params: { agent_id }, query }, options)
  }
  /** A new key for an old one, which still works for `overlap_seconds`. */
  rotate(agent_id: string, key_id: string, body: RotateKey = {}, options?: RequestOptions) {
    const params = { agent_id, key_id }
    return this.call('post', '/v1/agents/{agent_id}/keys/{key_id}/rotate', { params, body }, options)
  }
  /** At once and for good. */
  async revoke(agent_id: string, key_id: string, options?: RequestOptions): Promise<void> {
    const params = { agent_id, key_id }
    await this.call('delete', '/v1/agents/{agent_id}/keys/{key_id}', { params }, options)
  }
}
