import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { IsInt, Max, Min } from 'class-validator'
import { Instant, Optional } from '../platform/http/fields.js'

export const MAX_OVERLAP_S = 604_800
export const KEY_STATES = ['active', 'expired', 'revoked'] as const

/** A new key of an agent. */
export class CreateKey {
  /** From then on it does not authenticate. Absent: it does not expire. */
  @Optional()
  @Instant()
  expires_at?: Date
}

/** How to replace a key by a new one. */
export class RotateKey {
  /**
   * Seconds for which the old key still works, so that a running agent can be given the new one. 0 revokes it at
   * once; a week is the most. It never makes an old key live longer.
   * @example 3600
   */
  @Optional()
  @IsInt({ message: 'must be a whole number' })
  @Min(0, { message: 'must be at least 0' })
  @Max(MAX_OVERLAP_S, { message: `must be at most ${MAX_OVERLAP_S}` })
  @ApiPropertyOptional({ type: 'integer' })
  overlap_seconds?: number = 0

  /** When the new key expires. Absent: it does not, whatever the old one did. */
  @Optional()
  @Instant()
  expires_at?: Date
}

/** A secret of an agent, without the secret. */
export class Key {
  /** @example "key_3q2-7wQcVh1oT0aB" */
  key_id: string

  /** @example "agt_3q2-7wQcVh1oT0aB" */
  agent_id: string

  /**
   * How the key begins, to recognise it by. Never part of authentication.
   * @example "agk_0aB3xYz9"
   */
  key_prefix: string

  /** Whether it authenticates now, as long as its agent is active. */
  @ApiProperty({ enum: KEY_STATES })
  state: (typeof KEY_STATES)[number]

  /** Null: it does not expire. */
  expires_at: Date | null

  /** Null unless it was revoked. */
  revoked_at: Date | null

  /** The minute in which it was last used; null when it never was. */
  last_used_at: Date | null

  created_at: Date

  /** The administrator key that made it, or `root`. */
  created_by: string
}

/** A new key with its secret. */
export class CreatedKey extends Key {
  /**
   * The secret, for the header `X-AGENT-KEY`. Shown this once; only its hash is kept.
   * @example "agk_<43 characters and a checksum of 6>"
   */
  api_key: string
}
