/**
 * Who may do what: the one table. Permissions are `<plural noun>:<verb>`; roles after rows CP-91 and C11.
 * A route names its permission with `@Access('agents:write')`.
 */
export const PERMISSIONS = [
  'organizations:read',
  'organizations:write',
  'organization:read',
  'organization:write',
  'members:read',
  'members:write',
  'roles:read',
  'roles:write',
  'admin-keys:read',
  'admin-keys:write',
  'agents:read',
  'agents:write',
  'policies:read',
  'policies:write',
  'decisions:create',
  'approvals:read',
  'approvals:decide',
  'workflows:read',
  'workflows:write',
  'kill-switch:read',
  'kill-switch:write',
  'logs:read',
  'logs:create',
  'config-logs:read',
  'events:read',
  'webhooks:read',
  'webhooks:write',
  'reports:read',
  'metrics:read',
  'payloads:erase',
  'ledger:write',
] as const

export type Permission = (typeof PERMISSIONS)[number]

/** The roles every organization has. It may define further ones of its own as sets of permissions. */
export const ROLES = ['owner', 'admin', 'operator', 'developer', 'auditor', 'approver', 'viewer'] as const
export type Role = (typeof ROLES)[number]

/** What reaches beyond one organization, or belongs to agents: no role of an organization can hold it. */
const NOT_FOR_ROLES: readonly Permission[] = [
  'organizations:read',
  'organizations:write',
  'decisions:create',
  'logs:create',
]

/** Every permission that a role of an organization can hold. */
export const ROLE_PERMISSIONS: readonly Permission[] = PERMISSIONS.filter(
  (permission) => !NOT_FOR_ROLES.includes(permission),
)

/** What only shows: nothing of it changes, decides or erases anything. */
const VIEWER: readonly Permission[] = [
  'agents:read',
  'policies:read',
  'logs:read',
  'reports:read',
  'events:read',
]

/**
 * An owner may do what an admin may and is the only role that may make or revoke owners (`mayGrant`).
 * `organizations:*` belongs to the root key alone.
 */
const PERMISSIONS_OF: Readonly<Record<Role, ReadonlySet<Permission>>> = {
  owner: new Set(ROLE_PERMISSIONS),
  admin: new Set(ROLE_PERMISSIONS),
  operator: new Set<Permission>([
    ...VIEWER,
    'approvals:read',
    'kill-switch:read',
    'kill-switch:write',
    'webhooks:read',
    'workflows:read',
    'metrics:read',
  ]),
  developer: new Set<Permission>([
    ...VIEWER,
    'agents:write',
    'approvals:read',
    'kill-switch:read',
    'workflows:read',
  ]),
  auditor: new Set<Permission>([
    ...VIEWER,
    'organization:read',
    'members:read',
    'roles:read',
    'approvals:read',
    'kill-switch:read',
    'webhooks:read',
    'workflows:read',
    'config-logs:read',
  ]),
  approver: new Set<Permission>([
    ...VIEWER,
    'approvals:read',
    'approvals:decide',
    'kill-switch:read',
    'workflows:read',
  ]),
  viewer: new Set(VIEWER),
}

/** The operator of the installation: every administrative permission, in any organization. */
export const ROOT_PERMISSIONS: ReadonlySet<Permission> = new Set<Permission>([
  'organizations:read',
  'organizations:write',
  ...ROLE_PERMISSIONS,
])

/** An agent asks, reports, and reads its own log entries (rows AG-60, AG-70, AG-72) and its own bundle of policies. */
export const AGENT_PERMISSIONS: ReadonlySet<Permission> = new Set<Permission>([
  'decisions:create',
  'policies:read',
  'logs:create',
  'logs:read',
  'events:read',
])

export function permissionsOf(role: Role): ReadonlySet<Permission> {
  return PERMISSIONS_OF[role]
}

export const isBuiltinRole = (name: string): name is Role => Object.hasOwn(PERMISSIONS_OF, name)

/**
 * What the holder of these roles may do: the union of their permissions.
 * @param roles names of built-in roles and of the organization's own, in any order
 * @param own the permissions that the organization's own ones among them give, as they are stored: what no role of an
 * organization can hold is not believed, and a name that is neither gives nothing
 */
export function permissionsOfRoles(
  roles: readonly string[],
  own: readonly string[] = [],
): ReadonlySet<Permission> {
  const builtin = roles.filter(isBuiltinRole)
  const [only] = builtin
  if (only !== undefined && builtin.length === 1 && own.length === 0) return permissionsOf(only)
  const stored = new Set(own)
  const union = new Set(ROLE_PERMISSIONS.filter((permission) => stored.has(permission)))
  for (const role of builtin) for (const permission of permissionsOf(role)) union.add(permission)
  return union
}

/** What somebody holds, as far as handing it on is concerned. */
export interface Authority {
  readonly permissions: ReadonlySet<Permission>
  /** Holds the role `owner`, or is the operator of the installation. */
  readonly owner: boolean
  /** Null: the whole organization. Otherwise it reaches no further than this team. */
  readonly team: string | null
}

/** The authority of these roles; for `own` see `permissionsOfRoles`. */
export const authorityOfRoles = (
  roles: readonly string[],
  own: readonly string[] = [],
  team: string | null = null,
): Authority => ({ permissions: permissionsOfRoles(roles, own), owner: roles.includes('owner'), team })

/**
 * Whether who holds the one may give or take the other: never more permissions than they hold, owners only by owners,
 * and nothing beyond the team they are held to.
 */
export function mayGrant(holder: Authority, granted: Authority): boolean {
  if (granted.owner && !holder.owner) return false
  if (holder.team !== null && granted.team !== holder.team) return false
  return [...granted.permissions].every((permission) => holder.permissions.has(permission))
}
