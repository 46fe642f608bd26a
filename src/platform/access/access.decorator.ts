import { applyDecorators, SetMetadata } from '@nestjs/common'
import { ApiExtension, ApiSecurity } from '@nestjs/swagger'
import type { Permission } from '../../core/permissions.js'

export const ACCESS = 'agentguard:access'

export interface AccessRule {
  /** `public`: no credentials. Otherwise the permission the principal must hold. */
  readonly permission: Permission | 'public'
  /** Which credentials may be presented; a valid one of the other kind is a 403. */
  readonly by: 'admin' | 'agent' | 'either' | 'public'
  /** While this setting is on, a request without credentials is let in, as nobody. */
  readonly open_with?: 'ledger_public_proofs'
}

/**
 * Every route carries one; a route without it keeps the application from booting.
 * `@Access('agents:write')` is for administrators, `@Access('decisions:create', 'agent')` for agents,
 * `@Access('logs:read', 'either')` for both (administrator first, row AG-3), `@Access('public')` for anyone. A route
 * with `open_with` answers also who presents nothing, while that setting is on; it takes its principal with `@Maybe()`.
 */
export const Access = (
  permission: Permission | 'public',
  by: 'admin' | 'agent' | 'either' = 'admin',
  options: Pick<AccessRule, 'open_with'> = {},
) =>
  applyDecorators(
    SetMetadata<string, AccessRule>(ACCESS, {
      permission,
      by: permission === 'public' ? 'public' : by,
      ...options,
    }),
    ...(permission === 'public' ? [] : documentation(permission, by)),
  )

/** The same rule for readers of `openapi.json`. Two security entries mean: one of them. */
function documentation(permission: Permission, by: 'admin' | 'agent' | 'either') {
  const schemes = by === 'either' ? ['admin_key', 'agent_key'] : [`${by}_key`]
  return [ApiExtension('x-permission', permission), ...schemes.map((scheme) => ApiSecurity(scheme))]
}
