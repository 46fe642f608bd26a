import { applyDecorators, SetMetadata } from '@nestjs/common'
import { ApiExtension, ApiSecurity } from '@nestjs/swagger'
import type { Permission } from '../../core/permissions.js'

export const ACCESS = 'agentguard:access'

export interface AccessRule {
  /** `public`: no credentials. `self`: it is about the principal alone. Otherwise the permission it must hold. */
  readonly permission: Permission | 'self' | 'public'
  /** Which credentials may be presented; a valid one of another kind is a 403. `member`: people, no keys. */
  readonly by: 'admin' | 'agent' | 'either' | 'member' | 'public'
  /** While this setting is on, a request without credentials is let in, as nobody. */
  readonly open_with?: 'ledger_public_proofs'
  /**
   * The service narrows what it shows and changes to the principal's team (`scope.ts`). Without it, an administrator
   * who is held to a team is refused: a route that forgets about teams is closed to them, not open.
   */
  readonly within_team?: true
}

/**
 * Every route carries one; a route without it keeps the application from booting.
 * `@Access('agents:write')` is for administrators, `@Access('decisions:create', 'agent')` for agents,
 * `@Access('logs:read', 'either')` for both (administrator first, row AG-3), `@Access('self', 'member')` for what a
 * person does with their own account, `@Access('public')` for anyone. A route
 * with `open_with` answers also who presents nothing, while that setting is on; it takes its principal with `@Maybe()`.
 * `within_team` is for routes whose service heeds the team that an administrator is held to.
 */
export const Access = (
  permission: Permission | 'self' | 'public',
  by: Exclude<AccessRule['by'], 'public'> = 'admin',
  options: Pick<AccessRule, 'open_with' | 'within_team'> = {},
) =>
  applyDecorators(
    SetMetadata<string, AccessRule>(ACCESS, {
      permission,
      by: permission === 'public' ? 'public' : by,
      ...options,
    }),
    ...(permission === 'public' ? [] : documentation(permission, by, options.within_team)),
  )

const SCHEMES: Readonly<Record<Exclude<AccessRule['by'], 'public'>, readonly string[]>> = {
  admin: ['admin_key', 'session', 'bearer'],
  agent: ['agent_key', 'bearer'],
  either: ['admin_key', 'agent_key', 'session', 'bearer'],
  member: ['session'],
}

/** The same rule for readers of `openapi.json`. Two security entries mean: one of them. */
function documentation(
  permission: Permission | 'self',
  by: Exclude<AccessRule['by'], 'public'>,
  within_team = false,
) {
  return [
    ApiExtension('x-permission', permission),
    ...(within_team ? [ApiExtension('x-within-team', true)] : []),
    ...SCHEMES[by].map((scheme) => ApiSecurity(scheme)),
  ]
}
