/**
 * C2SP signed-note (https://c2sp.org/signed-note): a text and the signatures on it, and the Ed25519 cosignatures of
 * https://c2sp.org/tlog-cosignature. Checking is in two steps so that it works where Ed25519 is asynchronous
 * (WebCrypto): `signatureChecks` says what must verify, the caller verifies, `noteVerdict` applies the rules.
 */
import { err, ok, type Result } from '../result.js'
import { decodeBase64, encodeBase64 } from './base64.js'
import type { Sha256 } from './merkle.js'
import { encodeUtf8 } from './utf8.js'

/** True when the 64-byte Ed25519 signature (RFC 8032) on the message is the 32-byte key's. It must not throw. */
export type VerifyEd25519 = (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean

/** Why a note, checkpoint or proof is not believed. */
export interface Fault {
  readonly code:
    | 'malformed'
    | 'unknown_signer'
    | 'bad_signature'
    | 'wrong_origin'
    | 'too_few_witnesses'
    | 'wrong_index'
    | 'not_included'
  readonly detail: string
}

/** Signature types: Ed25519 on the text, a timestamped Ed25519 cosignature, and one with ML-DSA-44. */
export const KEY_TYPES = { ed25519: 0x01, cosignature: 0x04, ml_dsa_44: 0x06 } as const
export type KeyType = keyof typeof KEY_TYPES

/** A key that a verifier trusts. Signatures of an `ml_dsa_44` key count as an unknown signer's: ignored. */
export interface VerifierKey {
  readonly name: string
  readonly type: KeyType
  readonly public_key: Uint8Array
  /** The first four bytes of a hash over the three fields above; see `makeVerifierKey`. */
  readonly id: number
}

export interface NoteSignature {
  readonly name: string
  readonly id: number
  /** What follows the key id: 64 bytes for `ed25519`, 8 of time and 64 for `cosignature`. */
  readonly signature: Uint8Array
}

export interface SignedNote {
  /** Ends with a newline. Not to be believed before a verdict. */
  readonly text: string
  readonly signatures: readonly NoteSignature[]
}

/** One signature that must verify: `verify(key.public_key, message, signature)`. */
export interface SignatureCheck {
  readonly key: VerifierKey
  readonly message: Uint8Array
  readonly signature: Uint8Array
  /** When the cosigner saw it, Unix seconds; absent for a signature without a time. */
  readonly timestamp?: number
}

/** Beyond these a note is not read: far above what a log and its witnesses need, below what costs a verifier. */
export const NOTE_MAX_LENGTH = 1024 * 1024
export const NOTE_MAX_SIGNATURES = 64

const ED25519_KEY_BYTES = 32
const ML_DSA_44_KEY_BYTES = 1312
const ED25519_SIGNATURE_BYTES = 64
const TIMESTAMP_BYTES = 8

const malformed = (detail: string) => err<Fault>({ code: 'malformed', detail })

// Key names are not empty and have neither Unicode spaces, nor plus signs, nor control characters.
// eslint-disable-next-line no-control-regex
const KEY_NAME = /^[^\p{White_Space}+\u0000-\u001f\ud800-\udfff]+$/u
// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u0009\u000b-\u001f]/

/** True for a text that can name a key. */
export const isKeyName = (name: string): boolean => KEY_NAME.test(name)

/**
 * A key with its id: SHA-256(name ‖ 0x0A ‖ type ‖ public key)[:4], big-endian.
 * @throws RangeError for a name that is no key name, or a public key of the wrong length.
 */
export function makeVerifierKey(
  sha256: Sha256,
  name: string,
  type: KeyType,
  publicKey: Uint8Array,
): VerifierKey {
  const named = isKeyName(name) ? encodeUtf8(`${name}\n`) : undefined
  if (!named)
    throw new RangeError('a key name is not empty and has no spaces, control characters or plus signs')
  if (publicKey.length !== (type === 'ml_dsa_44' ? ML_DSA_44_KEY_BYTES : ED25519_KEY_BYTES))
    throw new RangeError(`a public key of ${publicKey.length} bytes is not ${type}`)
  const digest = sha256(concat(named, Uint8Array.of(KEY_TYPES[type]), publicKey))
  return {
    name,
    type,
    public_key: publicKey,
    id: new DataView(digest.buffer, digest.byteOffset).getUint32(0),
  }
}

/** The text that verifiers share: `<name>+<8 hexadecimal digits of the id>+<base64(type ‖ public key)>`. */
export const formatVerifierKey = (key: VerifierKey): string =>
  `${key.name}+${key.id.toString(16).padStart(8, '0')}+` +
  encodeBase64(concat(Uint8Array.of(KEY_TYPES[key.type]), key.public_key))

/** Reads `formatVerifierKey`'s text. The id must be the key's own, so that a mistyped key is found at once. */
export function parseVerifierKey(sha256: Sha256, text: string): Result<VerifierKey, Fault> {
  const [, name, id, encoded] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(text) ?? []
  const bytes = decodeBase64(encoded ?? '')
  if (name === undefined || id === undefined || !bytes || bytes.length === 0)
    return malformed('a verifier key is <name>+<8 hexadecimal digits>+<base64>')
  if (!isKeyName(name)) return malformed('the name of the verifier key has spaces or control characters')
  const types = Object.entries(KEY_TYPES) as [KeyType, number][]
  const type = types.find(([, byte]) => byte === bytes[0])?.[0]
  if (!type) return malformed(`the verifier key has the unknown signature type ${bytes[0]}`)
  if (bytes.length !== 1 + (type === 'ml_dsa_44' ? ML_DSA_44_KEY_BYTES : ED25519_KEY_BYTES))
    return malformed(`the verifier key has ${bytes.length - 1} bytes of public key`)
  const key = makeVerifierKey(sha256, name, type, bytes.subarray(1))
  return key.id === Number.parseInt(id, 16)
    ? ok(key)
    : malformed('the id of the verifier key is not that of its key')
}

/**
 * Splits a note into text and signatures, believing nothing yet. The text ends at the last empty line; every line
 * after it is `— <key name> <base64(key id ‖ signature)>`. Decode bytes from outside with `decodeUtf8`: a lenient
 * decoder would make other bytes into the same text.
 */
export function parseNote(note: string): Result<SignedNote, Fault> {
  if (note.length > NOTE_MAX_LENGTH) return malformed('the note is too long')
  if (CONTROL.test(note) || !encodeUtf8(note))
    return malformed('a note is UTF-8 without control characters other than newline')
  const end = note.lastIndexOf('\n\n')
  if (end < 0 || !note.endsWith('\n')) return malformed('a note is a text, an empty line and signature lines')
  const signatures = parseSignatures(note.slice(end + 2))
  return signatures.ok ? ok({ text: note.slice(0, end + 1), signatures: signatures.value }) : signatures
}

/** Signature lines alone, as a witness answers them: one or more, each ending with a newline. */
export function parseSignatures(lines: string): Result<readonly NoteSignature[], Fault> {
  const signatures: NoteSignature[] = []
  const split = lines.split('\n')
  if (split.pop() !== '' || split.length === 0) return malformed('signature lines end with a newline')
  if (split.length > NOTE_MAX_SIGNATURES) return malformed('the note has too many signatures')
  for (const line of split) {
    const [, name, encoded] = /^\u2014 ([^ ]+) ([^ ]+)$/.exec(line) ?? []
    const bytes = decodeBase64(encoded ?? '')
    if (name === undefined || !isKeyName(name) || !bytes || bytes.length < 5)
      return malformed(`signature line ${signatures.length + 1} is not "\u2014 <key name> <base64>"`)
    const id = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
    signatures.push({ name, id, signature: bytes.subarray(4) })
  }
  return ok(signatures)
}

/** One signature line, with its newline. */
export function formatSignature({ name, id, signature }: NoteSignature): string {
  const bytes = new Uint8Array(4 + signature.length)
  new DataView(bytes.buffer).setUint32(0, id)
  bytes.set(signature, 4)
  return `\u2014 ${name} ${encodeBase64(bytes)}\n`
}

/**
 * The note of a text and its signatures.
 * @throws RangeError when it would not parse back to the same: a text without final newline, control characters.
 */
export function formatNote(text: string, signatures: readonly NoteSignature[]): string {
  const note = `${text}\n${signatures.map(formatSignature).join('')}`
  const parsed = parseNote(note)
  if (!parsed.ok || parsed.value.text !== text)
    throw new RangeError('the text or a signature does not make a note')
  return note
}

/**
 * The bytes that an `ed25519` key signs.
 * @throws RangeError for a text with lone surrogates.
 */
export function noteMessage(text: string): Uint8Array {
  const message = encodeUtf8(text)
  if (!message) throw new RangeError('a note has no lone surrogates')
  return message
}

/** The bytes that a `cosignature` key signs: what was seen (the whole note text), and when, in Unix seconds. */
export function cosignatureMessage(text: string, timestamp: number): Uint8Array {
  if (!Number.isSafeInteger(timestamp) || timestamp < 0)
    throw new RangeError(`${timestamp} is not a time in seconds`)
  return noteMessage(`cosignature/v1\ntime ${timestamp}\n${text}`)
}

/** The signature of a cosignature line: the time as a big-endian uint64, then the 64 bytes of Ed25519. */
export function encodeCosignature(timestamp: number, signature: Uint8Array): Uint8Array {
  if (!Number.isSafeInteger(timestamp) || timestamp < 0)
    throw new RangeError(`${timestamp} is not a time in seconds`)
  const bytes = new Uint8Array(TIMESTAMP_BYTES + signature.length)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(timestamp))
  bytes.set(signature, TIMESTAMP_BYTES)
  return bytes
}

