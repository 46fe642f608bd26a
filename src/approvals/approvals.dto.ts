import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { Type } from 'class-transformer'
import { IsIn, IsInt, IsObject, IsString, Max, Min, ValidateNested } from 'class-validator'
import { APPROVAL_STATUSES } from '../core/approvals/transition.js'
import { RISK_LEVELS, type RiskLevel } from '../core/risk.js'
import { Conditions } from '../policies/policies.dto.js'
import { Optional, QueryInt, Text } from '../platform/http/fields.js'

/** Which approvals are wanted; newest first. */
export class ListApprovals {
  @Optional()
  @IsIn(APPROVAL_STATUSES, { message: `must be one of ${APPROVAL_STATUSES.join(', ')}` })
  @ApiPropertyOptional({ enum: APPROVAL_STATUSES })
  status?: (typeof APPROVAL_STATUSES)[number]

  @Optional()
  @IsString({ message: 'must be a string' })
  @ApiPropertyOptional({ type: String })
  agent_id?: string

  /** How many to answer with. */
  @QueryInt({ min: 1, max: 500, default: 100 })
  limit?: number

  /** How many to leave out from the beginning. */
  @QueryInt({ min: 0, max: 2_147_483_647, default: 0 })
  offset?: number
}

/** More than the one request that waits, granted deliberately to the same agent. Read narrowly, as an allow rule is. */
export class WiderGrant {
  /**
   * @example "read:*"
   */
  @Text(1, 256)
  action: string

  /**
   * Absent: any resource.
   * @example "s3://reports/*"
   */
  @Optional()
  @Text(1, 2048)
  resource?: string

  /** How long it holds after the last approval. At most what the workflow allows. */
  @IsInt({ message: 'must be a whole number' })
  @Min(1, { message: 'must be at least 1' })
  @Max(2_592_000, { message: 'must be at most 2592000' })
  @ApiProperty({ type: 'integer', minimum: 1, maximum: 2_592_000 })
  seconds: number

  /** How often it can be used. At most what the workflow allows. */
  @IsInt({ message: 'must be a whole number' })
  @Min(1, { message: 'must be at least 1' })
  @Max(100_000, { message: 'must be at most 100000' })
  @ApiProperty({ type: 'integer', minimum: 1, maximum: 100_000 })
  uses: number
}

/** Why. */
export class DenyApproval {
  /** Told to the agent. Some workflows require it. */
  @Optional()
  @Text(1, 2000)
  @ApiPropertyOptional({ type: String, minLength: 1, maxLength: 2000 })
  reason?: string
}

/** Why, and how far. */
export class ApproveApproval extends DenyApproval {
  /** Absent: exactly the request that waits, once. All approvers of one request must grant the same. */
  @Optional()
  @IsObject({ message: 'must be a JSON object' })
  @ValidateNested()
  @Type(() => WiderGrant)
  @ApiPropertyOptional({ type: WiderGrant })
  grant?: WiderGrant
}

/** Why. */
export class RevokeApproval {
  /** Told to the agent. */
  @Optional()
  @Text(1, 2000)
  @ApiPropertyOptional({ type: String, minLength: 1, maxLength: 2000 })
  reason?: string
}

/** One vote. */
export class ApprovalVote {
  /** Who stands behind the credentials: `member:…`, `key:…` or `root`. */
  person: string
  @ApiProperty({ enum: ['approve', 'deny'] })
  vote: 'approve' | 'deny'
  /** The credentials: a member, an administrator key, or `root`. */
  by: string
  @ApiProperty({ type: String, nullable: true })
  reason: string | null
  at: Date
}

/** What is wider than the request. */
export class ApprovalScope {
  action: string
  @ApiProperty({ type: String, nullable: true })
  resource: string | null
}

/** What an approved request may be done with. */
export class ApprovalGrant {
  /** Null: exactly the request that was approved. Otherwise approvers deliberately granted all that these match. */
  @ApiProperty({ type: ApprovalScope, nullable: true })
  scope: ApprovalScope | null
  @ApiProperty({ type: 'integer' })
  uses: number
  @ApiProperty({ type: 'integer' })
  used: number
  expires_at: Date
}

