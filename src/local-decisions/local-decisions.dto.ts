import { ApiProperty } from '@nestjs/swagger'
import { IsIn, IsInt, IsString, Matches, Max, Min } from 'class-validator'
import { CoreText, FreeForm, ListOf, Optional, Text } from '../platform/http/fields.js'

/** A policy document as the log keeps it. */
export class BundledPolicy {
  /** SHA-256, in hex, of `document`. */
  sha256: string

  /** Canonical JSON (RFC 8785). */
  document: string
}

/** What an agent decides from by itself. */
export class Bundle {
  /**
   * A compact JWS (RFC 7515) of type `agentguard-bundle+jws`, signed with a key of `/.well-known/jwks.json`: who the
   * agent is, the configuration versions, the digests of the policies that apply, the active kill switches, the log.
   */
  manifest: string

  /** The documents that the manifest's digests name: the agent's, its team's, the organization's. */
  policies: BundledPolicy[]
}

const LONGEST_MANIFEST = 256 * 1024

/** One decision that an agent made by itself. */
export class LocalDecisionDto {
  /** Its place in the spool. */
  @ApiProperty({ type: 'integer', minimum: 0 })
  @IsInt({ message: 'must be a whole number' })
  @Min(0, { message: 'must not be negative' })
  @Max(Number.MAX_SAFE_INTEGER, { message: 'is too large' })
  seq: number

  /** Milliseconds since 1970 by the service's clock, as the lease tells it; within the lease. */
  @ApiProperty({ type: 'integer' })
  @IsInt({ message: 'must be a whole number' })
  decided_at: number

  /** As in `POST /enforce`, like the next three. */
  @IsString({ message: 'must be a string' })
  action: string

  @CoreText(2048)
  resource?: string

  @Optional()
  @FreeForm()
  arguments?: Record<string, unknown>

  @Optional()
  @FreeForm()
  context?: Record<string, unknown>

  /** What was decided; nobody asks people by himself. */
  @IsIn(['allow', 'deny'], { message: 'must be allow or deny' })
  @ApiProperty({ enum: ['allow', 'deny'] })
  effect: 'allow' | 'deny'

  @Text(1, 64)
  code: string

  @Text(1, 16_384)
  reason: string
}

/** Decisions of one spool, made from one bundle under one lease. */
export class LocalDecisionsDto {
  /** The spool's own UUID. */
  @Matches(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/, { message: 'must be a UUID in lower case' })
  @ApiProperty({ type: String, format: 'uuid' })
  spool: string

  /** Of the bundle, as it was given. */
  @Text(1, LONGEST_MANIFEST)
  manifest: string

  /** The value of `AgentGuard-Lease` under which they were made. */
  @Text(1, 4096)
  lease: string

  @ListOf(() => LocalDecisionDto, { min: 1, max: 100 })
  decisions: LocalDecisionDto[]
}

/** A decision and its entry. */
export class RecordedDecision {
  @ApiProperty({ type: 'integer' })
  seq: number

  log_id: string

  /** Of the entry in the log. */
  @ApiProperty({ type: 'integer' })
  index: number

  /** Whether the service decides the same. */
  agrees: boolean
}

/** What of a batch was entered now. */
export class RecordedDecisions {
  /** The number of the spool's decision that comes next. */
  @ApiProperty({ type: 'integer' })
  next_seq: number

  /** Without those that the log had already. */
  recorded: RecordedDecision[]
}
