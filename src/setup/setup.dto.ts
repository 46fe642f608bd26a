import { Email, Member } from '../members/members.dto.js'
import { Name, Text } from '../platform/http/fields.js'

/** The first owner of an organization. */
export class SetUp {
  /**
   * What the link has behind `#token=`.
   * @example "stp_<43 characters and a checksum of 6>"
   */
  @Text(1, 200)
  token: string

  @Email()
  email: string

  /** @example "Ada Lovelace" */
  @Name()
  name: string

  /** 12 to 256 characters, none of the usual ones; nothing is asked about digits and signs. */
  @Text(1, 256)
  password: string
}

/** Somebody who has just become a member and may sign in. */
export class Welcome {
  /** Where: name it when signing in to one of several organizations. */
  org_id: string

  member: Member
}

/** A link that makes the first owner, once. */
export class SetUpLink {
  /**
   * Shown this once; only a hash of its token is kept.
   * @example "http://localhost:8000/dashboard/setup/#token=stp_…"
   */
  link: string

  /** 24 hours after it was made. */
  expires_at: Date
}
