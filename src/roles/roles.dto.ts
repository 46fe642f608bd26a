import { applyDecorators } from '@nestjs/common'
import { ApiProperty } from '@nestjs/swagger'
import { ArrayMaxSize, ArrayMinSize, ArrayUnique, IsArray, IsIn, Matches } from 'class-validator'
import { type Permission, ROLE_PERMISSIONS } from '../core/permissions.js'
import { Optional, Text } from '../platform/http/fields.js'

const ROLE_NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/
const MAX_NAME = 64

const WHOLE_NAME = new RegExp(`^(?=.{1,${MAX_NAME}}$)${ROLE_NAME.source.slice(1)}`)
const NAME_RULE = `must be lower-case words joined by hyphens, such as release-manager, of at most ${MAX_NAME} characters`

/** The name of a role: lower-case words with hyphens. Whether there is such a role is for the service to say. */
export const RoleName = () =>
  applyDecorators(
    Matches(WHOLE_NAME, { message: NAME_RULE }),
    ApiProperty({ type: String, minLength: 1, maxLength: MAX_NAME, pattern: ROLE_NAME.source }),
  )

/** Names of roles: at least one, none twice. */
export const RoleNames = () =>
  applyDecorators(
    IsArray({ message: 'must be a list of roles' }),
    ArrayMinSize(1, { message: 'must name at least one role' }),
    ArrayMaxSize(20, { message: 'must name at most 20 roles' }),
    ArrayUnique({ message: 'must name each role once' }),
    Matches(WHOLE_NAME, { each: true, message: NAME_RULE }),
    ApiProperty({ type: String, isArray: true, minItems: 1, maxItems: 20, example: ['developer'] }),
  )

const PermissionsField = () =>
  applyDecorators(
    IsArray({ message: 'must be a list of permissions' }),
    ArrayMinSize(1, { message: 'must name at least one permission' }),
    ArrayMaxSize(ROLE_PERMISSIONS.length, { message: 'names more permissions than there are' }),
    ArrayUnique({ message: 'must not name a permission twice' }),
    IsIn(ROLE_PERMISSIONS, { each: true, message: `must each be one of ${ROLE_PERMISSIONS.join(', ')}` }),
    ApiProperty({ enum: ROLE_PERMISSIONS, enumName: 'RolePermission', isArray: true }),
  )

/** What a role may do, in place of what it could do before. */
export class ReplaceRole {
  /**
   * What it is for.
   * @example "Approves and watches releases"
   */
  @Optional()
  @Text(0, 500)
  description?: string

  /** Nobody gives more than they hold. */
  @PermissionsField()
  permissions: Permission[]
}

/** A new role. */
export class CreateRole extends ReplaceRole {
  /**
   * How administrator keys and members name it. It never changes, and no built-in role has it.
   * @example "release-manager"
   */
  @RoleName()
  role: string
}

/** A set of permissions under a name. */
export class Role {
  /** @example "release-manager" */
  role: string

  /** True for the roles that every organization has and nobody can change. */
  built_in: boolean

  description: string

  @ApiProperty({ enum: ROLE_PERMISSIONS, enumName: 'RolePermission', isArray: true })
  permissions: string[]

  /** Null for built-in roles, as the next two. */
  created_at: Date | null

  updated_at: Date | null

  /** The administrator key or member that made it, or `root`. */
  @ApiProperty({ type: String, nullable: true })
  created_by: string | null
}
