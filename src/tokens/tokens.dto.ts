import { ApiProperty } from '@nestjs/swagger'
import { IsBoolean, IsIn } from 'class-validator'
import { Optional, Text } from '../platform/http/fields.js'

const ALGS = ['EdDSA', 'RS256'] as const

/** What a token is made from: exactly one key. */
export class CreateToken {
  /** `agk_…`: a token for an agent. */
  @Optional()
  @Text(1, 256)
  agent_key?: string

  /** `adk_…` or the root key: a token for an administrator. */
  @Optional()
  @Text(1, 256)
  admin_key?: string

  /** How it is signed. RS256 for readers that cannot verify EdDSA. Default: `JWT_ALGORITHM`, which is EdDSA. */
  @Optional()
  @IsIn(ALGS, { message: `must be one of ${ALGS.join(', ')}` })
  @ApiProperty({ enum: ALGS, required: false })
  alg?: (typeof ALGS)[number]
}

/** A token, shown this once and stored nowhere. */
export class AccessToken {
  access_token: string

  /** @example "bearer" */
  token_type: string

  /** Seconds. */
  expires_in: number
}

export class RevokedToken {
  revoked: boolean
}

/** How the keys are rotated. */
export class RotateSigningKeys {
  /** Ends every token made so far at once: for a key that leaked. Default false: they live on until they expire. */
  @Optional()
  @IsBoolean({ message: 'must be true or false' })
  end_tokens?: boolean
}

/** A key that tokens are verified with. */
export class SigningKey {
  kid: string

  @ApiProperty({ enum: ALGS })
  alg: string

  created_at: Date

  /** Since when it signs nothing new; null: it signs. */
  @ApiProperty({ type: String, format: 'date-time', nullable: true })
  retired_at: Date | null

  /** From when on what it signed is not accepted. */
  @ApiProperty({ type: String, format: 'date-time', nullable: true })
  ends_at: Date | null
}
