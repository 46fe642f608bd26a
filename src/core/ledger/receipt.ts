/**
 * Checking a receipt: what `POST /enforce` answers with `Prefer: receipt`, and what `GET /logs/{log_id}/proof` gives.
 * It is a tlog-proof with the entry's bytes as its extra data, so one text and a trusted key are all that is needed.
 */
import { STATUS } from '../policy/stage.js'
import { err, ok, type Result } from '../result.js'
import type { HashTools } from './check-entry.js'
import { type CheckpointPolicy, parseCheckpoint, type VerifiedCheckpoint } from './checkpoint.js'
import type { Finding, FindingKind } from './findings.js'
import { type Fault, parseNote, type VerifierKey, type VerifyEd25519 } from './note.js'
import { parseProof, verifyProof } from './proof.js'
import { readEntry, type ReadEntry } from './read-entry.js'
import { decodeUtf8 } from './utf8.js'

export interface ReceiptOptions {
  /** Keys that the caller trusts. One that is not named like the receipt's log counts for nothing. */
  readonly keys: readonly VerifierKey[]
  /** The log it must be of; any log of the keys when absent. */
  readonly origin?: string
  readonly witness_keys?: readonly VerifierKey[]
  /** How many different witnesses must have cosigned; 0 when absent. */
  readonly quorum?: number
}

/** What the receipt proves. */
export interface Receipt {
  readonly checkpoint: VerifiedCheckpoint
  readonly index: number
  readonly entry: ReadEntry
}

type Members = Readonly<Record<string, unknown>>

const KIND_OF: Readonly<Record<Fault['code'], FindingKind>> = {
  malformed: 'malformed',
  unknown_signer: 'signature',
  bad_signature: 'signature',
  wrong_origin: 'signature',
  too_few_witnesses: 'signature',
  wrong_index: 'index',
  not_included: 'root',
}

/** Whether a key of this name can sign for a log: it has the log's name, or that of the installation before it. */
export const isKeyOf = (name: string, origin: string): boolean =>
  name === origin || origin.startsWith(`${name}/`)

/**
 * @param text the tlog-proof; or the JSON answer that carried it, which must then say what the entry says
 * @returns what is proved, or the first thing that is wrong
 */
export function checkReceipt(
  tools: HashTools & { readonly verify: VerifyEd25519 },
  text: string,
  { keys, origin, witness_keys = [], quorum = 0 }: ReceiptOptions,
): Result<Receipt, Finding> {
  const answer = text.startsWith('{') ? answerOf(text) : null
  const proof_text = answer ? proofIn(answer) : text
  if (proof_text === null) return fault('malformed', null, 'receipt', 'the answer carries no receipt')
  const proof = parseProof(proof_text)
  if (!proof.ok) return fault('malformed', null, null, proof.errors.detail)
  const { index, extra, checkpoint: note } = proof.value
  if (!extra) return fault('malformed', index, 'extra', 'the receipt does not hold the entry')
  const stated = originIn(note)
  if (stated === null) return fault('malformed', index, 'checkpoint', 'the checkpoint cannot be read')
  const policy: CheckpointPolicy = {
    origin: origin ?? stated,
    log_keys: keys.filter(({ name }) => isKeyOf(name, stated)),
    witness_keys,
    witnesses_needed: quorum,
  }
  const verified = verifyProof(tools.sha256, tools.verify, proof_text, { entry: extra, policy })
  if (!verified.ok) {
    const { code, detail } = verified.errors
    return fault(KIND_OF[code], index, null, detail)
  }
  const entry_text = decodeUtf8(extra)
  if (entry_text === undefined) return fault('entry_invalid', index, 'entry', 'the entry is not UTF-8')
  const entry = readEntry(entry_text, stated)
  if (!entry.ok) return fault('entry_invalid', index, entry.errors.field, entry.errors.detail)
  const differs = answer && differingMember(answer, index, entry.value)
  if (differs) return fault('answer', index, differs, `the answer's ${differs} is not what the entry says`)
  return ok({ checkpoint: verified.value, index, entry: entry.value })
}

const fault = (kind: FindingKind, index: number | null, field: string | null, detail: string) =>
  err<Finding>({ kind, index, line: null, field, detail })

function answerOf(text: string): Members {
  try {
    const value: unknown = JSON.parse(text)
    return isMembers(value) ? value : {}
  } catch {
    return {}
  }
}

/** `receipt` of an answer to /enforce, or `proof` of one to /logs/{log_id}/proof. */
function proofIn({ receipt, proof }: Members): string | null {
  if (typeof receipt === 'string') return receipt
  return typeof proof === 'string' ? proof : null
}

function originIn(checkpoint: string): string | null {
  const note = parseNote(checkpoint)
  const parsed = note.ok ? parseCheckpoint(note.value.text) : note
  return parsed.ok ? parsed.value.origin : null
}

/** The first member of an answer that says something else than the entry; null when all of them agree. */
function differingMember(answer: Members, index: number, entry: ReadEntry): string | null {
  if (typeof answer.proof === 'string') return answer.index === index ? null : 'index'
  const { decision } = entry as { readonly decision?: Members }
  if (answer.decision_id !== entry.id) return 'decision_id'
  if (!isMembers(answer.log) || answer.log.index !== index) return 'log.index'
  const effect = entry.decision?.effect
  if (answer.allowed !== (effect === 'allow')) return 'allowed'
  if (answer.status !== (effect && STATUS[effect])) return 'status'
  if (answer.code !== decision?.code) return 'code'
  return answer.reason === decision?.reason ? null : 'reason'
}

const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
