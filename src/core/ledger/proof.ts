/**
 * C2SP tlog-proof (https://c2sp.org/tlog-proof), the content of a `.tlog-proof` file: everything that shows, offline,
 * that an entry is in a log whose keys one knows.
 */
import { err, ok, type Result } from '../result.js'
import { decodeBase64, encodeBase64 } from './base64.js'
import {
  type CheckpointPolicy,
  checkpointVerdict,
  parseDecimal,
  type PendingCheckpoint,
  pendingCheckpoint,
  type VerifiedCheckpoint,
} from './checkpoint.js'
import { HASH_BYTES, isSize, leafHash, type Sha256 } from './merkle.js'
import { type Fault, NOTE_MAX_LENGTH, parseNote, type VerifyEd25519 } from './note.js'
import { verifyInclusion } from './verify-merkle.js'

export interface Proof {
  /** Anything the application adds; not authenticated by the format. AgentGuard puts the entry's bytes here. */
  readonly extra?: Uint8Array
  /** The entry's zero-based index in the log. */
  readonly index: number
  /** The inclusion proof, from the leaf's sibling up. */
  readonly hashes: readonly Uint8Array[]
  /** The signed checkpoint, verbatim. */
  readonly checkpoint: string
}

/** What an entry is to be held against. */
export interface ProofExpectation {
  /** The entry's bytes, exactly as stored. */
  readonly entry: Uint8Array
  readonly policy: CheckpointPolicy
  /** Where the entry must be; any index when absent. */
  readonly index?: number
}

/** A tree of 2^53 leaves is 53 hashes high; the format and tlog-witness allow 63. */
export const PROOF_MAX_HASHES = 63

const HEADER = 'c2sp.org/tlog-proof@v1'
const malformed = (detail: string) => err<Fault>({ code: 'malformed', detail })

/**
 * The text of a proof.
 * @throws RangeError for what would not parse back to the same.
 */
export function formatProof({ extra, index, hashes, checkpoint }: Proof): string {
  if (!isSize(index)) throw new RangeError(`${index} is not a leaf index`)
  if (hashes.length > PROOF_MAX_HASHES || hashes.some((hash) => hash.length !== HASH_BYTES))
    throw new RangeError('an inclusion proof is at most 63 hashes of 32 bytes')
  if (!parseNote(checkpoint).ok) throw new RangeError('the checkpoint is not a signed note')
  const lines = extra ? [HEADER, `extra ${encodeBase64(extra)}`] : [HEADER]
  return [...lines, `index ${index}`, ...hashes.map(encodeBase64), '', checkpoint].join('\n')
}

/** Reads a proof, believing nothing yet. Its checkpoint is left as text for `pendingCheckpoint`. */
export function parseProof(text: string): Result<Proof, Fault> {
  if (text.length > 2 * NOTE_MAX_LENGTH) return malformed('the proof is too long')
  const blank = text.indexOf('\n\n')
  if (blank < 0) return malformed('a proof ends with an empty line and a checkpoint')
  const [header, ...lines] = text.slice(0, blank).split('\n')
  if (header !== HEADER) return malformed(`a proof begins with ${HEADER}`)
  const extraLine = lines[0]?.startsWith('extra ') ? lines.shift() : undefined
  const extra = extraLine === undefined ? undefined : decodeBase64(extraLine.slice('extra '.length))
  if (extraLine !== undefined && !extra) return malformed('the extra data of the proof is not base64')
  const indexLine = lines.shift() ?? ''
  const index = indexLine.startsWith('index ') ? parseDecimal(indexLine.slice('index '.length)) : undefined
  if (index === undefined) return malformed('the proof has no line "index <decimal below 2^53>"')
  if (lines.length > PROOF_MAX_HASHES) return malformed('the proof has too many hashes')
  const hashes: Uint8Array[] = []
  for (const line of lines) {
    const hash = decodeBase64(line)
    if (hash?.length !== HASH_BYTES)
      return malformed(`hash ${hashes.length + 1} of the proof is not 32 bytes in base64`)
    hashes.push(hash)
  }
  const checkpoint = text.slice(blank + 2)
  return ok(extra ? { extra, index, hashes, checkpoint } : { index, hashes, checkpoint })
}

/** A proof whose checkpoint's signatures are still to be verified, one answer for each of `checkpoint.checks`. */
export interface PendingProof {
  readonly proof: Proof
  readonly checkpoint: PendingCheckpoint
}

/**
 * Checks everything of a proof but the signatures: form, origin, index, and that the entry's hash leads to the root.
 * Not to be believed before `checkpointVerdict(pending.checkpoint, …)` is.
 */
export function pendingProof(
  sha256: Sha256,
  text: string,
  expected: ProofExpectation,
): Result<PendingProof, Fault> {
  const proof = parseProof(text)
  if (!proof.ok) return proof
  const { index, hashes } = proof.value
  if (expected.index !== undefined && index !== expected.index)
    return err({ code: 'wrong_index', detail: `the proof is of index ${index}, not ${expected.index}` })
  const checkpoint = pendingCheckpoint(proof.value.checkpoint, expected.policy)
  if (!checkpoint.ok) return checkpoint
  const { size, root } = checkpoint.value.checkpoint
  if (!verifyInclusion(sha256, leafHash(sha256, expected.entry), index, size, hashes, root))
    return err({
      code: 'not_included',
      detail: `the entry is not at index ${index} of the log of ${size} entries`,
    })
  return ok({ proof: proof.value, checkpoint: checkpoint.value })
}

/** True proof that the entry is in the log: form, signatures, policy and inclusion, in one call. Never throws. */
export function verifyProof(
  sha256: Sha256,
  verify: VerifyEd25519,
  text: string,
  expected: ProofExpectation,
): Result<VerifiedCheckpoint, Fault> {
  const pending = pendingProof(sha256, text, expected)
  if (!pending.ok) return pending
  const { checkpoint } = pending.value
  return checkpointVerdict(
    checkpoint,
    checkpoint.checks.map(({ key, message, signature }) => verify(key.public_key, message, signature)),
  )
}
