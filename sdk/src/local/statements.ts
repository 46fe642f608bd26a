import { createPublicKey, type JsonWebKey, type KeyObject, verify } from 'node:crypto'
import { LocalRefused } from './refused.js'

/** An Ed25519 key as `/.well-known/jwks.json` has it. */
export type PublicKey = JsonWebKey & { readonly kid?: string }

/** An unknown key is looked for again, and not more often than this. */
const FETCH_EVERY_MS = 5_000

/** Reads what the service signs: compact JWS (RFC 7515) with Ed25519, of the one type that is wanted. */
export class Statements {
  private keys = new Map<string, KeyObject>()
  private fetched_at = -Infinity

  /**
   * @param fetchKeys the keys of the service, asked again when a new one signs
   * @param pinned keys to trust instead: then no other is, whatever the service says
   */
  constructor(
    private readonly fetchKeys: () => Promise<readonly PublicKey[]>,
    private readonly pinned: readonly PublicKey[] | undefined,
  ) {
    if (pinned) this.keys = keysOf(pinned)
  }

  /** The signed text. @throws LocalRefused `bundle_invalid` */
  async read(typ: string, jws: string): Promise<string> {
    const parts = jws.split('.')
    const [head = '', payload = '', signature = ''] = parts
    const header = headerOf(head)
    if (parts.length !== 3 || header.typ !== typ || header.alg !== 'EdDSA' || header.crit !== undefined)
      throw invalid(`it is no statement of the type ${typ}`)
    const key = await this.key(header.kid)
    const signed = Buffer.from(`${head}.${payload}`)
    if (!key || !verify(null, signed, key, Buffer.from(signature, 'base64url')))
      throw invalid('it is not signed by a key that is trusted')
    return Buffer.from(payload, 'base64url').toString()
  }

  private async key(kid: unknown): Promise<KeyObject | undefined> {
    if (typeof kid !== 'string') return undefined
    const known = this.keys.get(kid)
    if (known || this.pinned || performance.now() - this.fetched_at < FETCH_EVERY_MS) return known
    this.fetched_at = performance.now()
    this.keys = keysOf(await this.fetchKeys())
    return this.keys.get(kid)
  }
}

export const invalid = (detail: string) => new LocalRefused('bundle_invalid', detail)

function headerOf(text: string): Readonly<Record<string, unknown>> {
  try {
    return Object(JSON.parse(Buffer.from(text, 'base64url').toString())) as Record<string, unknown>
  } catch {
    return {}
  }
}

function keysOf(keys: readonly PublicKey[]): Map<string, KeyObject> {
  const usable = new Map<string, KeyObject>()
  for (const key of keys)
    if (key.kid !== undefined && key.kty === 'OKP' && key.crv === 'Ed25519')
      usable.set(key.kid, createPublicKey({ key, format: 'jwk' }))
  return usable
}
