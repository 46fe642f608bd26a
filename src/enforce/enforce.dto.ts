import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { IsString } from 'class-validator'
import { CoreText, FreeForm, ListOf, Optional } from '../platform/http/fields.js'

/** What an agent asks: may I do this? */
export class EnforceDto {
  /**
   * A verb and words, in any spelling: `read file`, `read:file`, `ReadFile`. At most 256 characters.
   * @example "read:file"
   */
  @IsString({ message: 'must be a string' })
  action: string

  /**
   * What it is done to; a path, URL or name of at most 2,048 characters.
   * @example "s3://docs/report.pdf"
   */
  @CoreText(2048)
  resource?: string

  /** The arguments of the call, kept encrypted beside the log entry. With `context` at most 64 KiB. */
  @Optional()
  @FreeForm()
  arguments?: Record<string, unknown>

  /** Anything else worth recording; kept encrypted beside the log entry. */
  @Optional()
  @FreeForm()
  context?: Record<string, unknown>

  /**
   * An approval that was given for this very request, or for requests like it: from the answer that said `pending`.
   * Used up by an answer of `allowed`.
   * @example "apr_3q2-7wQcVh1oT0aB"
   */
  @CoreText(128)
  approval_id?: string
}

/** Items of one batch, at most. */
export const MAX_BATCH = 100

/** Several requests, answered together. */
export class EnforceBatchDto {
  /** Each as in `POST /enforce`. */
  @ListOf(() => EnforceDto, { min: 1, max: MAX_BATCH })
  requests: EnforceDto[]
}

/** The rule that decided, as it was typed. */
export class MatchedRule {
  /** Whose policy it stands in. */
  @ApiProperty({ enum: ['organization', 'team', 'agent'] })
  scope: string
  /** Id of the policy. */
  id: string
  /** Version of the policy. */
  version: number
  @ApiProperty({ enum: ['allow', 'deny', 'require_approval'] })
  list: string
  /** Position in its list, from 0. */
  index: number
  action: string
  @ApiProperty({ type: String, nullable: true })
  resource: string | null
}

/** Where the decision stands in the organization's log. */
export class LogPosition {
  /** Dense, from 0. */
  index: number
}

/** The answer, given after its log entry is on disk. */
export class EnforceAnswer {
  allowed: boolean
  @ApiProperty({ enum: ['allowed', 'denied', 'pending'] })
  status: 'allowed' | 'denied' | 'pending'
  /** For people; may be reworded. */
  reason: string
  /** For programs, from a closed list. */
  @ApiProperty({ example: 'allow_rule' })
  code: string
  /** The id of the log entry. */
  @ApiProperty({ format: 'uuid' })
  decision_id: string
  @ApiProperty({ type: MatchedRule, nullable: true })
  matched_rule: MatchedRule | null
  /** Version of the policy that decided; null without one. */
  @ApiProperty({ type: 'integer', nullable: true })
  policy_version: number | null
  /** The approval that is waited for, or that allowed it. */
  @ApiPropertyOptional({ type: String })
  approval_id?: string
  log: LogPosition

  /**
   * Only with `Prefer: receipt`: the proof that the decision's entry is in the signed log, a C2SP tlog-proof with the
   * entry inside; `agentguard verify --receipt` checks it. Null when no checkpoint covered the entry within 2 seconds.
   */
  @ApiPropertyOptional({ type: String, nullable: true })
  receipt?: string | null

  /** Only with `Prefer: receipt`: where the proof is, now or as soon as there is a checkpoint. */
  @ApiPropertyOptional()
  receipt_url?: string
}

/** The answers to a batch, given after all its log entries are on disk. */
export class EnforceBatchAnswer {
  /** In the order of the requests; `log.index` counts up by one. */
  @ApiProperty({ type: [EnforceAnswer] })
  results: EnforceAnswer[]
}
