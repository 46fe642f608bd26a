import { type RequestOptions, unreadable } from '../transport.js'
import type { Decision, EnforceRequest } from '../types.js'
import { callOf, readJson, Resource } from './resource.js'

/** How many decisions are remembered to recognise an answer that is given a second time. */
const REMEMBERED = 10_000

/** `POST /enforce`. */
export class Decisions extends Resource {
  readonly #seen = new Set<string>()

  /**
   * Asks, and trusts nothing that is not exactly an answer: `allowed` must be a boolean that agrees with `status`, and
   * no decision is taken twice, so that an answer which a broken proxy repeats cannot allow another action.
   */
  async enforce(request: EnforceRequest, options: RequestOptions = {}): Promise<Decision> {
    const call = callOf(
      'post',
      '/v1/enforce',
      { body: request },
      // Without a grant to use up, asking again only makes another entry in the log.
      { speaker: 'agent', idempotent: request.approval_id !== undefined },
    )
    const read = async (response: Response, request_id: string): Promise<Decision> => {
      const answer = await readJson(response)
      if (response.status !== 200 || !isDecision(answer))
        throw unreadable('The answer is not a decision.', request_id)
      if (this.#seen.has(answer.decision_id))
        throw unreadable('The answer is that of an earlier request.', request_id)
      return answer
    }
    const { value } = await this.transport.send(call, options, read)
    this.#seen.add(value.decision_id)
    const [oldest] = this.#seen
    if (this.#seen.size > REMEMBERED && oldest !== undefined) this.#seen.delete(oldest)
    return value
  }
}

function isDecision(answer: unknown): answer is Decision {
  const { allowed, status, decision_id } = Object(answer) as Record<string, unknown>
  return (
    typeof allowed === 'boolean' &&
    (status === 'allowed' || status === 'denied' || status === 'pending') &&
    allowed === (status === 'allowed') &&
    typeof decision_id === 'string' &&
    decision_id !== ''
  )
}
