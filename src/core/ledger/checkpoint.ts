/**
 * C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint): a signed statement of a ledger's size and root. Its text
 * is three lines: origin, size, root.
 */
import { err, ok, type Result } from '../result.js'
import { decodeBase64, encodeBase64 } from './base64.js'
import { HASH_BYTES, isSize } from './merkle.js'
import {
  type Fault,
  noteVerdict,
  parseNote,
  type SignatureCheck,
  signatureChecks,
  type SignedNote,
  type VerifierKey,
  type VerifyEd25519,
} from './note.js'
import { encodeUtf8 } from './utf8.js'

export interface Checkpoint {
  /** The name of the log; tells one organization's log and epoch from another's. */
  readonly origin: string
  readonly size: number
  readonly root: Uint8Array
}

/** A checkpoint as read. Extension lines are kept but mean nothing: no monitor can check what they say. */
export interface ParsedCheckpoint extends Checkpoint {
  readonly extensions: readonly string[]
}

/** Whom to believe about a log. */
export interface CheckpointPolicy {
  readonly origin: string
  /** Any one of them must have signed; several while a key is rotated. */
  readonly log_keys: readonly VerifierKey[]
  readonly witness_keys?: readonly VerifierKey[]
  /** How many different witnesses must have cosigned; 0 when absent. */
  readonly witnesses_needed?: number
}

/** A checkpoint that met its policy, and who vouched for it. */
export interface VerifiedCheckpoint extends ParsedCheckpoint {
  readonly signers: readonly SignatureCheck[]
}

/** A checkpoint whose signatures are still to be verified, one answer for each of `checks`. */
export interface PendingCheckpoint {
  readonly note: SignedNote
  readonly checkpoint: ParsedCheckpoint
  readonly checks: readonly SignatureCheck[]
  readonly policy: CheckpointPolicy
}

const malformed = (detail: string) => err<Fault>({ code: 'malformed', detail })

// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f]/

/** A decimal without leading zeros, up to 2^53 - 1; undefined for anything else. */
export function parseDecimal(text: string): number | undefined {
  if (!/^(0|[1-9]\d{0,15})$/.test(text)) return undefined
  const value = Number(text)
  return isSize(value) ? value : undefined
}

/**
 * The text of a checkpoint, to be signed as a note. No extension lines are written.
 * @throws RangeError for what would not parse back to the same.
 */
export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  if (origin === '' || CONTROL.test(origin) || !encodeUtf8(origin))
    throw new RangeError('an origin is not empty and has no control characters')
  if (!isSize(size)) throw new RangeError(`${size} is not a tree size`)
  if (root.length !== HASH_BYTES) throw new RangeError('a root has 32 bytes')
  return `${origin}\n${size}\n${encodeBase64(root)}\n`
}

/** Reads the text of a checkpoint: three lines, then extension lines, none of them empty. */
export function parseCheckpoint(text: string): Result<ParsedCheckpoint, Fault> {
  const lines = text.split('\n')
  if (lines.pop() !== '' || lines.includes(''))
    return malformed('checkpoint lines are not empty and end with a newline')
  const [origin, sizeLine, rootLine, ...extensions] = lines
  if (origin === undefined || sizeLine === undefined || rootLine === undefined)
    return malformed('a checkpoint has three lines: origin, size, root')
  if (lines.some((line) => CONTROL.test(line))) return malformed('the checkpoint has control characters')
  const size = parseDecimal(sizeLine)
  if (size === undefined) return malformed('the size of the checkpoint is not a decimal below 2^53')
  const root = decodeBase64(rootLine)
  if (root?.length !== HASH_BYTES) return malformed('the root of the checkpoint is not 32 bytes in base64')
  return ok({ origin, size, root, extensions })
}

/** Reads a signed checkpoint and says which signatures must verify. Nothing in it is to be believed yet. */
export function pendingCheckpoint(text: string, policy: CheckpointPolicy): Result<PendingCheckpoint, Fault> {
  const note = parseNote(text)
  if (!note.ok) return note
  const checkpoint = parseCheckpoint(note.value.text)
  if (!checkpoint.ok) return checkpoint
  if (checkpoint.value.origin !== policy.origin)
    return err({
      code: 'wrong_origin',
      detail: `the checkpoint is of ${checkpoint.value.origin}, not ${policy.origin}`,
    })
  const checks = signatureChecks(note.value, [...policy.log_keys, ...(policy.witness_keys ?? [])])
  if (!checks.ok) return checks
  return ok({ note: note.value, checkpoint: checkpoint.value, checks: checks.value, policy })
}

/**
 * The verdict on a checkpoint: every known signature verified, a log key among them, and enough witnesses.
 * @param verified for each of `pending.checks`, whether it verified.
 */
export function checkpointVerdict(
  { checkpoint, checks, policy }: PendingCheckpoint,
  verified: readonly boolean[],
): Result<VerifiedCheckpoint, Fault> {
  const signers = noteVerdict(checks, verified)
  if (!signers.ok) return signers
  if (!signers.value.some(({ key }) => policy.log_keys.includes(key)))
    return err({ code: 'unknown_signer', detail: 'no known key of the log has signed this checkpoint' })
  const witnesses = signers.value.filter(({ key }) => policy.witness_keys?.includes(key))
  // One witness under two names is still one: count public keys, not lines.
  const distinct = new Set(witnesses.map(({ key }) => encodeBase64(key.public_key))).size
  const needed = policy.witnesses_needed ?? 0
  if (distinct < needed)
    return err({ code: 'too_few_witnesses', detail: `${distinct} of ${needed} witnesses have cosigned` })
  return ok({ ...checkpoint, signers: signers.value })
}

/** Both steps in one, where Ed25519 is synchronous. */
export function verifyCheckpoint(
  text: string,
  policy: CheckpointPolicy,
  verify: VerifyEd25519,
): Result<VerifiedCheckpoint, Fault> {
  const pending = pendingCheckpoint(text, policy)
  if (!pending.ok) return pending
  const { checks } = pending.value
  return checkpointVerdict(
    pending.value,
    checks.map(({ key, message, signature }) => verify(key.public_key, message, signature)),
  )
}
