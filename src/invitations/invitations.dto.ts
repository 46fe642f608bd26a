import { ApiProperty } from '@nestjs/swagger'
import { Email, Member, TeamOrNull } from '../members/members.dto.js'
import { Name, QueryBoolean, Text } from '../platform/http/fields.js'
import { Page } from '../platform/http/page.dto.js'
import { RoleNames } from '../roles/roles.dto.js'

/** Whom to invite, and to what. */
export class CreateInvitation {
  @Email()
  email: string

  /** What they will be. Nobody gives more than they hold; owners only by owners. */
  @RoleNames()
  roles: string[]

  /** The team whose agents they will see; absent or null: all of the organization. */
  @TeamOrNull()
  team?: string | null
}

/** Which invitations to list. */
export class ListInvitations extends Page {
  /** Also list those that were accepted, revoked or have expired. */
  @QueryBoolean()
  include_settled?: boolean
}

export const INVITATION_STATUSES = ['open', 'accepted', 'revoked', 'expired'] as const

/** Somebody who was asked to become a member. */
export class Invitation {
  /** @example "inv_3q2-7wQcVh1oT0aB" */
  invitation_id: string

  /** @example "ada@example.com" */
  email: string

  roles: string[]

  /** Null: the whole organization. */
  team: string | null

  @ApiProperty({ enum: INVITATION_STATUSES })
  status: (typeof INVITATION_STATUSES)[number]

  /** 7 days after it was made. */
  expires_at: Date

  /** Who came of it; null unless it was accepted. */
  member_id: string | null

  created_at: Date

  /** Who invites: a member, an administrator key, or `root`. */
  created_by: string
}

/** A new invitation, and how its link travels. */
export class CreatedInvitation extends Invitation {
  /**
   * The link, to be passed on; null when it went by mail. Shown this once; only a hash of its token is kept.
   * @example "https://agentguard.example.com/dashboard/invitation/#token=ivt_…"
   */
  link: string | null

  /** `off`: no mail server is configured. `failed`: the invitation stands, and the link is here to be passed on. */
  @ApiProperty({ enum: ['sent', 'failed', 'off'] })
  mail: 'sent' | 'failed' | 'off'

  /** Why it failed; otherwise null. */
  mail_error: string | null
}

/** Who accepts, with the token of their link. */
export class AcceptInvitation {
  /**
   * What the link has behind `#token=`.
   * @example "ivt_<43 characters and a checksum of 6>"
   */
  @Text(1, 200)
  token: string

  /** @example "Ada Lovelace" */
  @Name()
  name: string

  /** 12 to 256 characters, none of the usual ones; nothing is asked about digits and signs. */
  @Text(1, 256)
  password: string
}

/** A new member, who may sign in now. */
export class AcceptedInvitation {
  /** Where: name it when signing in to one of several organizations. */
  org_id: string

  member: Member
}
