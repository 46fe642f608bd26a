import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from 'node:crypto'
import type { Pool } from 'pg'
import { canonicalize, type Json } from '../core/ledger/canonical.js'
import type { PayloadCommitment } from '../core/ledger/entry.js'
import { uuidv7 } from '../core/ids.js'
import type { KeyRing } from '../platform/crypto/key-ring.js'
import { within } from '../platform/clock/within.js'
import { type DataKeyRow, ensureDataKey, findDataKey } from './ledger.queries.js'

const COMMITMENT_DOMAIN = Buffer.from('agentguard/payload/v1\0')
const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16
const SALT_BYTES = 32
/** Unwrapped data keys kept in memory: organizations × months that are in use. */
const MAX_KEYS = 10_000
/** After a rotation, every replica seals with the new data key within this time. */
const CURRENT_MS = 60_000
/** A decision does not wait longer for the month's data key: it must be answered within 2 s. */
const KEY_MS = 700

export interface SealedPayload {
  /** Goes into the entry. */
  readonly commitment: PayloadCommitment
  /** nonce ‖ ciphertext ‖ tag: goes beside the entry. */
  readonly body: Buffer
  readonly dek_id: string
}

/** A payload as it is stored beside its entry. */
export interface StoredPayload {
  readonly nonce: Uint8Array
  /** ciphertext ‖ tag */
  readonly body: Uint8Array
  readonly dek_id: string
}

interface DataKey {
  readonly dek_id: string
  readonly key: KeyObject
}

/**
 * Seals the erasable part of an entry (ledger.md, Payload): free-form arguments, context and metadata, and the
 * before and after of a change. Encrypted from the first day with a data key an organization and month, wrapped by
 * LEDGER_KEK; committed to by a salted hash, so that erasing the row breaks no proof and the hash tells nothing.
 */
export class PayloadSealer {
  /** By dek_id: what opens. */
  private readonly keys = new Map<string, DataKey>()
  /** By organization and month: what seals, until it is looked up again. */
  private readonly current = new Map<string, { key: DataKey; until: number }>()

  constructor(
    private readonly pool: Pool,
    private readonly ring: KeyRing,
  ) {}

  /**
   * @param log the log's origin and @param id the entry's id: bound as additional data, so that a payload cannot be
   * moved to another entry. @param payload members that are undefined are left out.
   */
  async seal(
    org_id: string,
    log: string,
    id: string,
    ts: number,
    payload: Readonly<Record<string, Json | undefined>>,
  ): Promise<SealedPayload> {
    const { dek_id, key } = await this.sealingKey(org_id, monthOf(ts))
    const salt = randomBytes(SALT_BYTES)
    const text = Buffer.from(canonicalize(payload))
    const plain = Buffer.concat([salt, text])
    const c = createHash('sha256').update(COMMITMENT_DOMAIN).update(plain).digest('base64url')
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv(CIPHER, key, nonce).setAAD(additionalData(log, id))
    const body = Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
    const fields = Object.keys(payload).filter((field) => payload[field] !== undefined)
    return { commitment: { c, fields: fields.sort() }, body, dek_id }
  }

  /** The payload of an entry; throws when ciphertext, key or binding do not fit. */
  async open(
    org_id: string,
    log: string,
    id: string,
    ts: number,
    sealed: StoredPayload,
  ): Promise<Record<string, Json>> {
    const opened = await this.openCommitted(org_id, log, id, ts, sealed)
    if (!opened) throw new Error(`the payload of entry ${id} does not fit its key or its entry`)
    return JSON.parse(opened.text) as Record<string, Json>
  }

