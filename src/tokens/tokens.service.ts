import { Injectable } from '@nestjs/common'
import type { JWK } from 'jose'
import { AuthenticationService } from '../authentication/authentication.service.js'
import { DEFAULT_ORG_ID } from '../core/ids.js'
import { Problem } from '../core/problems.js'
import { LedgerService } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Settings } from '../platform/config/settings.js'
import { Database } from '../platform/database/database.service.js'
import { type Alg, SigningKeysService } from '../signing-keys/signing-keys.service.js'
import { type TokenClaims, TokenFormatService } from '../signing-keys/token-format.service.js'
import type { AccessToken, RevokedToken, SigningKey } from './tokens.dto.js'
import { deleteExpired, insertRevoked } from './tokens.queries.js'

/** Short-lived tokens (rows AG-11 to AG-15). Making one writes nothing: it is worth no more than the key that made it. */
@Injectable()
export class TokensService {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly authentication: AuthenticationService,
    private readonly keys: SigningKeysService,
    private readonly format: TokenFormatService,
    private readonly clock: Clock,
    private readonly settings: Settings,
  ) {}

  /** A token for who has presented a key. */
  async create(principal: Principal, alg: Alg | undefined): Promise<AccessToken> {
    const claims = await this.claimsOf(principal)
    const { jwt_agent_expire_s, jwt_admin_expire_s, jwt_algorithm } = this.settings
    const expires_in = claims.type === 'agent' ? jwt_agent_expire_s : jwt_admin_expire_s
    const access_token = await this.format.sign(claims, alg ?? jwt_algorithm, expires_in)
    return { access_token, token_type: 'bearer', expires_in }
  }

  /** Ends the token that the request was made with, for the very next request. Recorded in its organization's log. */
  async revoke(principal: Principal, jwt: string): Promise<RevokedToken> {
    const token = await this.format.read(jwt)
    if (!token) throw new Problem('invalid_token', { detail: 'Invalid or expired token' })
    const { org_id, jti } = token
    const expires_at = new Date(token.exp * 1000)
    await this.database.withOrg({ org_id }, async (tx) => {
      await deleteExpired(tx, org_id, new Date(this.clock.now()))
      if (!(await insertRevoked(tx, { org_id, jti, expires_at }))) return
      const change = { kind: 'token', id: jti, op: 'revoked' }
      await this.ledger.append(tx, principal, { event: 'token.revoked', change })
    })
    return { revoked: true }
  }

  /** RFC 7517: every key whose tokens are accepted. */
  async jwks(): Promise<{ keys: JWK[] }> {
    return { keys: (await this.keys.list()).map(({ public_jwk }) => public_jwk) }
  }

  /** @throws Problem `conflict` */
  async rotate(principal: Principal, end_tokens: boolean): Promise<SigningKey[]> {
    const rows = await this.keys.rotate(principal, end_tokens)
    return rows.map(({ kid, alg, created_at, retired_at, ends_at }) => ({
      kid,
      alg,
      created_at,
      retired_at,
      ends_at,
    }))
  }

  private async claimsOf(principal: Principal): Promise<TokenClaims> {
    const { org_id } = principal
    switch (principal.kind) {
      case 'agent': {
        const { agent_id, key_id } = principal
        const agent = await this.database.withOrg(principal, (tx) =>
          tx.agent.findUniqueOrThrow({ where: { org_id_agent_id: { org_id, agent_id } } }),
        )
        return {
          sub: agent_id,
          type: 'agent',
          org_id,
          key_id,
          env: agent.environment,
          team: agent.owner_team,
        }
      }
      case 'admin_key': {
        const { key_id, role, team } = principal
        return { sub: key_id, type: 'admin', org_id, key_id, role, team }
      }
      case 'root':
        return {
          sub: 'root',
          type: 'admin',
          // Of the installation; what ends one of its tokens is recorded here, and X-Org-ID says where it works.
          org_id: DEFAULT_ORG_ID,
          key_id: this.authentication.root_key_id,
          role: 'root',
          team: null,
        }
      case 'member':
        throw new Problem('forbidden', { detail: 'Tokens are made from keys.' })
    }
  }
}
