import { Injectable } from '@nestjs/common'
import { randomUUID } from 'node:crypto'
import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify, SignJWT } from 'jose'
import { isUuid } from '../core/ids.js'
import { Clock } from '../platform/clock/clock.js'
import { Database } from '../platform/database/database.service.js'
import { selectInstallation } from './signing-keys.queries.js'
import { type Alg, SigningKeysService } from './signing-keys.service.js'

/** No other JWT says this of itself, so none can be taken for a token, nor a token for another JWT (RFC 8725, 3.11). */
const TYPE = 'agentguard-access+jwt'
const ID = /^\w[\w-]{0,63}$/
const MAX_LENGTH = 4096
const SHAPE = /^[\w-]+\.[\w-]+\.[\w-]+$/
/** The clocks of replicas differ by less; without it a token could be too new for the next one. */
const SKEW_S = 5

/** What a token says of its holder. Programs may read it; we believe `org_id`, `key_id`, `type` and `jti` alone. */
export interface TokenClaims {
  readonly sub: string
  readonly type: 'agent' | 'admin'
  readonly org_id: string
  /** The key that it was made from, and dies with. */
  readonly key_id: string
  readonly env?: string
  readonly role?: string
  readonly team?: string | null
}

export interface Token extends TokenClaims {
  readonly jti: string
  readonly kid: string
  /** Seconds. */
  readonly exp: number
}

/** Makes and reads tokens: JWTs (RFC 7519) as RFC 8725 wants them. */
@Injectable()
export class TokenFormatService {
  private issuer: Promise<string> | undefined

  constructor(
    private readonly keys: SigningKeysService,
    private readonly database: Database,
    private readonly clock: Clock,
  ) {}

  async sign(claims: TokenClaims, alg: Alg, ttl_s: number): Promise<string> {
    const { kid, key } = await this.keys.signing(alg)
    const iss = await this.installation()
    const iat = Math.floor(this.clock.now() / 1000)
    const { sub, ...own } = claims
    return new SignJWT({ ...own })
      .setProtectedHeader({ alg, typ: TYPE, kid })
      .setIssuer(iss)
      .setAudience(`${iss}:api`)
      .setSubject(sub)
      .setJti(randomUUID())
      .setIssuedAt(iat)
      .setNotBefore(iat - SKEW_S)
      .setExpirationTime(iat + ttl_s)
      .sign(key)
  }

  /**
   * What a token of ours says; null for everything else, and for one that has ended. Only its signature and its time are
   * judged here. The algorithm is the key's, never the header's; a header that names a key elsewhere (`jku`, `x5u`,
   * `jwk`) or anything else that we never write is refused.
   */
  async read(jwt: string): Promise<Token | null> {
    if (jwt.length > MAX_LENGTH || !SHAPE.test(jwt) || !jwt.split('.').every(isCanonical)) return null
    const kid = kidOf(jwt)
    const found = await this.keys.find(kid)
    if (kid === null || !found) return null
    const issuer = await this.installation()
    try {
      const { payload } = await jwtVerify(jwt, found.key, {
        algorithms: [found.alg],
        issuer,
        audience: `${issuer}:api`,
        typ: TYPE,
        currentDate: new Date(this.clock.now()),
        requiredClaims: ['exp', 'nbf', 'iat', 'jti', 'sub'],
      })
      return tokenOf(payload, kid)
    } catch (error) {
      if (error instanceof errors.JOSEError) return null
      throw error
    }
  }

  private installation(): Promise<string> {
    this.issuer ??= selectInstallation(this.database.hot).then(
      (id) => `urn:agentguard:${id}`,
      (error: unknown) => {
        this.issuer = undefined
        throw error
      },
    )
    return this.issuer
  }
}

/** The key that a header names; null for a header that we would not have written. */
function kidOf(jwt: string): string | null {
  try {
    const { kid = null, ...header } = decodeProtectedHeader(jwt)
    return header.typ === TYPE && Object.keys(header).sort().join() === 'alg,typ' ? kid : null
  } catch {
    return null // not JSON, or not an object: what else decodeProtectedHeader throws for there is not
  }
}

/** Base64url has several spellings of the same bytes; one token has one. */
const isCanonical = (part: string): boolean => Buffer.from(part, 'base64url').toString('base64url') === part

function tokenOf({ sub, jti, exp, type, org_id, key_id }: JWTPayload, kid: string): Token | null {
  if (type !== 'agent' && type !== 'admin') return null
  if (typeof sub !== 'string' || typeof jti !== 'string' || !isUuid(jti) || exp === undefined) return null
  if (typeof org_id !== 'string' || typeof key_id !== 'string') return null
  if (!ID.test(org_id) || !ID.test(key_id)) return null
  return { sub, jti, exp, type, org_id, key_id, kid }
}
