import { Injectable } from '@nestjs/common'
import type { Permission } from '../../core/permissions.js'
import { Problem } from '../../core/problems.js'
import { Metrics } from '../metrics/metrics.js'
import { RateLimiter, rateIdentity, rateProblem } from '../throttling/rate-limiter.js'
import type { AccessRule } from './access.decorator.js'
import { Authenticator } from './authenticator.js'
import type { Credentials } from './credentials.js'
import { type Principal, teamOf } from './principal.js'
import { wholeOrganization } from './scope.js'

type Kind = 'admin' | 'agent'

/** The texts of rows AG-1 to AG-3, for requests that present nothing. */
const ABSENT: Readonly<Record<Kind | 'either', string>> = {
  admin: 'Admin authentication required. Provide X-Admin-Key header.',
  agent: 'Agent authentication required. Provide X-Agent-Key header.',
  either: 'Authentication required. Provide X-Admin-Key or X-Agent-Key header.',
}

/**
 * Decides who asks and whether they may. Plain, so that the fast lane and `/metrics` ask it as the guard does.
 *
 * A key that does not authenticate is one identical 401 whatever is wrong with it (C38). A valid principal of the
 * wrong kind, or without the permission, is a 403 that names what is missing.
 */
@Injectable()
export class Gatekeeper {
  constructor(
    private readonly authenticator: Authenticator,
    private readonly limiter: RateLimiter,
    private readonly metrics: Metrics,
  ) {}

  /**
   * The principal of a request to a route with `rule`.
   * @throws Problem `unauthenticated`, `invalid_credentials`, `forbidden`; `rate_limit_exceeded` when an address
   * keeps failing: failures count against it.
   */
  async admit(rule: AccessRule, credentials: Credentials, ip: string | undefined): Promise<Principal> {
    if (rule.by === 'public' || rule.permission === 'public') throw new Error('public routes admit nobody')
    const kind = rule.by
    const principal = await this.identify(kind, credentials, ip, rule.permission)
    const wrongKind = kind !== 'either' && kindOf(principal) !== kind
    if (wrongKind || !principal.permissions.has(rule.permission)) {
      const who = wrongKind ? ` of ${kind === 'admin' ? 'an administrator' : 'an agent'}` : ''
      throw new Problem('forbidden', { detail: `This needs the permission ${rule.permission}${who}.` })
    }
    const team = teamOf(principal)
    if (team !== null && !rule.within_team) throw wholeOrganization(team)
    return principal
  }

  /** The wanted kind first; the other kind is looked at only to tell a 403 from a 401. */
  private async identify(
    kind: Kind | 'either',
    credentials: Credentials,
    ip: string | undefined,
    permission: Permission,
  ): Promise<Principal> {
    const order: readonly Kind[] = kind === 'agent' ? ['agent', 'admin'] : ['admin', 'agent']
    const presented = order.filter((candidate) => credentials[candidate] !== undefined)
    for (const candidate of presented) {
      const principal = await this.authenticate(candidate, credentials, permission)
      if (principal) return principal
      // A wrong key in the header that the route wants is not mended by a right one in the other (AG-3 apart).
      if (kind === candidate) break
    }
    throw this.failed(
      presented[0] ?? (kind === 'agent' ? 'agent' : 'admin'),
      presented.length > 0 ? null : kind,
      ip,
    )
  }

  private authenticate(
    kind: Kind,
    { admin, agent, org_id }: Credentials,
    permission: Permission,
  ): Promise<Principal | null> {
    return kind === 'admin'
      ? this.authenticator.admin(admin ?? '', org_id)
      : this.authenticator.agent(agent ?? '', permission)
  }

  private failed(type: Kind, absent: Kind | 'either' | null, ip: string | undefined): Problem {
    this.metrics.authenticationFailed(type)
    const outcome = this.limiter.take('default', rateIdentity(undefined, ip))
    if (outcome && !outcome.allowed) return rateProblem(outcome)
    if (absent) return new Problem('unauthenticated', { detail: ABSENT[absent] })
    return new Problem('invalid_credentials', { detail: 'The key is not valid.' })
  }
}

const kindOf = (principal: Principal): Kind => (principal.kind === 'agent' ? 'agent' : 'admin')
