import { Instant, Name, Optional, QueryBoolean } from '../platform/http/fields.js'
import { Page } from '../platform/http/page.dto.js'
import { RoleName } from '../roles/roles.dto.js'

/** A new administrator key. */
export class CreateAdminKey {
  /**
   * Who or what will hold it.
   * @example "CI deployment"
   */
  @Name()
  name: string

  /**
   * What it may do: a built-in role or one of the organization's own (`GET /roles`). Nobody gives more than they hold,
   * and only owners and the root key make owners.
   * @example "admin"
   */
  @RoleName()
  role: string

  /**
   * Holds the key to this team's agents and what belongs to them; made when it is new. Absent: the whole organization.
   * @example "research"
   */
  @Optional()
  @Name()
  team?: string

  /** From then on it does not authenticate. Absent: it does not expire. */
  @Optional()
  @Instant()
  expires_at?: Date
}

/** Which administrator keys to list. */
export class ListAdminKeys extends Page {
  /** Also list revoked keys. */
  @QueryBoolean()
  include_revoked?: boolean
}

/** A secret of an administrator, without the secret. */
export class AdminKey {
  /** @example "adm_3q2-7wQcVh1oT0aB" */
  admin_id: string

  /** @example "CI deployment" */
  name: string

  /** @example "admin" */
  role: string

  /** Null: the whole organization. */
  team: string | null

  /**
   * How the key begins, to recognise it by. Never part of authentication.
   * @example "adk_0aB3xYz9"
   */
  key_prefix: string

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

/** A new administrator key with its secret. */
export class CreatedAdminKey extends AdminKey {
  /**
   * The secret, for the header `X-ADMIN-KEY`. Shown this once; only its hash is kept.
   * @example "adk_<43 characters and a checksum of 6>"
   */
  api_key: string
}
