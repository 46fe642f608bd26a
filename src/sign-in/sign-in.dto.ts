import { ApiProperty } from '@nestjs/swagger'
import { Member, Email } from '../members/members.dto.js'
import { Name, Optional, Text } from '../platform/http/fields.js'

/** Who wants to sign in. */
export class Login {
  @Email()
  email: string

  @Text(1, 256)
  password: string

  /**
   * The organization, for people who belong to several.
   * @example "org_default"
   */
  @Optional()
  @Name()
  organization?: string
}

/** A new password. Every other session of this person ends. */
export class ChangePassword {
  @Text(1, 256)
  current_password: string

  /** 12 to 256 characters, none of the usual ones; nothing is asked about digits and signs. */
  @Text(1, 256)
  new_password: string
}

/** The organization that somebody works in. */
export class OwnOrganization {
  /** @example "org_default" */
  org_id: string

  /** @example "Acme" */
  name: string
}

/** Who is asking, and what they may do. */
export class Me {
  /** What the credential is: a person's session, an administrator key, or the root key. */
  @ApiProperty({ enum: ['member', 'admin_key', 'root'] })
  kind: string

  organization: OwnOrganization

  /** The person; null for keys. */
  @ApiProperty({ type: Member, nullable: true })
  member: Member | null

  /** The session; null for keys. */
  session_id: string | null

  /** @example ["agents:read", "logs:read"] */
  permissions: string[]
}

/** A browser that is signed in. */
export class Session {
  /** @example "ses_3q2-7wQcVh1oT0aB" */
  session_id: string

  /** Whether it is the one that asks. */
  is_current: boolean

  @ApiProperty({ enum: ['password', 'single_sign_on'] })
  method: string

  /** Where it was begun from. */
  address: string

  /** What the browser called itself then. */
  user_agent: string

  created_at: Date

  /** To the minute. 30 minutes later it is over. */
  last_seen_at: Date

  /** 12 hours after it was begun: then it is over, however much it is used. */
  expires_at: Date
}
