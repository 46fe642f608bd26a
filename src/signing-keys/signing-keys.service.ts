import { Injectable } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { type CryptoKey, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose'
import { DEFAULT_ORG_ID, ID_BYTES, makeId } from '../core/ids.js'
import { Problem } from '../core/problems.js'
import { LedgerService, SYSTEM, type SystemActor } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { KeyRing } from '../platform/crypto/key-ring.js'
import { Resealing } from '../platform/crypto/resealing.js'
import { Settings } from '../platform/config/settings.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import * as queries from './signing-keys.queries.js'

export type { Alg } from './signing-keys.queries.js'

const ALGS: readonly queries.Alg[] = ['EdDSA', 'RS256']
const PURPOSE = 'token-signing-key/v1'
const KID = /^tsk_[\w-]{16}$/
/** Replicas may still sign with a key that has just been retired. */
const GRACE_MS = 60_000

interface NewKey {
  readonly kid: string
  readonly alg: queries.Alg
  readonly public_jwk: JWK
  readonly sealed: string
}

export interface VerifyingKey {
  readonly alg: queries.Alg
  readonly key: CryptoKey
}

/**
 * The installation's keys for tokens: one of each algorithm signs, made when the first is needed; retired ones verify
 * until the longest token they signed has ended. Private halves are sealed with the key ring; only the decision path's
 * role may read them.
 */
@Injectable()
export class SigningKeysService {
  /** What a kid stands for never changes; whether it is still accepted is asked with every use of a token. */
  private readonly verifying = new Map<string, VerifyingKey>()
  private making: Promise<void> | undefined

  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly ring: KeyRing,
    private readonly clock: Clock,
    private readonly settings: Settings,
    resealing: Resealing,
  ) {
    // Of no organization, so it goes with the one that there always is.
    resealing.register('token signing keys', (org_id) =>
      org_id === DEFAULT_ORG_ID ? this.reseal() : Promise.resolve(0),
    )
  }

  /** What is accepted now: public halves for `/.well-known/jwks.json`, oldest first. */
  async list(): Promise<readonly queries.SigningKeyRow[]> {
    const now = new Date(this.clock.now())
    const rows = await queries.selectSigningKeys(this.database.hot, now)
    if (ALGS.every((alg) => rows.some((row) => row.alg === alg && row.retired_at === null))) return rows
    this.making ??= this.makeFirst().finally(() => (this.making = undefined))
    await this.making
    return queries.selectSigningKeys(this.database.hot, now)
  }

  /** The key that signs now: asked of the database each time, because another replica may have rotated. */
  async signing(alg: queries.Alg): Promise<{ readonly kid: string; readonly key: CryptoKey }> {
    const row = (await this.list()).find((row) => row.alg === alg && row.retired_at === null)
    if (!row) throw new Error(`there is no key for ${alg}`)
    const jwk = JSON.parse(this.ring.openText(PURPOSE, row.kid, row.sealed)) as JWK
    return { kid: row.kid, key: await imported(jwk, alg) }
  }

  /** The key with this id and its own algorithm; null when it is not one of ours. */
  async find(kid: unknown): Promise<VerifyingKey | null> {
    if (typeof kid !== 'string' || !KID.test(kid)) return null
    const known = this.verifying.get(kid)
    if (known) return known
    const [row] = await queries.selectSigningKeys(this.database.hot, new Date(this.clock.now()), kid)
    if (!row) return null
    const found = { alg: row.alg, key: await imported(row.public_jwk, row.alg) }
    this.verifying.set(kid, found)
    return found
  }

  /** How long a token lives at most (rows AG-11, AG-129). */
  private get longest_ms(): number {
    return Math.max(this.settings.jwt_agent_expire_s, this.settings.jwt_admin_expire_s) * 1000
  }

  /**
   * New keys sign from now on. The ones before verify until their longest token has ended; with `end_tokens` not even
   * that: every token made so far ends at once, on every replica.
   * @throws Problem `conflict` when another rotation came first
   */
  async rotate(principal: Principal, end_tokens: boolean): Promise<readonly queries.SigningKeyRow[]> {
    await this.list()
    const keys = await this.make()
    const at = this.clock.now()
    const now = new Date(at)
    const ends_at = end_tokens ? now : new Date(at + this.longest_ms + GRACE_MS)
    await this.database.withOrg({ org_id: DEFAULT_ORG_ID }, async (tx) => {
      const retired = await queries.retireSigningKeys(tx, now, ends_at)
      const after = { kids: keys.map(({ kid }) => kid), end_tokens }
      if ((await this.insert(tx, keys, now)).length < keys.length) {
        throw new Problem('conflict', { detail: 'The keys were rotated by another request just now.' })
      }
      await queries.deleteEndedKeys(tx, now)
      await this.record(tx, principal, 'rotated', { before: { kids: retired }, after })
    })
    return this.list()
  }

  private async makeFirst(): Promise<void> {
    const keys = await this.make()
    await this.database.withOrg({ org_id: DEFAULT_ORG_ID }, async (tx) => {
      const made = await this.insert(tx, keys, new Date(this.clock.now()))
      if (made.length > 0) await this.record(tx, SYSTEM, 'created', { after: { kids: made } })
    })
  }

  private async record(
    tx: Tx,
    actor: Principal | SystemActor,
    op: 'created' | 'rotated',
    facts: { before?: { kids: string[] }; after: { kids: string[]; end_tokens?: boolean } },
  ): Promise<void> {
    const change = { kind: 'token_signing_keys', id: 'installation', op }
    await this.ledger.append(tx, actor, { event: `token_signing_keys.${op}`, change, ...facts })
  }

  private async insert(tx: Tx, keys: readonly NewKey[], created_at: Date): Promise<string[]> {
    const made: string[] = []
    for (const key of keys) {
      if (await queries.insertSigningKey(tx, { ...key, created_at })) made.push(key.kid)
    }
    return made
  }

  /** Outside a transaction: an RSA key may take a second. */
  private make(): Promise<NewKey[]> {
    return Promise.all(
      ALGS.map(async (alg) => {
        const kid = makeId('tsk_', randomBytes(ID_BYTES))
        const pair = await generateKeyPair(alg, { extractable: true, modulusLength: 2048 })
        const sealed = this.ring.sealText(PURPOSE, kid, JSON.stringify(await exportJWK(pair.privateKey)))
        const public_jwk = { ...(await exportJWK(pair.publicKey)), kid, alg, use: 'sig' }
        return { kid, alg, public_jwk, sealed }
      }),
    )
  }

  private async reseal(): Promise<number> {
    const rows = await queries.selectSealed(this.database.hot)
    const old = rows.filter(({ sealed }) => !this.ring.isPresent(sealed))
    if (old.length === 0) return 0
    await this.database.withOrg({ org_id: DEFAULT_ORG_ID }, async (tx) => {
      for (const { kid, sealed } of old) {
        const plain = this.ring.openText(PURPOSE, kid, sealed)
        await queries.updateSealed(tx, kid, this.ring.sealText(PURPOSE, kid, plain))
      }
    })
    return old.length
  }
}

async function imported(jwk: JWK, alg: queries.Alg): Promise<CryptoKey> {
  const key = await importJWK(jwk, alg)
  if (key instanceof Uint8Array) throw new Error('a signing key is not symmetric')
  return key
}
