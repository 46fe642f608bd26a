import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { type Checkpoint, formatCheckpoint, verifyCheckpoint } from '../core/ledger/checkpoint.js'
import {
  formatNote,
  formatVerifierKey,
  makeVerifierKey,
  noteMessage,
  parseVerifierKey,
  type VerifierKey,
} from '../core/ledger/note.js'
import { sha256 } from './tree-tiles.js'

/** `<installation>/<org_id>/e<epoch>` without what names the log: the name of the installation's key. */
export const installationOf = (origin: string): string => origin.replace(/\/[^/]+\/e\d+$/, '')

/** Ed25519 of Node, as the pure verifiers take it. Public keys are read once. */
export function verifyEd25519(public_key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const name = Buffer.from(public_key).toString('base64url')
  let key = keys.get(name)
  if (!key) {
    key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: name }, format: 'jwk' })
    keys.set(name, key)
  }
  return verify(null, message, key, signature)
}
const keys = new Map<string, KeyObject>()

/** The text of the verifier key with this name. */
export const vkeyOf = (name: string, public_key: Uint8Array): string =>
  formatVerifierKey(makeVerifierKey(sha256, name, 'ed25519', public_key))

/** The public key of a verifier key's text; null when it is none. */
export function publicKeyOf(vkey: string): Uint8Array | null {
  const key = parseVerifierKey(sha256, vkey)
  return key.ok ? key.value.public_key : null
}

/**
 * A signed checkpoint. The one signature stands there under two names: the log's origin, as tlog-checkpoint wants it,
 * and the installation's, so that one published key verifies every log without a list of tenants.
 */
export function signCheckpoint(checkpoint: Checkpoint, key: KeyObject, public_key: Uint8Array): string {
  const text = formatCheckpoint(checkpoint)
  const signature = sign(null, noteMessage(text), key)
  const names = [checkpoint.origin, installationOf(checkpoint.origin)]
  return formatNote(
    text,
    names.map((name) => ({ name, id: makeVerifierKey(sha256, name, 'ed25519', public_key).id, signature })),
  )
}

/**
 * What a stored note says when one of the keys signed it for this log; null otherwise. Stricter than a verifier has
 * to be, which passes over lines that it does not know: both of our lines must be there, to find any changed byte.
 */
export function openCheckpoint(
  note: string,
  origin: string,
  public_keys: readonly Uint8Array[],
): Checkpoint | null {
  const names = [origin, installationOf(origin)]
  const log_keys = public_keys.flatMap((key): VerifierKey[] =>
    names.map((name) => makeVerifierKey(sha256, name, 'ed25519', key)),
  )
  const verified = verifyCheckpoint(note, { origin, log_keys }, verifyEd25519)
  if (!verified.ok) return null
  const signed = verified.value.signers.map(({ key }) => key.name)
  return names.every((name) => signed.includes(name)) ? verified.value : null
}
