import { applyDecorators } from '@nestjs/common'
import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { Transform } from 'class-transformer'
import { IsBoolean, ValidateBy, ValidateIf } from 'class-validator'
import { EMAIL_RULE, normalizeEmail } from '../core/people/email.js'
import { Name, Optional, QueryBoolean } from '../platform/http/fields.js'
import { Page } from '../platform/http/page.dto.js'
import { RoleNames } from '../roles/roles.dto.js'

/** An email address, read in its one spelling. */
export const Email = () =>
  applyDecorators(
    Transform(({ value }: { value: unknown }) =>
      typeof value === 'string' ? (normalizeEmail(value) ?? value) : value,
    ),
    ValidateBy(
      {
        name: 'isEmailAddress',
        validator: {
          validate: (value: unknown) => typeof value === 'string' && normalizeEmail(value) === value,
        },
      },
      { message: EMAIL_RULE },
    ),
    ApiProperty({ type: String, format: 'email', maxLength: 254, example: 'ada@example.com' }),
  )

/** The name of a team, or null for the whole organization. */
export const TeamOrNull = () =>
  applyDecorators(
    Name(),
    ValidateIf((_, value: unknown) => value !== undefined && value !== null),
    ApiPropertyOptional({ type: String, nullable: true, minLength: 1, maxLength: 255 }),
  )

/** Which people to list. */
export class ListMembers extends Page {
  /** Also list people who were deactivated. */
  @QueryBoolean()
  include_inactive?: boolean

  /** Only this person. */
  @Optional()
  @Email()
  email?: string
}

/** What to change; what is left out stays. */
export class UpdateMember {
  /** @example "Ada Lovelace" */
  @Optional()
  @Name()
  name?: string

  /** All roles from now on. Nobody gives or takes more than they hold; owners only by owners. */
  @Optional()
  @RoleNames()
  roles?: string[]

  /** The team whose agents this person sees; null: all of the organization. */
  @TeamOrNull()
  team?: string | null

  /** False ends all sessions at once and lets nobody sign in as this person. True lifts that. */
  @Optional()
  @IsBoolean({ message: 'must be true or false' })
  is_active?: boolean
}

/** A person of the organization. */
export class Member {
  /** @example "mem_3q2-7wQcVh1oT0aB" */
  member_id: string

  /** @example "ada@example.com" */
  email: string

  /** @example "Ada Lovelace" */
  name: string

  /** @example ["developer"] */
  roles: string[]

  /** Null: the whole organization. */
  team: string | null

  is_active: boolean

  /** Null: never. */
  last_login_at: Date | null

  created_at: Date

  updated_at: Date

  /** Who invited them: a member, an administrator key, `root` or `system`. */
  created_by: string
}
