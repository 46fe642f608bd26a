import { Injectable } from '@nestjs/common'
import {
  AgentApprovalsService,
  type OwnApproval,
  type Unrelated,
} from '../approvals/agent-approvals.service.js'
import { readRequest } from '../core/policy/request.js'
import { type FieldError, Problem } from '../core/problems.js'
import type { AgentPrincipal } from '../platform/access/principal.js'
import type { AccessTaskAnswer } from './access-requests.dto.js'
import { isObject, readEvaluation } from './evaluation.js'

type Body = Readonly<Record<string, unknown>>

const MAX_TEXT = 2000

/** AuthZEN's Access Request and Approval Profile over approvals: a task is the approval that an evaluation asked for. */
@Injectable()
export class AccessRequestsService {
  constructor(private readonly approvals: AgentApprovalsService) {}

  /**
   * The task of an evaluation that a person must decide about. The evaluation itself has asked them, so submitting
   * twice gives the same task.
   * @throws Problem `bad_request` for what cannot be read, `forbidden` for another subject, `invalid_denial_binding`
   * for an evaluation that is not this agent's or not about this request, `not_requestable` for one that no person can
   * change, `expired_denial` when its time is over
   */
  async submit(principal: AgentPrincipal, body: Body): Promise<OwnApproval> {
    assertServed(body)
    const evaluation_id = evaluationOf(body)
    const question = readEvaluation(body, principal.agent_id)
    if (!question.ok) {
      const { code, errors } = question.errors
      if (code === 'forbidden') throw new Problem('forbidden', { detail: errors[0]?.message ?? '', errors })
      throw new Problem('bad_request', { errors })
    }
    const request = readRequest(question.value)
    if (!request.ok) throw new Problem('bad_request', { errors: request.errors })
    const found = await this.approvals.askedBy(principal, evaluation_id, request.value)
    if (!found.ok) throw unrelated(found.errors)
    if (found.value.status === 'expired') {
      throw new Problem('expired_denial', {
        detail: 'Nobody decided in time. Evaluate again, and submit that.',
      })
    }
    return found.value
  }

  /** @throws Problem as `AgentApprovalsService.get` */
  get(principal: AgentPrincipal, task_id: string): Promise<OwnApproval> {
    return this.approvals.get(principal, task_id)
  }

  /** @throws Problem as `AgentApprovalsService.withdraw`, and `bad_request` for a reason that is no text */
  cancel(principal: AgentPrincipal, task_id: string, { reason, comment }: Body): Promise<OwnApproval> {
    const said = [textOf('reason', reason), textOf('comment', comment)].filter((text) => text !== null)
    return this.approvals.withdraw(principal, task_id, said.length === 0 ? null : said.join(': '))
  }
}

/** As the profile writes it. `base`: where these endpoints are. */
export function taskOf(approval: OwnApproval, base: string): AccessTaskAnswer {
  const { approval_id: id, status, ends_at, decided_at, reason, usable_until } = approval
  const status_endpoint = `${base}/access/v1/requests/${id}`
  const links = status === 'pending' ? { cancel: `${status_endpoint}/cancel` } : {}
  const task = { id, status, status_endpoint, expires_at: ends_at.toISOString(), links }
  if (status === 'pending') return { task }
  const said = reason === null ? {} : { reason }
  if (status !== 'approved' || !decided_at || !usable_until) return { task, result: said }
  const approved = { id, approved_at: decided_at.toISOString(), approved_until: usable_until.toISOString() }
  return { task, result: { mode: 'reevaluate', approval: approved, ...said } }
}

/** What is left out is said: a caller that relies on it would wait for ever, or believe in what was not asked for. */
function assertServed(body: Body): void {
  if (body.items !== undefined) {
    throw bad('items', 'are not served: submit each request by itself')
  }
  if (body.callback !== undefined) {
    throw bad('callback', 'is not served: poll status_endpoint, or register a webhook for approval events')
  }
}

function evaluationOf({ denial }: Body): string {
  if (!isObject(denial)) throw bad('denial', 'is required, a JSON object')
  const { evaluation_id } = denial
  if (typeof evaluation_id === 'string' && evaluation_id !== '') return evaluation_id
  throw bad('denial.evaluation_id', 'is required: the context.evaluation_id of the answer')
}

function textOf(path: string, value: unknown): string | null {
  if (value === undefined || value === null || value === '') return null
  if (typeof value === 'string' && value.length <= MAX_TEXT && !/\p{Cc}/u.test(value.replace(/[\n\t]/g, '')))
    return value
  throw bad(path, `must be text of at most ${MAX_TEXT} characters`)
}

function unrelated(why: Unrelated): Problem {
  switch (why) {
    case 'unknown':
      return new Problem('invalid_denial_binding', {
        detail: 'denial.evaluation_id names no evaluation of this agent.',
      })
    case 'other_request':
      return new Problem('invalid_denial_binding', {
        detail: 'Subject, action, resource and context must be those of the evaluation.',
      })
    case 'not_asked':
      return new Problem('not_requestable', {
        detail: 'No person can change that decision: a policy denies it.',
      })
  }
}

const bad = (path: string, message: string): Problem => {
  const errors: FieldError[] = [{ path, message }]
  return new Problem('bad_request', { detail: `${path}: ${message}`, errors })
}
