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
    // Without a grant to use up, asking again only makes another entry in the log.
    const how = { speaker: 'agent', idempotent: request.approval_id !== undefined } as const
    const call = callOf('post', '/v1/enforce', { body: request }, how)
    const read = async (response: Response, request_id: string): Promise<Decision[]> => {
      const answer = await readJson(response)
      return this.accepted([answer], 1, response.status, request_id)
    }
    const [decision] = (await this.transport.send(call, options, read)).value
    return decision as Decision
  }

  /** The same for up to 100 requests at one moment. */
  async enforceBatch(requests: readonly EnforceRequest[], options: RequestOptions = {}): Promise<Decision[]> {
    const how = { speaker: 'agent', idempotent: false } as const
    const call = callOf('post', '/v1/enforce/batch', { body: { requests: [...requests] } }, how)
    const read = async (response: Response, request_id: string): Promise<Decision[]> => {
      const { results } = Object(await readJson(response)) as { results?: unknown }
      return this.accepted(results, requests.length, response.status, request_id)
    }
    return (await this.transport.send(call, options, read)).value
  }

  /** The answers, remembered at once: of two calls that get the same answer, one gets none. */
  private accepted(answers: unknown, count: number, status: number, request_id: string): Decision[] {
    if (status !== 200 || !Array.isArray(answers) || answers.length !== count || !answers.every(isDecision))
      throw unreadable('The answer is not a decision.', request_id)
    const ids = new Set(answers.map(({ decision_id }) => decision_id))
    if (ids.size !== count || [...ids].some((id) => this.#seen.has(id)))
      throw unreadable('The answer is that of another request.', request_id)
    for (const id of ids) this.#seen.add(id)
    for (const oldest of this.#seen) {
      if (this.#seen.size <= REMEMBERED) break
      this.#seen.delete(oldest)
    }
    return answers
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
