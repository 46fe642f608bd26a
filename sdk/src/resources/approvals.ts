import type {
  ApproveApproval,
  DenyApproval,
  PutApprovalSettings,
  RevokeApproval,
} from '../generated/openapi.js'
import type { QueryOf } from '../operations.js'
import { type RequestOptions, unreadable } from '../transport.js'
import type { ApprovalState } from '../types.js'
import { readJson, Resource } from './resource.js'

/** What waits for a person. */
export class Approvals extends Resource {
  /** Where an approval stands, for the agent that asked. */
  async state(approval_id: string, options: RequestOptions = {}): Promise<ApprovalState> {
    const path = `/v1/enforce/approval/${encodeURIComponent(approval_id)}`
    const read = async (response: Response, request_id: string): Promise<ApprovalState> => {
      const state = (await readJson(response)) as ApprovalState | undefined
      // The answer of another request must not approve this one.
      if (state?.approval_id !== approval_id) throw unreadable('The answer is not this approval.', request_id)
      return state
    }
    return (await this.transport.send({ method: 'GET', path, speaker: 'agent' }, options, read)).value
  }

  /** Lists what waits for people and what they have decided, newest first. */
  list(query?: QueryOf<'get', '/v1/approvals'>, options?: RequestOptions) {
    return this.call('get', '/v1/approvals', { query }, options)
  }
  /** Gets the exact request that waits, with its arguments and context. */
  get(approval_id: string, options?: RequestOptions) {
    return this.call('get', '/v1/approvals/{approval_id}', { params: { approval_id } }, options)
  }
  /** Everything that happened to it, oldest first. */
  history(approval_id: string, options?: RequestOptions) {
    return this.pages('/v1/approvals/{approval_id}/history', { params: { approval_id } }, options)
  }
  /** Says yes. When enough different people have, the agent may do exactly that, once, until the grant expires. */
  approve(approval_id: string, body: ApproveApproval, options?: RequestOptions) {
    return this.call(
      'post',
      '/v1/approvals/{approval_id}/approve',
      { params: { approval_id }, body },
      options,
    )
  }
  /** Says no. The first one ends it, unless the workflow says otherwise. */
  deny(approval_id: string, body: DenyApproval, options?: RequestOptions) {
    return this.call('post', '/v1/approvals/{approval_id}/deny', { params: { approval_id }, body }, options)
  }
  /** Takes back what was granted, before it is used or between its uses. */
  revoke(approval_id: string, body: RevokeApproval = {}, options?: RequestOptions) {
    return this.call('post', '/v1/approvals/{approval_id}/revoke', { params: { approval_id }, body }, options)
  }
  /** Cancels a request that waits. */
  async cancel(approval_id: string, options?: RequestOptions): Promise<void> {
    await this.call('delete', '/v1/approvals/{approval_id}', { params: { approval_id } }, options)
  }
  /** Whether mere waiting may approve, and which workflow the risk of an agent adds. */
  getSettings(options?: RequestOptions) {
    return this.call('get', '/v1/approvals/settings', {}, options)
  }
  /** Changes how approvals are asked for; what is left out stays. */
  putSettings(body: PutApprovalSettings, options?: RequestOptions) {
    return this.call('put', '/v1/approvals/settings', { body }, options)
  }
}
