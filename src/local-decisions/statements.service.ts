import { Injectable } from '@nestjs/common'
import { CompactSign, compactVerify, type CryptoKey, decodeProtectedHeader, errors } from 'jose'
import { SigningKeysService } from '../signing-keys/signing-keys.service.js'

/** How long a key is signed with before the database is asked again which one signs. */
const KEY_MS = 1_000
/** Larger than any manifest that we write. */
const MAX_LENGTH = 1024 * 1024

/**
 * Signs and reads what agents decide from: JWS (RFC 7515) with the installation's Ed25519 key for tokens, which every
 * replica has; the key of checkpoints is in one process only. `typ` keeps them and the tokens apart (RFC 8725, 3.11).
 */
@Injectable()
export class StatementsService {
  private current: { readonly kid: string; readonly key: CryptoKey; readonly until: number } | undefined

  constructor(private readonly keys: SigningKeysService) {}

  /** The key that signs now. */
  async kid(): Promise<string> {
    return (await this.signing()).kid
  }

  /** The same text under the same key has the same signature (RFC 8032). */
  async sign(typ: string, text: string): Promise<string> {
    const { kid, key } = await this.signing()
    return new CompactSign(Buffer.from(text)).setProtectedHeader({ alg: 'EdDSA', kid, typ }).sign(key)
  }

  /** The text of a statement of ours of this type; null for everything else. The key is asked for, never taken from it. */
  async read(typ: string, jws: string): Promise<string | null> {
    if (jws.length > MAX_LENGTH) return null
    try {
      const header = decodeProtectedHeader(jws)
      const found = header.typ === typ && header.alg === 'EdDSA' ? await this.keys.find(header.kid) : null
      if (found?.alg !== 'EdDSA') return null
      const { payload } = await compactVerify(jws, found.key, { algorithms: ['EdDSA'] })
      return Buffer.from(payload).toString()
    } catch (error) {
      if (error instanceof errors.JOSEError || error instanceof TypeError) return null
      throw error
    }
  }

  private async signing() {
    if (this.current && performance.now() < this.current.until) return this.current
    const { kid, key } = await this.keys.signing('EdDSA')
    this.current = { kid, key, until: performance.now() + KEY_MS }
    return this.current
  }
}
