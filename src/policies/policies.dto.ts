import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { IsInt, Max, Min } from 'class-validator'

/*
 * The classes of a policy document describe it for OpenAPI only. What is valid is decided by one reader, the policy
 * compiler of `core`, which names every mistake with its path.
 */

/** A span of the day, both minutes included. A start later than the end runs over midnight. */
export class TimeRange {
  /** @example "22:00" */
  start: string

  /** @example "06:00" */
  end: string

  /**
   * IANA time zone. Absent: UTC.
   * @example "Europe/Berlin"
   */
  tz?: string
}

const SCALARS = [
  { type: 'string' },
  { type: 'number' },
  { type: 'boolean' },
  { type: 'string', nullable: true, enum: [null] },
]
const VALUES = [...SCALARS, { type: 'array', items: { oneOf: SCALARS } }]
const TESTS = [
  ...VALUES,
  {
    type: 'object',
    additionalProperties: false,
    properties: {
      in: { oneOf: VALUES },
      not_in: { oneOf: VALUES },
      min: { type: 'number' },
      max: { type: 'number' },
    },
  },
]

/** When a rule applies. All given parts must hold. */
export class Conditions {
  /** The agent's environment is this one, or one of these. */
  @ApiPropertyOptional({
    oneOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }],
    example: ['dev', 'stage'],
  })
  env?: string | string[]

  time_range?: TimeRange

  /** Full names or three letters, any case; in the zone of `time_range`, UTC without one. */
  @ApiPropertyOptional({
    oneOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }],
    example: ['Monday', 'Tue'],
  })
  day_of_week?: string | string[]

  /**
   * What the request must carry: JSON Pointers (RFC 6901) to members of `arguments` or `context`, and what must be true
   * there: one value, one of a list, or `in`, `not_in`, `min`, `max`. An allow rule holds only if it is sure that all
   * do, the others unless it is sure that one does not (docs/policies.md). At most 16.
   */
  @ApiPropertyOptional({
    type: 'object',
    additionalProperties: { oneOf: TESTS },
    example: { '/arguments/amount': { max: 1000 }, '/context/tenant': ['acme', 'globex'] },
  })
  request?: Record<string, unknown>
}

/** One rule. Kept as typed and read in any of its spellings. */
export class Rule {
  /**
   * What is done, as a pattern.
   * @example "read:*"
   */
  action: string

  /**
   * What it is done to, as a pattern. Absent, null, empty or `*`: anything.
   * @example "s3://reports/*"
   */
  @ApiPropertyOptional({ type: String, nullable: true })
  resource?: string | null

  conditions?: Conditions
}

/** A rule that asks people. */
export class ApprovalRule extends Rule {
  /**
   * The name of the workflow by which people decide. Absent: `standard`.
   * @example "critical"
   */
  @ApiPropertyOptional({ type: String })
  workflow?: string
}

/**
 * What agents may do: a deny wins over a required approval, that over an allow, and what nothing allows is denied.
 * At most 10,000 rules.
 */
export class PolicyDocument {
  /** Allowed, unless a rule of another list matches. Absent: nothing. */
  @ApiPropertyOptional({ type: [Rule], default: [] })
  allow?: readonly Rule[]

  /** Denied, whatever else matches. */
  @ApiPropertyOptional({ type: [Rule], default: [] })
  deny?: readonly Rule[]

  /** A person must decide, unless it is denied. */
  @ApiPropertyOptional({ type: [ApprovalRule], default: [] })
  require_approval?: readonly ApprovalRule[]

  /**
   * Patterns of actions that only the service decides, never an agent by itself (local decisions). `*`: all. Absent:
   * none. At most 1,000.
   * @example ["send:*"]
   */
  @ApiPropertyOptional({ type: [String], default: [], maxItems: 1000 })
  require_online?: readonly string[]
}

/** The version to go back to. */
export class RollbackPolicy {
  /** @example 1 */
  @ApiProperty({ type: 'integer' })
  @IsInt({ message: 'must be a whole number' })
  @Min(1, { message: 'must be at least 1' })
  @Max(2_147_483_647, { message: 'must be at most 2147483647' })
  version: number
}

const SCOPES = ['agent', 'team', 'organization'] as const

/** What every view of a policy begins with. */
class PolicyContent {
  /** Whose policy it is. All that apply to an agent are joined: a deny or a required approval in any of them wins. */
  @ApiProperty({ enum: SCOPES })
  scope: (typeof SCOPES)[number]

  /**
   * Null unless it is an agent's.
   * @example "agt_3q2-7wQcVh1oT0aB"
   */
  @ApiProperty({ type: String, nullable: true })
  agent_id: string | null

  /** Null unless it is a team's. */
  @ApiProperty({ type: String, nullable: true })
  team: string | null

  /** @example "pol_3q2-7wQcVh1oT0aB" */
  policy_id: string

  /**
   * Counts from 1 without gaps; every change makes a new one. Also the `ETag`.
   * @example 3
   */
  @ApiProperty({ type: 'integer' })
  version: number

  /** SHA-256, in hex, of the lists below in canonical JSON (RFC 8785). Entries of the log name it. */
  sha256: string

  @ApiProperty({ type: [Rule] })
  allow: readonly Rule[]

  @ApiProperty({ type: [Rule] })
  deny: readonly Rule[]

  @ApiProperty({ type: [ApprovalRule] })
  require_approval: readonly ApprovalRule[]

  /** What only the service decides; absent when that is nothing. */
  @ApiPropertyOptional({ type: [String] })
  require_online?: readonly string[]
}

/** The rules of an agent, a team or the organization as they are now. */
export class Policy extends PolicyContent {
  /** When the first version was made. */
  created_at: Date

  /** When this version was made. */
  updated_at: Date
}

/** One version of a policy. It never changes. */
export class PolicyVersion extends PolicyContent {
  /** The version whose content this one repeats, if it was made by a rollback. */
  @ApiProperty({ type: 'integer', nullable: true })
  rollback_of: number | null

  created_at: Date

  /** The administrator key that made it, or `root`. */
  created_by: string
}

/** How many rules the lists of a version have. */
export class RuleCounts {
  @ApiProperty({ type: 'integer' })
  allow: number

  @ApiProperty({ type: 'integer' })
  deny: number

  @ApiProperty({ type: 'integer' })
  require_approval: number
}

/** One version of a policy without its rules. */
export class PolicyVersionSummary {
  /** @example 3 */
  @ApiProperty({ type: 'integer' })
  version: number

  /** SHA-256, in hex, of the rules in canonical JSON. */
  sha256: string

  rules: RuleCounts

  /** The version whose content this one repeats, if it was made by a rollback. */
  @ApiProperty({ type: 'integer', nullable: true })
  rollback_of: number | null

  created_at: Date

  /** The administrator key that made it, or `root`. */
  created_by: string
}
