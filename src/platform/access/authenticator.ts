import type { Permission } from '../../core/permissions.js'
import type { Credentials } from './credentials.js'
import type { AdminPrincipal, AgentPrincipal, MemberPrincipal } from './principal.js'

/**
 * Turns a presented secret into a principal. The platform declares it, the `authentication` capability
 * implements it, so that this folder needs no table.
 *
 * Each method answers null for every secret that does not authenticate (malformed, unknown, revoked, expired,
 * agent or organization inactive): the guard then gives one identical 401.
 */
export abstract class Authenticator {
  /**
   * Root key or `adk_…`.
   * @param requested_org_id the `X-ORG-ID` header: the root key may work in any organization with it, an
   * administrator key only in its own; otherwise throws Problem `organization_not_found`.
   */
  abstract admin(secret: string, requested_org_id: string | undefined): Promise<AdminPrincipal | null>

  /**
   * `agk_…`. `permission` is what the route needs: where that ends in an append, which compares versions again at
   * its commit, the identity may come from memory; otherwise it is confirmed against the database's present state.
   */
  abstract agent(secret: string, permission: Permission | 'self'): Promise<AgentPrincipal | null>

  /**
   * The token of a browser's session; also null when it is over, ended or idle for too long.
   * @param requested_org_id as for administrator keys: only the session's own organization
   */
  abstract session(token: string, requested_org_id: string | undefined): Promise<MemberPrincipal | null>

  /**
   * The holder of the key that a token was made from (`POST /token`), while that key authenticates: a token is never
   * worth more than its key. `revoked`: this token was ended with `POST /token/revoke`.
   * @param credentials with `bearer`; keys beside it must be the very one that the token was made from, otherwise
   * throws Problem `credentials_disagree`. `org_id` as for `admin`.
   */
  token(
    _credentials: Credentials,
    _permission: Permission | 'self',
  ): Promise<AdminPrincipal | AgentPrincipal | 'revoked' | null> {
    return Promise.resolve(null)
  }

  /**
   * The agent with this key as far as memory alone can tell, for what is checked again at its commit. Null also for
   * a good key that was not looked up lately: `agent` knows.
   */
  knownAgent(_secret: string): AgentPrincipal | null {
    return null
  }
}
