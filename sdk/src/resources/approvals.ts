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
}
