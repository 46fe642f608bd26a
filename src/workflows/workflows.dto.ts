import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { Type } from 'class-transformer'
import { IsBoolean, IsObject, ValidateNested } from 'class-validator'
import { RISK_LEVELS, type RiskLevel } from '../core/risk.js'
import { Optional, WholeField, WorkflowNameField } from '../platform/http/fields.js'

/*
 * The classes of a workflow describe it for OpenAPI only. What is valid is decided by one reader, `readWorkflow` of
 * `core`, which names every mistake with its path.
 */

/** Who may decide while an approval is at this level, and how long it stays there. */
export class WorkflowLevel {
  /**
   * Roles, built-in or the organization's own; one of them is enough. An owner may decide wherever an admin may.
   * @example ["approver", "admin"]
   */
  @ApiProperty({ type: [String] })
  roles: readonly string[]

  /** Only administrators of one of these teams, or of the whole organization. Empty or absent: any. */
  @ApiPropertyOptional({ type: [String], default: [] })
  teams?: readonly string[]

  /** Seconds, at most 30 days. When they are over, the next level begins; after the last comes `on_timeout`. */
  @ApiProperty({ type: 'integer', minimum: 1, maximum: 2_592_000, example: 3600 })
  time_limit_seconds: number
}

/** How far beyond the one request that waits approvers may go. */
export class WidestGrant {
  /** Seconds, at most 30 days. */
  @ApiProperty({ type: 'integer', minimum: 1, maximum: 2_592_000 })
  seconds: number

  @ApiProperty({ type: 'integer', minimum: 1, maximum: 100_000 })
  uses: number
}

/** How people decide about the requests of the rules that name it. */
export class WorkflowDocument {
  /** 1 to 10, in order. */
  @ApiProperty({ type: [WorkflowLevel] })
  levels: readonly WorkflowLevel[]

  /** How many different people must approve. */
  @ApiPropertyOptional({ type: 'integer', minimum: 1, maximum: 20, default: 1 })
  approvals?: number

  @ApiPropertyOptional({ type: Boolean, default: false })
  reason_required?: boolean

  /** Otherwise it takes as many denials as approvals. */
  @ApiPropertyOptional({ type: Boolean, default: true })
  first_denial_ends?: boolean

  /** What waiting too long means. `approve` needs the organization's opt-in, and `critical` never has it. */
  @ApiPropertyOptional({ enum: ['deny', 'approve'], default: 'deny' })
  on_timeout?: 'deny' | 'approve'

  /**
   * Agents of this risk and above begin at the second level: those of the first do not decide about them. Null: none
   * does.
   */
  @ApiPropertyOptional({ enum: RISK_LEVELS, nullable: true, default: null })
  escalate_at_risk?: RiskLevel | null

  /** Whether who made the agent, or the key that asked, may approve. */
  @ApiPropertyOptional({ type: Boolean, default: true })
  creator_may_decide?: boolean

  /** For how long an approval can be used after it was given. */
  @ApiPropertyOptional({ type: 'integer', minimum: 1, maximum: 2_592_000, default: 3600 })
  grant_seconds?: number

  /** Null: approvers can grant nothing but the one request that waits, once. */
  @ApiPropertyOptional({ type: WidestGrant, nullable: true, default: null })
  widest_grant?: WidestGrant | null
}

/** A workflow of the organization. */
export class Workflow {
  /** @example "high-risk" */
  name: string

  /** Counts the organization's changes; 0 is the workflow as it was shipped. */
  @ApiProperty({ type: 'integer' })
  version: number

  @ApiProperty({ type: [WorkflowLevel] })
  levels: readonly WorkflowLevel[]

  @ApiProperty({ type: 'integer' })
  approvals: number

  reason_required: boolean

  first_denial_ends: boolean

  @ApiProperty({ enum: ['deny', 'approve'] })
  on_timeout: 'deny' | 'approve'

  @ApiProperty({ type: String, enum: RISK_LEVELS, nullable: true })
  escalate_at_risk: RiskLevel | null

  creator_may_decide: boolean

  @ApiProperty({ type: 'integer' })
  grant_seconds: number

  @ApiProperty({ type: WidestGrant, nullable: true })
  widest_grant: WidestGrant | null

  /** Null while it is as shipped. */
  @ApiProperty({ type: Date, nullable: true })
  updated_at: Date | null
}

const ApiWorkflowName = () => ApiProperty({ type: String, nullable: true })

/**
 * The workflow that agents of each risk wait for besides those that rules name: of all of them the strictest counts in
 * each respect, so it can only make waiting stricter. Null: none.
 */
export class RiskWorkflows {
  /** Of agents that nobody has rated. */
  @ApiWorkflowName()
  unrated: string | null

  @ApiWorkflowName()
  low: string | null

  @ApiWorkflowName()
  medium: string | null

  /** @example "high-risk" */
  @ApiWorkflowName()
  high: string | null

  /** @example "critical" */
  @ApiWorkflowName()
  critical: string | null
}

/** Which of them to change; what is left out stays. */
export class ChangedRiskWorkflows {
  /** Of agents that nobody has rated. */
  @WorkflowNameField()
  unrated?: string | null

  @WorkflowNameField()
  low?: string | null

  @WorkflowNameField()
  medium?: string | null

  /** @example "high-risk" */
  @WorkflowNameField()
  high?: string | null

  /** @example "critical" */
  @WorkflowNameField()
  critical?: string | null
}

/** What the organization has settled about asking people. */
export class ApprovalSettings {
  /** Whether workflows may say `on_timeout: approve`. `critical` never can. */
  approve_on_timeout: boolean

  /** How many requests of one agent may wait for people at once; one more is denied (`approval_limit`). */
  @ApiProperty({ type: 'integer' })
  max_waiting_per_agent: number

  /** How many requests of all agents may wait for people at once. */
  @ApiProperty({ type: 'integer' })
  max_waiting: number

  risk_workflows: RiskWorkflows
}

/** What to change; what is left out stays. */
export class PutApprovalSettings {
  /** Whether workflows may say `on_timeout: approve`. `critical` never can. */
  @Optional()
  @IsBoolean({ message: 'must be true or false' })
  approve_on_timeout?: boolean

  /**
   * How many requests of one agent may wait for people at once; one more is denied (`approval_limit`). What waits already
   * waits on.
   * @example 100
   */
  @WholeField({ min: 1, max: 10_000 })
  max_waiting_per_agent?: number

  /**
   * How many requests of all agents may wait for people at once.
   * @example 10000
   */
  @WholeField({ min: 1, max: 100_000 })
  max_waiting?: number

  /** Which workflow agents of each risk wait for besides those that rules name. */
  @Optional()
  @IsObject({ message: 'must be a JSON object' })
  @ValidateNested()
  @Type(() => ChangedRiskWorkflows)
  risk_workflows?: ChangedRiskWorkflows
}
