import type { CreateAgent, LocalDecisionsDto, UpdateAgent } from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import type { RequestOptions } from '../transport.js'
import { Resource } from './resource.js'

/** The programs that ask. */
export class Agents extends Resource {
  /** Makes an agent and its first key: `api_key` is in this answer and nowhere else, ever. */
  create(body: CreateAgent, options?: RequestOptions) {
    return this.call('post', '/v1/agents', { body }, options)
  }
  /** Oldest first; only active ones unless `include_inactive`. */
  list(query?: QueryOf<'get', '/v1/agents'>, options?: RequestOptions) {
    return this.pages('/v1/agents', { query }, options)
  }
  /** One agent, also an inactive one. @throws NotFoundError */
  get(agent_id: string, options?: RequestOptions) {
    return this.call('get', '/v1/agents/{agent_id}', { params: { agent_id } }, options)
  }
  /** What the agent decides from by itself, to look at; `LocalGuard` uses it. */
  bundle(agent_id: string, options?: RequestOptions) {
    return this.call('get', '/v1/agents/{agent_id}/bundle', { params: { agent_id } }, options)
  }
  /** Enters decisions into the log that the agent made by itself; `LocalGuard` does. */
  recordDecisions(agent_id: string, body: LocalDecisionsDto, options?: RequestOptions) {
    const how = { speaker: 'agent', idempotent: false } as const
    return this.call('post', '/v1/agents/{agent_id}/decisions', { params: { agent_id }, body }, options, how)
  }
  /** Changes what is given; the rest stays. */
  update(agent_id: string, body: UpdateAgent, options?: RequestOptions) {
    return this.call('patch', '/v1/agents/{agent_id}', { params: { agent_id }, body }, options)
  }
  /** It becomes inactive and its keys are revoked for good; its log and policy history stay. */
  async delete(agent_id: string, options?: RequestOptions): Promise<void> {
    await this.call('delete', '/v1/agents/{agent_id}', { params: { agent_id } }, options)
  }
}
