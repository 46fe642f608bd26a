import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'

const CIPHER = 'aes-256-gcm'
const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** Bytes sealed under one key of the ring. */
export interface Sealed {
  /** Which key: the first 16 hex digits of a hash of it. */
  readonly kek_id: string
  /** nonce ‖ ciphertext ‖ tag */
  readonly bytes: Buffer
}

/**
 * `LEDGER_KEK` and the keys before it. Everything this installation keeps encrypted hangs on the ring: data keys of
 * the ledger's payloads, secrets of webhooks and of single sign-on, private signing keys. New things are sealed with
 * the present key; older ones still open, and are sealed anew after a rotation (`Resealing`).
 *
 * AES-256-GCM under a key derived for one purpose (HKDF-SHA-256, RFC 5869), with the place where the bytes are kept
 * as additional data: nothing sealed here opens under another purpose or in another row.
 */
export class KeyRing {
  private readonly keys = new Map<string, Uint8Array>()
  /** The key that seals. */
  readonly present: string

  /** @param present 32 bytes @param previous keys that may still open what they sealed */
  constructor(present: Uint8Array, previous: readonly Uint8Array[] = []) {
    for (const key of [present, ...previous]) {
      if (key.length !== KEY_BYTES) throw new Error(`a key-encryption key must be ${KEY_BYTES} bytes`)
      this.keys.set(kekId(key), key)
    }
    this.present = kekId(present)
  }

  /**
   * @param purpose e.g. `webhook-secret/v1`; null for data keys alone, which were wrapped with the key itself before
   * purposes were separated @param place what identifies the row, e.g. `org_id\0webhook_id`
   */
  seal(purpose: string | null, place: string, plain: Uint8Array): Sealed {
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv(CIPHER, this.keyFor(this.present, purpose), nonce).setAAD(
      Buffer.from(place),
    )
    const bytes = Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
    return { kek_id: this.present, bytes }
  }

  /** @throws Error when the key is not on the ring, or bytes, purpose and place do not belong together */
  open(
    purpose: string | null,
    place: string,
    { kek_id, bytes }: { kek_id: string; bytes: Uint8Array },
  ): Buffer {
    if (bytes.length < NONCE_BYTES + TAG_BYTES) throw new Error('these sealed bytes are too short')
    const key = this.keyFor(kek_id, purpose)
    const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES)).setAAD(Buffer.from(place))
    decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES))
    const sealed = bytes.subarray(NONCE_BYTES, bytes.length - TAG_BYTES)
    return Buffer.concat([decipher.update(sealed), decipher.final()])
  }

  /** One text for a column: `v1.<kek_id>.<base64url>`. */
  sealText(purpose: string, place: string, plain: string): string {
    const { kek_id, bytes } = this.seal(purpose, place, Buffer.from(plain))
    return `v1.${kek_id}.${bytes.toString('base64url')}`
  }

  /** @throws Error as `open` */
  openText(purpose: string, place: string, sealed: string): string {
    const [, kek_id, bytes] = /^v1\.([0-9a-f]{16})\.([\w-]+)$/.exec(sealed) ?? []
    if (kek_id === undefined || bytes === undefined) throw new Error('this is not a sealed text')
    return this.open(purpose, place, { kek_id, bytes: Buffer.from(bytes, 'base64url') }).toString()
  }

  /** Whether a text was sealed with the present key. */
  isPresent(sealed: string): boolean {
    return sealed.startsWith(`v1.${this.present}.`)
  }

  private keyFor(kek_id: string, purpose: string | null): Uint8Array {
    const key = this.keys.get(kek_id)
    if (!key) {
      throw new Error(
        `this was sealed with another LEDGER_KEK (${kek_id}): put that key into LEDGER_KEK_PREVIOUS, or restore it`,
      )
    }
    if (purpose === null) return key
    return Buffer.from(hkdfSync('sha256', key, '', `agentguard/${purpose}`, KEY_BYTES))
  }
}

const kekId = (key: Uint8Array): string =>
  createHash('sha256').update('agentguard/kek/v1\0').update(key).digest('hex').slice(0, 16)
