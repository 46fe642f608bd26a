import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { Transform } from 'class-transformer'
import { IsBoolean, IsIn, IsString, IsUUID, Length, MaxLength } from 'class-validator'
import {
  CoreText,
  FreeForm,
  Instant,
  Optional,
  QueryBoolean,
  QueryInt,
  Text,
} from '../platform/http/fields.js'

export const RESULTS = ['success', 'error'] as const
/** Types of entries that can be asked for (ledger.md). */
export const TYPES = ['decision', 'action', 'config', 'approval', 'kill', 'redaction', 'epoch'] as const
export type ListedType = (typeof TYPES)[number]
export const ORIGINS = ['agent', 'service'] as const

/** What an agent says it did. */
export class ReportActionDto {
  /** As in `POST /enforce`. At most 256 characters. */
  @IsString({ message: 'must be a string' })
  @ApiProperty({ example: 'read:file' })
  action: string

  /** Whether the agent was allowed to do it, as the agent understood it. */
  @IsBoolean({ message: 'must be true or false' })
  allowed: boolean

  /** How it went. */
  @IsIn(RESULTS, { message: `must be one of ${RESULTS.join(', ')}` })
  @ApiProperty({ enum: RESULTS })
  result: (typeof RESULTS)[number]

  /** At most 2,048 characters. */
  @CoreText(2048)
  resource?: string

  /** Kept encrypted beside the entry. */
  @Optional()
  @FreeForm()
  context?: Record<string, unknown>

  /** Kept encrypted beside the entry. */
  @Optional()
  @FreeForm()
  metadata?: Record<string, unknown>

  /** The agent's own id of the request this belongs to, at most 128 characters; absent: this request's. */
  @Optional()
  @IsString({ message: 'must be a string' })
  @Length(1, 128, { message: 'must have 1 to 128 characters' })
  @ApiPropertyOptional({ type: String })
  request_id?: string

  /** The decision that allowed or denied it. Disagreement with `allowed` is recorded as a mismatch. */
  @Optional()
  @IsUUID('7', { message: 'must be the decision_id of an answer of POST /enforce' })
  @ApiPropertyOptional({ type: String, format: 'uuid' })
  decision_id?: string
}

/** Filters and paging of `GET /logs`. */
export class ListLogsQuery {
  /** Administrators: entries of one agent. An agent sees its own in any case. */
  @Optional()
  @Text(1, 64)
  @ApiPropertyOptional()
  agent_id?: string

  /** Any spelling of an action, or a pattern such as `read:*`, read as an allow rule is. */
  @Optional()
  @IsString({ message: 'must be a string' })
  @MaxLength(256, { message: 'must have at most 256 characters' })
  @ApiPropertyOptional({ type: String })
  action?: string

  @QueryBoolean()
  allowed?: boolean

  /** Entries at or after this time. */
  @Optional()
  @Instant()
  @ApiPropertyOptional({ type: String, format: 'date-time' })
  start_time?: Date

  /** Entries at or before this time. */
  @Optional()
  @Instant()
  @ApiPropertyOptional({ type: String, format: 'date-time' })
  end_time?: Date

  /** Comma list of `decision`, `action`, `config`, `approval`, `kill`, `redaction`, `epoch`. Default
   * `decision,action`, with `log_id` whatever may be read. `approval` needs `approvals:read`, `kill` needs `kill-switch:read`, the others
   * `config-logs:read`. */
  @Optional()
  @Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? value.split(',') : value))
  @IsIn(TYPES, { each: true, message: `must be a comma list of ${TYPES.join(', ')}` })
  @ApiPropertyOptional({ type: String, example: 'decision,action' })
  type?: ListedType[]

  /** One entry. The list is empty where there is none, or where its type may not be read. */
  @Optional()
  @IsUUID('7', { message: 'must be a log_id' })
  @ApiPropertyOptional({ type: String, format: 'uuid' })
  log_id?: string

  /** One decision and the reports that name it. */
  @Optional()
  @IsUUID('7', { message: 'must be a decision_id' })
  @ApiPropertyOptional({ type: String, format: 'uuid' })
  decision_id?: string

  @QueryInt({ min: 1, max: 1000, default: 100 })
  limit?: number

  /** At most 10,000; page further with `cursor`. */
  @QueryInt({ min: 0, max: 10_000, default: 0 })
  offset?: number

  /** From the `Link: rel="next"` of the page before: neither skips nor repeats while entries are added. */
  @Optional()
  @IsString({ message: 'must be the cursor of a Link header' })
  @ApiPropertyOptional({ type: String })
  cursor?: string
}

const anyObject = { type: 'object', additionalProperties: true, nullable: true } as const

/** One entry of the log. Members that its type does not have are null. */
export class LogEntry {
  @ApiProperty({ format: 'uuid' })
  log_id: string
  /** Position in the organization's log: dense, from 0. */
  index: number
  @ApiProperty({ enum: TYPES })
  type: string
  @ApiProperty({ example: 'decision.made' })
  event: string
  /** Who says so: the agent about itself, or this service. */
  @ApiProperty({ enum: ORIGINS })
  source: (typeof ORIGINS)[number]
  @ApiProperty({ type: String, nullable: true })
  agent_id: string | null
  @ApiProperty({ format: 'date-time' })
  timestamp: string
  @ApiProperty({ type: String, nullable: true })
  action: string | null
  @ApiProperty({ type: String, nullable: true })
  resource: string | null
  @ApiProperty(anyObject)
  arguments: object | null
  @ApiProperty(anyObject)
  context: object | null
  @ApiProperty({ type: Boolean, nullable: true })
  allowed: boolean | null
  @ApiProperty({ enum: RESULTS, nullable: true })
  result: string | null
  @ApiProperty(anyObject)
  metadata: object | null
  @ApiProperty({ type: String, nullable: true })
  request_id: string | null
  /** Of a decision: its own id; of a report: the decision it names. */
  @ApiProperty({ type: String, format: 'uuid', nullable: true })
  decision_id: string | null
  @ApiProperty({ enum: ['allowed', 'denied', 'pending'], nullable: true })
  status: string | null
  @ApiProperty({ type: String, nullable: true })
  code: string | null
  @ApiProperty({ type: String, nullable: true })
  reason: string | null
  /** A report whose `allowed` disagrees with the decision it names. */
  @ApiProperty({ type: Boolean, nullable: true })
  mismatch: boolean | null
  /** Who caused the entry, from their credentials. */
  @ApiProperty({ type: 'object', additionalProperties: true })
  actor: object
  /** What changed, was decided by a person, stopped, erased or begun anew: the member the entry's type is named for. */
  @ApiProperty(anyObject)
  change: object | null
  /** The thing before and after the change, without secrets. */
  @ApiProperty(anyObject)
  before: object | null
  @ApiProperty(anyObject)
  after: object | null
  /** True when the erasable part of the entry has been erased. */
  redacted: boolean
}