/** The parts of a cosignature, or undefined when it has not 72 bytes or its time is above 2^53 - 1 seconds. */
export function decodeCosignature(
  bytes: Uint8Array,
): { timestamp: number; signature: Uint8Array } | undefined {
  if (bytes.length !== TIMESTAMP_BYTES + ED25519_SIGNATURE_BYTES) return undefined
  const timestamp = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0))
  if (!Number.isSafeInteger(timestamp)) return undefined
  return { timestamp, signature: bytes.subarray(TIMESTAMP_BYTES) }
}

/**
 * What must verify before the note is believed: every signature whose name and id are a known key's. The others are
 * ignored, as are the keys of types this code cannot check. A known key's signature of the wrong length is a fault.
 */
export function signatureChecks(
  note: SignedNote,
  keys: readonly VerifierKey[],
): Result<SignatureCheck[], Fault> {
  const checks: SignatureCheck[] = []
  for (const { name, id, signature } of note.signatures)
    for (const key of keys) {
      if (key.type === 'ml_dsa_44' || key.name !== name || key.id !== id) continue
      const check = signatureCheck(key, note.text, signature)
      if (!check) return err({ code: 'bad_signature', detail: `the signature of ${name} has a wrong form` })
      checks.push(check)
    }
  return ok(checks)
}

