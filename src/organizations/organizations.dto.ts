import { IsBoolean } from 'class-validator'
import { Name, Optional } from '../platform/http/fields.js'

/** A new organization. */
export class CreateOrganization {
  /**
   * What people call it; need not be unique.
   * @example "Acme"
   */
  @Name()
  name: string
}

/** What to change; what is left out stays. */
export class UpdateOrganization {
  /** @example "Acme Corporation" */
  @Optional()
  @Name()
  name?: string

  /** False suspends the organization: from then on every one of its keys is a 401. True lifts that. */
  @Optional()
  @IsBoolean({ message: 'must be true or false' })
  is_active?: boolean
}

/** A tenant: everything belongs to exactly one. */
export class Organization {
  /** @example "org_3q2-7wQcVh1oT0aB" */
  org_id: string

  /** @example "Acme" */
  name: string

  /** False while the organization is suspended. */
  is_active: boolean

  created_at: Date

  updated_at: Date
}