  /**
   * As `open`, with what shows that it is the payload which the entry commits to: its canonical text and salt. Null
   * when ciphertext, key or binding do not fit.
   */
  async openCommitted(
    org_id: string,
    log: string,
    id: string,
    ts: number,
    { nonce, body, dek_id }: StoredPayload,
  ): Promise<{ salt: Buffer; text: string } | null> {
    const key = await this.openingKey(org_id, monthOf(ts), dek_id)
    if (!key) return null
    if (nonce.length !== NONCE_BYTES || body.length < SALT_BYTES + TAG_BYTES) return null
    const decipher = createDecipheriv(CIPHER, key, nonce).setAAD(additionalData(log, id))
    decipher.setAuthTag(body.subarray(body.length - TAG_BYTES))
    const sealed = decipher.update(body.subarray(0, body.length - TAG_BYTES))
    let plain: Buffer
    try {
      plain = Buffer.concat([sealed, decipher.final()])
    } catch {
      return null // GCM says no more than that
    }
    return { salt: plain.subarray(0, SALT_BYTES), text: plain.subarray(SALT_BYTES).toString() }
  }

  /**
   * A new data key for this month of the organization, to be stored; payloads are sealed with it once it is there.
   */
  makeKey(org_id: string, ts: number): DataKeyRow & { readonly month: string } {
    const month = monthOf(ts)
    return { month, ...this.wrap(org_id, month, randomBytes(32)) }
  }

  /** The same data key under the present key-encryption key; null when it is there already. */
  rewrap(org_id: string, month: string, row: DataKeyRow): DataKeyRow | null {
    if (row.kek_id === this.ring.present) return null
    const place = keyBinding(org_id, month, row.dek_id)
    const { kek_id, bytes } = this.ring.seal(null, place, this.unwrap(org_id, month, row))
    return { dek_id: row.dek_id, kek_id, wrapped: bytes }
  }

  /** Forgets which data keys seal: the next payload looks its own up. */
  forget(): void {
    this.current.clear()
  }

  private async sealingKey(org_id: string, month: string): Promise<DataKey> {
    const name = `${org_id}/${month}`
    const known = this.current.get(name)
    const now = performance.now()
    if (known && now < known.until) return known.key
    const offered = this.wrap(org_id, month, randomBytes(32))
    const stored = await within(KEY_MS, ensureDataKey(this.pool, org_id, month, offered))
    const key = { dek_id: stored.dek_id, key: createSecretKey(this.unwrap(org_id, month, stored)) }
    remember(this.current, name, { key, until: now + CURRENT_MS })
    return key
  }

  private async openingKey(org_id: string, month: string, dek_id: string): Promise<KeyObject | null> {
    const known = this.keys.get(dek_id)
    if (known) return known.key
    const row = await within(KEY_MS, findDataKey(this.pool, org_id, month, dek_id))
    if (!row) return null
    const key = createSecretKey(this.unwrap(org_id, month, row))
    remember(this.keys, dek_id, { dek_id, key })
    return key
  }

  private wrap(org_id: string, month: string, data_key: Buffer): DataKeyRow {
    const dek_id = uuidv7(Date.now(), randomBytes(10))
    const { kek_id, bytes } = this.ring.seal(null, keyBinding(org_id, month, dek_id), data_key)
    return { dek_id, kek_id, wrapped: bytes }
  }

  private unwrap(org_id: string, month: string, { dek_id, kek_id, wrapped }: DataKeyRow): Buffer {
    return this.ring.open(null, keyBinding(org_id, month, dek_id), { kek_id, bytes: wrapped })
  }
}

/** Keeps a bounded number; the one that was put in first goes first. */
function remember<T>(kept: Map<string, T>, name: string, value: T): void {
  const oldest = kept.keys().next()
  if (kept.size >= MAX_KEYS && !oldest.done) kept.delete(oldest.value)
  kept.set(name, value)
}

/** First day of the month of an instant, UTC, as the payload partitions are named. */
export const monthOf = (ts: number): string => `${new Date(ts).toISOString().slice(0, 7)}-01`

const additionalData = (log: string, id: string): Buffer => Buffer.from(`${log}\0${id}`)
const keyBinding = (org_id: string, month: string, dek_id: string): string => `${org_id}\0${month}\0${dek_id}`