function signatureCheck(key: VerifierKey, text: string, bytes: Uint8Array): SignatureCheck | undefined {
  if (key.type === 'ed25519')
    return bytes.length === ED25519_SIGNATURE_BYTES
      ? { key, message: noteMessage(text), signature: bytes }
      : undefined
  const parts = decodeCosignature(bytes)
  return parts && { key, message: cosignatureMessage(text, parts.timestamp), ...parts }
}

/**
 * The rules of signed-note on what was found: one bad signature of a known key rejects the whole note, and so does
 * having no good one. The value holds each key once, with its first signature, so that it can be counted.
 * @param verified for each check, whether it verified; a missing answer counts as no.
 */
export function noteVerdict(
  checks: readonly SignatureCheck[],
  verified: readonly boolean[],
): Result<readonly SignatureCheck[], Fault> {
  const bad = checks.find((_, i) => verified[i] !== true)
  if (bad) return err({ code: 'bad_signature', detail: `the signature of ${bad.key.name} does not verify` })
  if (checks.length === 0) return err({ code: 'unknown_signer', detail: 'no known key has signed this note' })
  return ok(checks.filter((check, i) => checks.findIndex(({ key }) => key === check.key) === i))
}

/** Who of the known keys signed the note, when all is well; both steps in one where Ed25519 is synchronous. */
export function verifyNote(
  note: SignedNote,
  keys: readonly VerifierKey[],
  verify: VerifyEd25519,
): Result<readonly SignatureCheck[], Fault> {
  const checks = signatureChecks(note, keys)
  if (!checks.ok) return checks
  const verified = checks.value.map(({ key, message, signature }) =>
    verify(key.public_key, message, signature),
  )
  return noteVerdict(checks.value, verified)
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
