import { Injectable } from '@nestjs/common'
import { AgentApprovalsService, type OwnApproval } from '../approvals/agent-approvals.service.js'
import { uuidTime } from '../core/ids.js'
import { Problem } from '../core/problems.js'
import type { Result } from '../core/result.js'
import { type EnforceAnswer, type EnforceDto, MAX_BATCH } from '../enforce/enforce.dto.js'
import { EnforceService } from '../enforce/enforce.service.js'
import type { AgentPrincipal } from '../platform/access/principal.js'
import { type AuthzenDecision, SEMANTICS, type Semantic } from './authzen.dto.js'
import { inWords, isObject, problemOf, readEvaluation, type Refusal, withDefaults } from './evaluation.js'

type Body = Readonly<Record<string, unknown>>
type Question = Result<EnforceDto, Refusal>

/** Several evaluations, read. */
export interface Questions {
  readonly semantic: Semantic
  readonly items: readonly Question[]
}

/** OpenID AuthZEN over `EnforceService`: the same decisions, records, approvals and kill switches. */
@Injectable()
export class AuthzenService {
  constructor(
    private readonly enforce: EnforceService,
    private readonly approvals: AgentApprovalsService,
  ) {}

  /** @throws Problem for what cannot be read, `forbidden` for another subject, and what `EnforceService` throws */
  async evaluate(principal: AgentPrincipal, body: Body): Promise<AuthzenDecision> {
    const question = readEvaluation(body, principal.agent_id)
    if (!question.ok) throw problemOf(question.errors)
    return this.decide(principal, question.value)
  }

  /**
   * @returns null for a request without evaluations, which is a single one
   * @throws Problem for what is wrong with the request as a whole
   */
  read(principal: AgentPrincipal, body: Body): Questions | null {
    const { evaluations = [] } = body
    if (!Array.isArray(evaluations)) throw invalid('evaluations', 'must be a list')
    const semantic = semanticOf(body.options)
    if (evaluations.length === 0) return null
    if (evaluations.length > MAX_BATCH) throw invalid('evaluations', `must be at most ${MAX_BATCH}`)
    const items = evaluations.map((item: unknown, at) => {
      if (!isObject(item)) throw invalid(`evaluations[${at}]`, 'must be a JSON object')
      return readEvaluation(withDefaults(item, body), principal.agent_id)
    })
    return { semantic, items }
  }

  /** Decides them all from one configuration in one commit, or one by one until the first deny or permit. */
  evaluateAll(principal: AgentPrincipal, { semantic, items }: Questions): Promise<AuthzenDecision[]> {
    switch (semantic) {
      case 'execute_all':
        return this.together(principal, items)
      case 'deny_on_first_deny':
        return this.until(principal, items, false)
      case 'permit_on_first_permit':
        return this.until(principal, items, true)
    }
  }

  private async together(principal: AgentPrincipal, items: readonly Question[]): Promise<AuthzenDecision[]> {
    const requests = items.flatMap((item) => (item.ok ? [item.value] : []))
    const answers = requests.length === 0 ? [] : await this.enforce.enforceBatch(principal, requests)
    const decisions = await this.decisionsOf(principal, requests, answers)
    let at = 0
    return items.map((item) => {
      if (!item.ok) return refused(item.errors)
      const decision = decisions[at++]
      if (!decision) throw new Error('an evaluation has no answer')
      return decision
    })
  }

  private async decide(principal: AgentPrincipal, request: EnforceDto): Promise<AuthzenDecision> {
    const answer = await this.enforce.enforce(principal, request)
    const [decision] = await this.decisionsOf(principal, [request], [answer])
    if (!decision) throw new Error('an evaluation has no answer')
    return decision
  }

  /** With what the Access Request and Approval Profile wants of those that people must decide about. */
  private async decisionsOf(
    principal: AgentPrincipal,
    requests: readonly EnforceDto[],
    answers: readonly EnforceAnswer[],
  ): Promise<AuthzenDecision[]> {
    const ids = answers.flatMap(({ status, approval_id: id }) => (status === 'pending' && id ? [id] : []))
    const waiting = await this.approvals.byId(principal, ids)
    return answers.map((answer, at) => {
      const approval = waiting.get(answer.approval_id ?? '')
      return decisionOf(answer, approval, requests[at]?.approval_id !== undefined)
    })
  }

  /** What comes after the one that ends it is not evaluated, and so not recorded. */
  private async until(
    principal: AgentPrincipal,
    items: readonly Question[],
    end: boolean,
  ): Promise<AuthzenDecision[]> {
    const decisions: AuthzenDecision[] = []
    for (const item of items) {
      const decision = item.ok ? await this.decide(principal, item.value) : refused(item.errors)
      decisions.push(decision)
      if (decision.decision === end) break
    }
    return decisions
  }
}

function semanticOf(options: unknown): Semantic {
  if (options === undefined) return 'execute_all'
  if (!isObject(options)) throw invalid('options', 'must be a JSON object')
  const { evaluations_semantic: wanted = 'execute_all' } = options
  const semantic = SEMANTICS.find((known) => known === wanted)
  // Taking another one for the default would evaluate what the caller wanted left alone.
  if (!semantic) throw invalid('options.evaluations_semantic', `must be one of ${SEMANTICS.join(', ')}`)
  return semantic
}

const invalid = (path: string, message: string): Problem =>
  new Problem('validation_failed', { errors: [{ path, message }] })

const decisionOf = (
  answer: EnforceAnswer,
  approval: OwnApproval | undefined,
  named: boolean,
): AuthzenDecision => ({
  decision: answer.allowed,
  context: {
    status: answer.status,
    reason: answer.reason,
    code: answer.code,
    decision_id: answer.decision_id,
    log: answer.log,
    ...(answer.approval_id !== undefined && { approval_id: answer.approval_id }),
    ...(approval && {
      evaluation_id: answer.decision_id,
      evaluated_at: new Date(uuidTime(answer.decision_id)).toISOString(),
      access_request: { expires_at: approval.ends_at.toISOString() },
    }),
    ...nextOf(answer, named),
  },
})

/** Who has an approval that people still decide about asks again later; nobody can change a deny. */
function nextOf(
  { status, code }: EnforceAnswer,
  named: boolean,
): Pick<AuthzenDecision['context'], 'next_action'> {
  if (status === 'pending') return { next_action: named ? 'retry' : 'request' }
  // An approval that is of no help says itself, in `code`, what to do.
  return status === 'allowed' || code.startsWith('approval_') ? {} : { next_action: 'none' }
}

const refused = ({ code, errors }: Refusal): AuthzenDecision => ({
  decision: false,
  context: { error: { status: code === 'forbidden' ? 403 : 400, message: errors.map(inWords).join('; ') } },
})