/** A rule that asked people, as it stood in the policy version from which the decision was made. */
export class AskingRule {
  /**
   * Whose policy it is: `organization`, `team` or `agent`.
   * @example "agent"
   */
  scope: string
  policy_id: string
  @ApiProperty({ type: 'integer' })
  version: number
  @ApiProperty({ enum: ['require_approval'] })
  list: 'require_approval'
  /** Its place in that list of that version, from 0. */
  @ApiProperty({ type: 'integer' })
  index: number
  /** As a pattern, like `resource`. */
  action: string
  /** Null: anything. */
  @ApiProperty({ type: String, nullable: true })
  resource: string | null
  /** Null: `standard`. */
  @ApiProperty({ type: String, nullable: true })
  workflow: string | null
  /** When it applies, also by what the request carries. Null: always, or they are left out. */
  @ApiProperty({ type: Conditions, nullable: true })
  conditions: Conditions | null
  /** Whether it has conditions that are too long to be shown here (8,192 characters). The policy version has them. */
  conditions_left_out: boolean
}

/** A request that waits for people, or that they have decided about. */
export class Approval {
  /** @example "apr_3q2-7wQcVh1oT0aB" */
  approval_id: string

  @ApiProperty({ enum: APPROVAL_STATUSES })
  status: (typeof APPROVAL_STATUSES)[number]

  agent_id: string

  environment: string

  /** The agent's team. */
  team: string

  /** As it was sent. */
  action: string

  @ApiProperty({ type: String, nullable: true })
  resource: string | null

  /** Why people must decide. */
  reason: string

  /** The rule that asked, the one `reason` names. Null: the log no longer keeps the decision. */
  @ApiProperty({ type: AskingRule, nullable: true })
  rule: AskingRule | null

  /** The decision that waits. Its log entry has this id. */
  @ApiProperty({ format: 'uuid' })
  decision_id: string

  /** By which people decide, the strictest first. */
  @ApiProperty({ type: [String] })
  workflows: readonly string[]

  /** Of the agent when it asked; null: nobody had rated it. */
  @ApiProperty({ type: String, enum: RISK_LEVELS, nullable: true })
  risk_level: RiskLevel | null

  /** From 1. */
  @ApiProperty({ type: 'integer' })
  level: number

  /** How many levels there are. */
  @ApiProperty({ type: 'integer' })
  levels: number

  /** How many different people must approve. */
  @ApiProperty({ type: 'integer' })
  approvals_needed: number

  reason_required: boolean

  @ApiProperty({ type: [ApprovalVote] })
  votes: readonly ApprovalVote[]

  created_at: Date

  /** When the time of this level is over; what then happens is the workflow's. */
  expires_at: Date

  @ApiProperty({ type: String, nullable: true })
  decision_reason: string | null

  /** The last approver, who denied or who cancelled: a member, an administrator key, `root` or `system`. */
  @ApiProperty({ type: String, nullable: true })
  decision_by: string | null

  @ApiProperty({ type: Date, nullable: true })
  decision_at: Date | null

  /** Null unless it was approved. Of a cancelled one: what was taken back. */
  @ApiProperty({ type: ApprovalGrant, nullable: true })
  grant: ApprovalGrant | null
}

/** People who may decide: who has one of the roles and, where teams are named, is held to one of them or to none. */
export class ApprovalGroup {
  /** An owner counts as an admin. */
  @ApiProperty({ type: [String] })
  roles: readonly string[]
  /** Empty: any team. */
  @ApiProperty({ type: [String] })
  teams: readonly string[]
}

/** Who may decide at one level. */
export class ApprovalLevel {
  /** One and the same person satisfies all of these. */
  @ApiProperty({ type: [ApprovalGroup] })
  who: readonly ApprovalGroup[]
  @ApiProperty({ type: 'integer' })
  time_limit_seconds: number
}

