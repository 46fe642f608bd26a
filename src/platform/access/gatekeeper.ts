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
import type { SessionCredential } from './session-cookie.js'

type Kind = 'admin' | 'agent'
type Wanted = Exclude<AccessRule['by'], 'public'>

/** The texts of rows AG-1 to AG-3, for requests that present nothing. */
const ABSENT: Readonly<Record<Wanted, string>> = {
  admin: 'Admin authentication required. Provide X-Admin-Key header.',
  agent: 'Agent authentication required. Provide X-Agent-Key header.',
  either: 'Authentication required. Provide X-Admin-Key or X-Agent-Key header.',
  member: 'Sign in first: POST /auth/login.',
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
    const principal = await this.whoAsks(kind, credentials, ip, rule.permission)
    if (credentials.bearer !== undefined && kind !== 'member' && !isOf(kind, principal)) {
      // The texts of row AG-14.
      throw new Problem('forbidden', { detail: `${kind === 'agent' ? 'Agent' : 'Admin'} token required` })
    }
    if (rule.permission === 'self') {
      if (isOf(kind, principal)) return principal
      const who = kind === 'member' ? 'people who are signed in' : 'administrators'
      throw new Problem('forbidden', { detail: `This is for ${who}.` })
    }
    const wrongKind = !isOf(kind, principal)
    if (wrongKind || !principal.permissions.has(rule.permission)) {
      const who = wrongKind ? ` of ${WHO[kind]}` : ''
      throw new Problem('forbidden', { detail: `This needs the permission ${rule.permission}${who}.` })
    }
    const team = teamOf(principal)
    if (team !== null && !rule.within_team) throw wholeOrganization(team)
    return principal
  }

  private whoAsks(
    kind: Wanted,
    credentials: Credentials,
    ip: string | undefined,
    permission: Permission | 'self',
  ): Promise<Principal> {
    if (credentials.bearer !== undefined) return this.identifyToken(credentials, ip, permission)
    if (credentials.session) return this.identifySession(credentials.session, credentials.org_id, ip)
    return this.identify(kind, credentials, ip, permission)
  }

  /** Looked at before the keys. Everything that is wrong with a token is one answer, but that it was revoked (AG-13). */
  private async identifyToken(
    credentials: Credentials,
    ip: string | undefined,
    permission: Permission | 'self',
  ): Promise<Principal> {
    const found = await this.authenticator.token(credentials, permission)
    if (found === 'revoked') throw this.failed('token', new Problem('token_revoked', { detail: REVOKED }), ip)
    if (!found) throw this.failed('token', new Problem('invalid_token', { detail: INVALID }), ip)
    return found
  }

  /** A browser sends its cookie along with whatever any site makes it send, so a change must show that ours made it. */
  private async identifySession(
    { token, forgery }: SessionCredential,
    org_id: string | undefined,
    ip: string | undefined,
  ): Promise<Principal> {
    if (forgery !== null) throw new Problem('csrf_refused', { detail: forgery })
    const principal = await this.authenticator.session(token, org_id)
    if (principal) return principal
    throw this.failed('session', new Problem('invalid_credentials', { detail: SESSION_OVER }), ip)
  }

  /** The wanted kind first; the other kind is looked at only to tell a 403 from a 401. */
  private async identify(
    kind: Wanted,
    credentials: Credentials,
    ip: string | undefined,
    permission: Permission | 'self',
  ): Promise<Principal> {
    const order: readonly Kind[] = kind === 'agent' ? ['agent', 'admin'] : ['admin', 'agent']
    const presented = order.filter((candidate) => credentials[candidate] !== undefined)
    for (const candidate of presented) {
      const principal = await this.authenticate(candidate, credentials, permission)
      if (principal) return principal
      // A wrong key in the header that the route wants is not mended by a right one in the other (AG-3 apart).
      if (kind === candidate) break
    }
    const problem =
      presented.length > 0
        ? new Problem('invalid_credentials', { detail: 'The key is not valid.' })
        : new Problem('unauthenticated', { detail: ABSENT[kind] })
    throw this.failed(presented[0] ?? (kind === 'agent' ? 'agent' : 'admin'), problem, ip)
  }

  private authenticate(
    kind: Kind,
    { admin, agent, org_id }: Credentials,
    permission: Permission | 'self',
  ): Promise<Principal | null> {
    return kind === 'admin'
      ? this.authenticator.admin(admin ?? '', org_id)
      : this.authenticator.agent(agent ?? '', permission)
  }

  /** Counts a failure against its address, whose next ones may be refused unseen. */
  private failed(type: Kind | 'session' | 'token', problem: Problem, ip: string | undefined): Problem {
    this.metrics.authenticationFailed(type)
    const outcome = this.limiter.take('default', rateIdentity(undefined, ip))
    return outcome && !outcome.allowed ? rateProblem(outcome) : problem
  }
}

const REVOKED = 'Token has been revoked'
const INVALID = 'Invalid or expired token'

/** One text whatever ended it: nobody learns from it that a session existed. */
const SESSION_OVER = 'The session is over. Sign in again.'

const WHO: Readonly<Record<Wanted, string>> = {
  admin: 'an administrator',
  agent: 'an agent',
  either: 'an administrator or an agent',
  member: 'a person',
}

function isOf(wanted: Wanted, { kind }: Principal): boolean {
  switch (wanted) {
    case 'either':
      return true
    case 'agent':
      return kind === 'agent'
    case 'member':
      return kind === 'member'
    case 'admin':
      return kind !== 'agent'
  }
}
