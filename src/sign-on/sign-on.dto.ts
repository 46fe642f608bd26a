import { ApiProperty } from '@nestjs/swagger'
import { Type } from 'class-transformer'
import { ArrayMaxSize, IsArray, IsBoolean, ValidateNested } from 'class-validator'
import { Name, Optional, Text } from '../platform/http/fields.js'
import { RoleNames } from '../roles/roles.dto.js'

/** What the members of a group are. */
export class GroupRoles {
  /**
   * As the identity provider names the group.
   * @example "platform-team"
   */
  @Name()
  group: string

  @RoleNames()
  roles: string[]
}

/** How people sign in through the organization's identity provider. */
export class PutSingleSignOn {
  /**
   * The provider's issuer identifier; its `/.well-known/openid-configuration` is read.
   * @example "https://login.example.com"
   */
  @Text(1, 2048)
  issuer: string

  /** What the provider calls this service. */
  @Text(1, 512)
  client_id: string

  /** Never shown again. Needed at first and for another issuer or client; left out, the one that is kept stays. */
  @Optional()
  @Text(1, 1024)
  client_secret?: string

  /**
   * The claim that lists a person's groups.
   * @example "groups"
   */
  @Optional()
  @Name()
  group_claim?: string

  /** The roles of groups, given anew at every sign-in. Empty: groups say nothing, and roles are given here. */
  @Optional()
  @IsArray({ message: 'must be a list' })
  @ArrayMaxSize(200, { message: 'must have at most 200 entries' })
  @ValidateNested({ each: true })
  @Type(() => GroupRoles)
  @ApiProperty({ type: GroupRoles, isArray: true })
  group_roles?: GroupRoles[]

  /** What people are who are in none of these groups. Left out: nobody gets in without one of them. */
  @Optional()
  @RoleNames()
  default_roles?: string[]

  /**
   * Nobody signs in with a password any more, but `break_glass_member_id`. Sessions that began before go on until they
   * end.
   * @default false
   */
  @Optional()
  @IsBoolean({ message: 'must be true or false' })
  required?: boolean

  /**
   * An active owner with a password, who may still use it while `required`: for the day on which the provider fails.
   * Without one only the root key and administrator keys get in then.
   * @example "mem_8f2kqv0Zt1xYb3Lc"
   */
  @Optional()
  @Name()
  break_glass_member_id?: string
}

/** The connection to the organization's identity provider, without its secret. */
export class SingleSignOn {
  /** @example "https://login.example.com" */
  issuer: string

  client_id: string

  /** @example "groups" */
  group_claim: string

  group_roles: GroupRoles[]

  default_roles: string[]

  /** Passwords are refused, but the one of `break_glass_member_id`. */
  required: boolean

  /** Null: nobody's. */
  break_glass_member_id: string | null

  /** To be registered with the provider. Null: `PUBLIC_URL` is not set, and nobody can sign in this way. */
  redirect_uri: string | null

  updated_at: Date

  updated_by: string
}

/** Who wants to sign in through their organization's provider. */
export class StartSignOn {
  /** @example "org_default" */
  @Name()
  organization: string
}

/** What an identity provider sends a browser back with (RFC 6749 4.1.2, RFC 9207; the rest is what providers add). */
export class SignOnCallback {
  @Optional()
  @Text(0, 4096)
  code?: string

  @Optional()
  @Text(0, 512)
  state?: string

  @Optional()
  @Text(0, 2048)
  iss?: string

  @Optional()
  @Text(0, 512)
  error?: string

  @Optional()
  @Text(0, 4096)
  error_description?: string

  @Optional()
  @Text(0, 2048)
  error_uri?: string

  @Optional()
  @Text(0, 2048)
  session_state?: string

  @Optional()
  @Text(0, 4096)
  scope?: string

  @Optional()
  @Text(0, 64)
  authuser?: string

  @Optional()
  @Text(0, 64)
  prompt?: string

  @Optional()
  @Text(0, 255)
  hd?: string
}
