/**
 * C2SP tlog-witness (https://c2sp.org/tlog-witness): the request `add-checkpoint`, for the log that sends it and the
 * witness that judges it. Pure: what the witness saw last comes in, and what it must remember goes out.
 */
import { err, ok, type Result } from '../result.js'
import { decodeBase64, encodeBase64 } from './base64.js'
import { parseCheckpoint, type ParsedCheckpoint, parseDecimal } from './checkpoint.js'
import { emptyRoot, HASH_BYTES, isSize, type Sha256 } from './merkle.js'
import { type Fault, parseNote, type VerifierKey, verifyNote, type VerifyEd25519 } from './note.js'
import { PROOF_MAX_HASHES } from './proof.js'
import { equalBytes, verifyConsistency } from './verify-merkle.js'

export interface AddCheckpoint {
  /** Size of the checkpoint that the witness cosigned last, as the sender believes; 0 for none. */
  readonly old_size: number
  /** RFC 6962 2.1.2, from the old size to the checkpoint's. */
  readonly proof: readonly Uint8Array[]
  /** The signed note, verbatim. */
  readonly checkpoint: string
}

/** What a witness remembers of a log: the newest checkpoint that it has cosigned. */
export interface Witnessed {
  readonly size: number
  readonly root: Uint8Array
}

/** The witness's answer, by HTTP status. Only with 200 may it cosign, and only after it remembers `checkpoint`. */
export type WitnessVerdict =
  | { readonly status: 200; readonly checkpoint: ParsedCheckpoint; readonly text: string }
  | { readonly status: 400 | 403 | 404 | 422; readonly detail: string }
  /** `size` is what the witness has; `fork`: a genuine checkpoint of that very size has another root. */
  | { readonly status: 409; readonly size: number; readonly fork: boolean }

const OLD = 'old '
const malformed = (detail: string) => err<Fault>({ code: 'malformed', detail })

/**
 * The body of the request.
 * @throws RangeError for what would not be read back as the same.
 */
export function formatAddCheckpoint({ old_size, proof, checkpoint }: AddCheckpoint): string {
  if (!isSize(old_size)) throw new RangeError(`${old_size} is not a tree size`)
  if (proof.length > PROOF_MAX_HASHES || proof.some((hash) => hash.length !== HASH_BYTES))
    throw new RangeError('a consistency proof is at most 63 hashes of 32 bytes')
  return [`${OLD}${old_size}`, ...proof.map(encodeBase64), '', checkpoint].join('\n')
}

/** Reads the body of a request. Nothing in it is to be believed yet. */
export function parseAddCheckpoint(body: string): Result<AddCheckpoint, Fault> {
  const blank = body.indexOf('\n\n')
  if (blank < 0) return malformed('the request is an old size, a proof, an empty line and a checkpoint')
  const [old = '', ...lines] = body.slice(0, blank).split('\n')
  const old_size = old.startsWith(OLD) ? parseDecimal(old.slice(OLD.length)) : undefined
  if (old_size === undefined) return malformed('the request has no line "old <decimal below 2^53>"')
  if (lines.length > PROOF_MAX_HASHES) return malformed('the proof has more than 63 hashes')
  const proof: Uint8Array[] = []
  for (const line of lines) {
    const hash = decodeBase64(line)
    if (hash?.length !== HASH_BYTES)
      return malformed(`hash ${proof.length + 1} of the proof is not 32 bytes in base64`)
    proof.push(hash)
  }
  return ok({ old_size, proof, checkpoint: body.slice(blank + 2) })
}

/**
 * Whether the witness may cosign.
 * @param keysOf the keys that the witness trusts for a log; none: it does not know the log
 * @param last what it cosigned last of a log. Between this and remembering the new one nothing else may be judged
 */
export function judgeCheckpoint(
  { sha256, verify }: { readonly sha256: Sha256; readonly verify: VerifyEd25519 },
  body: string,
  keysOf: (origin: string) => readonly VerifierKey[],
  last: (origin: string) => Witnessed | undefined,
): WitnessVerdict {
  const request = parseAddCheckpoint(body)
  if (!request.ok) return { status: 400, detail: request.errors.detail }
  const { old_size, proof } = request.value
  const note = parseNote(request.value.checkpoint)
  if (!note.ok) return { status: 400, detail: note.errors.detail }
  const checkpoint = parseCheckpoint(note.value.text)
  if (!checkpoint.ok) return { status: 400, detail: checkpoint.errors.detail }
  const { origin, size, root } = checkpoint.value
  const keys = keysOf(origin)
  if (keys.length === 0) return { status: 404, detail: 'this witness does not know the log' }
  const signed = verifyNote(note.value, keys, verify)
  if (!signed.ok) return { status: 403, detail: signed.errors.detail }
  if (old_size > size) return { status: 400, detail: 'the old size is above that of the checkpoint' }
  const seen = last(origin) ?? { size: 0, root: emptyRoot(sha256) }
  if (old_size !== seen.size) return { status: 409, size: seen.size, fork: false }
  if (size === seen.size && !equalBytes(root, seen.root)) return { status: 409, size, fork: true }
  if (!verifyConsistency(sha256, old_size, size, proof, seen.root, root))
    return { status: 422, detail: 'the proof does not show that the log begins with what was cosigned' }
  return { status: 200, checkpoint: checkpoint.value, text: note.value.text }
}
