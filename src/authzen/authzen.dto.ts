import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'

/**
 * The wire format of the OpenID AuthZEN Authorization API 1.0. These classes document it; `evaluation.ts` reads it,
 * because the standard wants unknown members ignored, and mistakes of one evaluation answered within that evaluation.
 */
const FREE = { type: 'object', additionalProperties: true } as const

/** How several evaluations are gone through; the first is the default. */
export const SEMANTICS = ['execute_all', 'deny_on_first_deny', 'permit_on_first_permit'] as const
export type Semantic = (typeof SEMANTICS)[number]

/** Who does it. */
export class AuthzenSubject {
  /** Recorded, and part of what an approval is bound to. */
  @ApiProperty({ type: String, example: 'agent' })
  type: string
  /** The id of the agent whose key asks. */
  @ApiProperty({ type: String, example: 'agt_3q2-7wQcVh1oT0aB' })
  id: string
  @ApiPropertyOptional(FREE)
  properties?: Record<string, unknown>
}

/** What is done. */
export class AuthzenAction {
  /** The `action` of `POST /enforce`. */
  @ApiProperty({ type: String, example: 'tools/call' })
  name: string
  @ApiPropertyOptional(FREE)
  properties?: Record<string, unknown>
}

/** What it is done to. */
export class AuthzenResource {
  /** Recorded, and part of what an approval is bound to; rules match `id` alone. */
  @ApiProperty({ type: String, example: 'tool' })
  type: string
  /** The `resource` of `POST /enforce`. */
  @ApiProperty({ type: String, example: 'send_email' })
  id: string
  @ApiPropertyOptional(FREE)
  properties?: Record<string, unknown>
}

/** One question. Members that the standard does not know are ignored. */
export class AccessEvaluation {
  @ApiProperty({ type: AuthzenSubject })
  subject: AuthzenSubject
  @ApiProperty({ type: AuthzenAction })
  action: AuthzenAction
  @ApiProperty({ type: AuthzenResource })
  resource: AuthzenResource
  /** `context.approval`, from an approved access request, names the approval to use up. */
  @ApiPropertyOptional(FREE)
  context?: Record<string, unknown>
}

/** Members that one evaluation leaves out are taken from the request. */
export class AccessEvaluationItem {
  @ApiPropertyOptional({ type: AuthzenSubject })
  subject?: AuthzenSubject
  @ApiPropertyOptional({ type: AuthzenAction })
  action?: AuthzenAction
  @ApiPropertyOptional({ type: AuthzenResource })
  resource?: AuthzenResource
  @ApiPropertyOptional(FREE)
  context?: Record<string, unknown>
}

export class AccessEvaluationsOptions {
  @ApiPropertyOptional({ enum: SEMANTICS, default: 'execute_all' })
  evaluations_semantic?: Semantic
}

/** Several questions, with what they have in common beside them. */
export class AccessEvaluations extends AccessEvaluationItem {
  /** At most 100. Without any, the request is one evaluation and is answered as one. */
  @ApiPropertyOptional({ type: [AccessEvaluationItem], maxItems: 100 })
  evaluations?: AccessEvaluationItem[]
  @ApiPropertyOptional({ type: AccessEvaluationsOptions })
  options?: AccessEvaluationsOptions
}

/** Why one evaluation of several could not be decided. */
export class AuthzenError {
  /** As the status of a response: 400 for what cannot be read, 403 for another subject. */
  @ApiProperty({ type: 'integer', example: 400 })
  status: number
  @ApiProperty({ type: String })
  message: string
}

/** That people can be asked for what was refused. */
export class RequestableAccess {
  /** Until when. */
  @ApiProperty({ type: String, format: 'date-time' })
  expires_at: string
}

/** What is known about a decision; the members of `POST /enforce`. */
export class AuthzenDecisionContext {
  @ApiPropertyOptional({ enum: ['allowed', 'denied', 'pending'] })
  status?: 'allowed' | 'denied' | 'pending'
  /** For people; may be reworded. */
  @ApiPropertyOptional({ type: String })
  reason?: string
  /** For programs, from a closed list. */
  @ApiPropertyOptional({ type: String, example: 'allow_rule' })
  code?: string
  /** The id of the log entry. */
  @ApiPropertyOptional({ type: String, format: 'uuid' })
  decision_id?: string
  /** Where the entry stands in the organization's log: `{"index": 7}`. */
  @ApiPropertyOptional({ type: 'object', properties: { index: { type: 'integer' } }, required: ['index'] })
  log?: { index: number }
  /** The approval that is waited for, or that allowed it. */
  @ApiPropertyOptional({ type: String })
  approval_id?: string
  /** Of a pending one: what `denial.evaluation_id` of an access request names. */
  @ApiPropertyOptional({ type: String, format: 'uuid' })
  evaluation_id?: string
  @ApiPropertyOptional({ type: String, format: 'date-time' })
  evaluated_at?: string
  /** Of a pending one: people can be asked (`POST /access/v1/requests`). */
  @ApiPropertyOptional({ type: RequestableAccess })
  access_request?: RequestableAccess
  /** What to do after a no: submit an access request, ask again later, or nothing. */
  @ApiPropertyOptional({ enum: ['request', 'retry', 'none'] })
  next_action?: 'request' | 'retry' | 'none'
  /** Instead of all others: nothing was decided, and nothing recorded. */
  @ApiPropertyOptional({ type: AuthzenError })
  error?: AuthzenError
}

/** The answer to one evaluation. */
export class AuthzenDecision {
  /** Only `true` allows. A `pending` decision is `false`. */
  @ApiProperty({ type: Boolean })
  decision: boolean
  @ApiProperty({ type: AuthzenDecisionContext })
  context: AuthzenDecisionContext
}

/** The answers in the order of the evaluations; a semantic that ends early leaves out the rest. */
export class AuthzenDecisions {
  @ApiProperty({ type: [AuthzenDecision] })
  evaluations: AuthzenDecision[]
}

/** Where the endpoints are (AuthZEN 1.0, Policy Decision Point Metadata). */
export class AuthzenConfiguration {
  @ApiProperty({ type: String, format: 'uri', example: 'https://agentguard.example.com' })
  policy_decision_point: string
  @ApiProperty({ type: String, format: 'uri' })
  access_evaluation_endpoint: string
  @ApiProperty({ type: String, format: 'uri' })
  access_evaluations_endpoint: string
  /** Access Request and Approval Profile, Draft 1. */
  @ApiProperty({ type: String, format: 'uri' })
  access_request_endpoint: string
  /** URNs of profiles that are served. */
  @ApiProperty({ type: [String] })
  capabilities: string[]
}