/** How far approvers may go beyond the request that waits. */
export class ApprovalWidestGrant {
  @ApiProperty({ type: 'integer' })
  seconds: number
  @ApiProperty({ type: 'integer' })
  uses: number
}

/** By which rules an approval is decided: those of its workflows when it was asked for, the strictest of each. */
export class ApprovalTerms {
  /** In order: when the time of one is over, the next begins. */
  @ApiProperty({ type: [ApprovalLevel] })
  levels: readonly ApprovalLevel[]
  /** Otherwise as many denials end it as approvals are needed. */
  first_denial_ends: boolean
  /** What happens after the last level. `approve` only where the organization still allows it. */
  @ApiProperty({ enum: ['deny', 'approve'] })
  on_timeout: 'deny' | 'approve'
  /** Whether who made the agent or the key that asked may decide. */
  creator_may_decide: boolean
  /** How long what is approved can be used. */
  @ApiProperty({ type: 'integer' })
  grant_seconds: number
  /** Null: nothing but the one request can be granted. */
  @ApiProperty({ type: ApprovalWidestGrant, nullable: true })
  widest_grant: ApprovalWidestGrant | null
}

/** An approval with all that the agent sent. */
export class ApprovalRequest extends Approval {
  terms: ApprovalTerms

  @ApiProperty({ type: 'object', additionalProperties: true, nullable: true })
  arguments: object | null

  @ApiProperty({ type: 'object', additionalProperties: true, nullable: true })
  context: object | null

  /** What else asked for the same, at most 9: an approval is for all of them. */
  @ApiProperty({ type: [AskingRule] })
  other_rules: readonly AskingRule[]

  /** Whether arguments and context have been erased. Then nobody can decide, and nothing can be used. */
  redacted: boolean
}

/** Approvals, newest first. */
export class ApprovalList {
  @ApiProperty({ type: [Approval] })
  items: Approval[]

  /** How many there are of those that were asked for. */
  @ApiProperty({ type: 'integer' })
  total: number

  /** How many are pending, of any agent that the caller may see. */
  @ApiProperty({ type: 'integer' })
  pending_count: number
}

/** One thing that happened to an approval. */
export class ApprovalHistoryEvent {
  /** `requested`, `voted`, `escalated`, `approved`, `denied`, `expired`, `cancelled`, `revoked`, `used` or `refused`. */
  event: string
  actor_kind: string
  actor: string
  /** Of a vote: who stands behind the credentials. */
  @ApiProperty({ type: String, nullable: true })
  person: string | null
  @ApiProperty({ type: String, enum: ['approve', 'deny'], nullable: true })
  vote: string | null
  @ApiProperty({ type: String, nullable: true })
  reason: string | null
  @ApiProperty({ type: 'integer' })
  level: number
  /** The decision that asked, used it or was refused. */
  @ApiProperty({ type: String, format: 'uuid', nullable: true })
  decision_id: string | null
  at: Date
}

/** What an agent may know of its own approval (row AG-83). */
export class ApprovalState {
  approval_id: string
  @ApiProperty({ enum: APPROVAL_STATUSES })
  status: (typeof APPROVAL_STATUSES)[number]
  @ApiProperty({ type: String, nullable: true })
  decision_reason: string | null
  @ApiProperty({ type: String, nullable: true })
  decision_by: string | null
  @ApiProperty({ type: Date, nullable: true })
  decision_at: Date | null
  /** While it is pending: when the present level ends. Approved: until when it can be used. Otherwise null. */
  @ApiProperty({ type: Date, nullable: true })
  expires_at: Date | null
  /** Of an approved one. */
  @ApiProperty({ type: 'integer', nullable: true })
  uses_left: number | null
}

/** How long to wait for a decision. */
export class WaitQuery {
  /** Seconds, such as `30s` or `30`: the answer comes as soon as it is decided, at the latest then. At most 30. */
  @Optional()
  @IsString({ message: 'must be seconds, such as 30s' })
  @ApiPropertyOptional({ type: String, example: '30s' })
  wait?: string
}
