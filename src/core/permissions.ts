/**
 * Who may do what: the one table. Permissions are `<plural noun>:<verb>`; roles after row CP-91 and C11.
 * A route names its permission with `@Access('agents:write')`.
 */
export const PERMISSIONS = [
  'organizations:read',
  'organizations:write',
  'admin-keys:read',
  'admin-keys:write',
  'agents:read',
  'agents:write',
  'policies:read',
  'policies:write',
  'decisions:create',
  'logs:read',
  'logs:create',
  'config-logs:read',
  'metrics:read',
  'ledger:write',
] as const

export type Permission = (typeof PERMISSIONS)[number]

export const ROLES = ['owner', 'admin', 'operator', 'developer', 'auditor', 'approver'] as const
export type Role = (typeof ROLES)[number]

const ADMIN: readonly Permission[] = [
  'admin-keys:read',
  'admin-keys:write',
  'agents:read',
  'agents:write',
  'policies:read',
  'policies:write',
  'logs:read',
  'config-logs:read',
  'metrics:read',
  'ledger:write',
]

/**
 * An owner may do what an admin may and is the only role that may make or revoke owners (`mayGrant`).
 * `organizations:*` belongs to the root key alone: it reaches beyond one organization.
 */
const ROLE_PERMISSIONS: Readonly<Record<Role, ReadonlySet<Permission>>> = {
  owner: new Set(ADMIN),
  admin: new Set(ADMIN),
  operator: new Set<Permission>(['agents:read', 'policies:read', 'logs:read', 'metrics:read']),
  developer: new Set<Permission>(['agents:read', 'agents:write', 'policies:read', 'logs:read']),
  auditor: new Set<Permission>(['agents:read', 'policies:read', 'logs:read', 'config-logs:read']),
  approver: new Set<Permission>(['agents:read', 'policies:read', 'logs:read']),
}

/** The operator of the installation: every administrative permission, in any organization. */
export const ROOT_PERMISSIONS: ReadonlySet<Permission> = new Set<Permission>([
  'organizations:read',
  'organizations:write',
  ...ADMIN,
])

/** An agent asks, reports, and reads its own log entries (rows AG-60, AG-70, AG-72). */
export const AGENT_PERMISSIONS: ReadonlySet<Permission> = new Set<Permission>([
  'decisions:create',
  'logs:create',
  'logs:read',
])

export function permissionsOf(role: Role): ReadonlySet<Permission> {
  return ROLE_PERMISSIONS[role]
}

/** Whether the holder of `role` may give `granted` to somebody: never more than they hold, owners only by owners. */
export function mayGrant(role: Role, granted: Role): boolean {
  if (granted === 'owner' && role !== 'owner') return false
  const own = permissionsOf(role)
  return [...permissionsOf(granted)].every((permission) => own.has(permission))
}
