/**
 * Checking Merkle proofs as RFC 9162 sections 2.1.3.2 and 2.1.4.2 do. These functions take whatever a stranger
 * sends: they answer true or false and never throw (unless `sha256` does).
 */
import { emptyRoot, HASH_BYTES, isSize, nodeHash, type Sha256 } from './merkle.js'

/** True when `leaf`, a leaf hash, is at `index` in the tree of `size` leaves with this root. */
export function verifyInclusion(
  sha256: Sha256,
  leaf: Uint8Array,
  index: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!isSize(index) || !isSize(size) || index >= size) return false
  if (!areHashes([leaf, root, ...proof])) return false
  let hash = leaf
  let at = index
  let last = size - 1
  for (const sibling of proof) {
    if (last === 0) return false // longer than the tree is high
    if (at % 2 === 1 || at === last) {
      hash = nodeHash(sha256, sibling, hash)
      while (at % 2 === 0 && at !== 0) {
        at /= 2
        last = Math.floor(last / 2)
      }
    } else {
      hash = nodeHash(sha256, hash, sibling)
    }
    at = Math.floor(at / 2)
    last = Math.floor(last / 2)
  }
  return last === 0 && equalBytes(hash, root)
}

/**
 * True when the tree of `to` leaves begins with the tree of `from` leaves. From size 0 the older root must be the
 * root of nothing; RFC 9162 leaves that case open.
 */
export function verifyConsistency(
  sha256: Sha256,
  from: number,
  to: number,
  proof: readonly Uint8Array[],
  fromRoot: Uint8Array,
  toRoot: Uint8Array,
): boolean {
  if (!isSize(from) || !isSize(to) || from > to) return false
  if (!areHashes([fromRoot, toRoot, ...proof])) return false
  if (from === 0 && !equalBytes(fromRoot, emptyRoot(sha256))) return false
  if (from === to) return proof.length === 0 && equalBytes(fromRoot, toRoot)
  if (from === 0) return proof.length === 0
  let at = from - 1
  let last = to - 1
  while (at % 2 === 1) {
    at = (at - 1) / 2
    last = Math.floor(last / 2)
  }
  // A complete old tree (from a power of two) is itself the first hash, and is left out of the proof.
  const [first, ...rest] = at === 0 ? [fromRoot, ...proof] : proof
  if (!first) return false
  let older = first
  let newer = first
  for (const hash of rest) {
    if (last === 0) return false
    if (at % 2 === 1 || at === last) {
      older = nodeHash(sha256, hash, older)
      newer = nodeHash(sha256, hash, newer)
      while (at % 2 === 0 && at !== 0) {
        at /= 2
        last = Math.floor(last / 2)
      }
    } else {
      newer = nodeHash(sha256, newer, hash)
    }
    at = Math.floor(at / 2)
    last = Math.floor(last / 2)
  }
  return last === 0 && equalBytes(older, fromRoot) && equalBytes(newer, toRoot)
}

/** Equality of public bytes; not in constant time. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

const areHashes = (values: readonly Uint8Array[]): boolean =>
  values.every((value) => value.length === HASH_BYTES)
