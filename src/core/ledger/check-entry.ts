/** Checks one entry line by itself: bytes against leaf, columns against entry, payload against commitment. */
import { boundRequest, digestInput } from '../approvals/digest.js'
import type { JsonObject } from '../policy/stage.js'
import { decodeBase64, encodeBase64 } from './base64.js'
import { type Columns, type EntryLine, payloadOf } from './bundle.js'
import type { Json } from './canonical.js'
import { ENTRY_MAX_BYTES, type PayloadCommitment } from './entry.js'
import type { FindingKind } from './findings.js'
import { leafHash, type Sha256 } from './merkle.js'
import { logOf, readEntry, type ReadEntry, type RuledEntry } from './read-entry.js'

export interface HashTools {
  readonly sha256: Sha256
  /** The UTF-8 bytes of a text. */
  readonly utf8: (text: string) => Uint8Array
  /** Base64 of SHA-256(0x00 ‖ entry), where the platform has something faster than the two above. */
  readonly leafOf?: (entry: string) => string
}

export interface EntryFault {
  readonly kind: FindingKind
  readonly field: string | null
  readonly detail: string
}

export interface CheckedEntry {
  /** Null when the bytes are not an entry. */
  readonly entry: ReadEntry | null
  /** Opened and as committed to; null when there is none to see. */
  readonly payload: Readonly<Record<string, Json>> | null
  readonly faults: readonly EntryFault[]
}

const SALT_BYTES = 32
const PAYLOAD_DOMAIN = 'agentguard/payload/v1\0'
const COLUMNS = ['id', 'ts', 'type', 'agent_id', 'action_key', 'allowed', 'decision_id'] as const

/** @param digests of the policies that the bundle has had so far; null: these are looked at elsewhere */
export function checkEntry(
  line: EntryLine,
  origin: string,
  digests: ReadonlySet<string> | null,
  tools: HashTools,
): CheckedEntry {
  const faults: EntryFault[] = []
  const add = (kind: FindingKind, field: string | null, detail: string) =>
    void faults.push({ kind, field, detail })
  if (leafOf(line.entry, tools) !== line.leaf)
    add('entry_changed', 'entry', 'the hash of the entry is not the one that the line gives for the tree')
  const read = readEntry(line.entry, origin)
  if (!read.ok) {
    add('entry_invalid', read.errors.field, read.errors.detail)
    return { entry: null, payload: null, faults }
  }
  if (isTooLarge(line.entry, tools)) add('entry_invalid', 'entry', 'the entry is larger than 32 KiB')
  const entry = read.value
  const column = differingColumn(line.columns, entry)
  if (column) add('projection', `columns.${column}`, `the column ${column} differs from the entry`)
  const payload = checkPayload(line, entry, tools, add)
  if (digests) checkPolicies(entry, digests, add)
  if (payload) checkDigest(entry, payload, tools, add)
  return { entry, payload, faults }
}

export const leafOf = (entry: string, { sha256, utf8, leafOf: atOnce }: HashTools): string =>
  atOnce ? atOnce(entry) : encodeBase64(leafHash(sha256, utf8(entry)))

/** A character has three bytes at most (those of four bytes are two characters), so few need to be counted. */
export const isTooLarge = (entry: string, { utf8 }: HashTools): boolean =>
  entry.length * 3 > ENTRY_MAX_BYTES && utf8(entry).length > ENTRY_MAX_BYTES

/** The first column that says something else than the entry. */
function differingColumn(columns: Columns, entry: ReadEntry): keyof Columns | null {
  const stated: Columns = {
    id: entry.id,
    ts: entry.ts,
    type: entry.type,
    agent_id: entry.subject?.agent_id ?? null,
    action_key: entry.action?.key ?? null,
    allowed: entry.decision ? entry.decision.effect === 'allow' : (entry.report?.allowed ?? null),
    decision_id: entry.report?.decision_id ?? entry.approval?.decision_id ?? null,
  }
  for (const name of COLUMNS) if (columns[name] !== stated[name]) return name
  return null
}

type Add = (kind: FindingKind, field: string | null, detail: string) => void

function checkPayload(
  line: EntryLine,
  { payload: commitment }: ReadEntry,
  { sha256, utf8 }: HashTools,
  add: Add,
): Readonly<Record<string, Json>> | null {
  const part = line.payload
  if (!commitment && !part) return null
  if (!commitment) add('payload', 'payload', 'there is a payload that the entry does not commit to')
  else if (!part)
    add('payload', 'payload', 'the payload that the entry commits to is neither there nor erased')
  if (!commitment || !part || 'redacted' in part) return null
  const fault = openingFault(part, commitment, { sha256, utf8 })
  if (fault) add('payload', fault.field, fault.detail)
  return fault ? null : payloadOf(line)
}

/** Why a payload is not what the entry commits to; null when it is. */
export function openingFault(
  part: { readonly salt: string; readonly text: string },
  commitment: Pick<PayloadCommitment, 'c'>,
  { sha256, utf8 }: Pick<HashTools, 'sha256' | 'utf8'>,
): { readonly field: string; readonly detail: string } | null {
  const salt = decodeBase64(part.salt)
  if (salt?.length !== SALT_BYTES)
    return { field: 'payload.salt', detail: 'the salt is not 32 bytes in base64' }
  const text = utf8(part.text)
  const domain = utf8(PAYLOAD_DOMAIN)
  const bytes = new Uint8Array(domain.length + salt.length + text.length)
  bytes.set(domain)
  bytes.set(salt, domain.length)
  bytes.set(text, domain.length + salt.length)
  if (base64url(sha256(bytes)) === commitment.c) return null
  return { field: 'payload.text', detail: 'the payload is not the one that the entry commits to' }
}

/** Whether the digest that an approval binds is the one of the request that this decision is about. */
function checkDigest(
  entry: ReadEntry,
  payload: Readonly<Record<string, Json>>,
  tools: HashTools,
  add: Add,
): void {
  const { approval, action, resource, subject } = entry
  if (entry.type !== 'decision' || approval?.digest === undefined || !action || !subject) return
  const { approval_salt: salt } = payload
  const org_id = logOf(entry.log).split('/').at(-1) ?? ''
  const bound = boundRequest(
    { org_id, agent_id: subject.agent_id },
    {
      action: { key: action.key },
      resource: resource ? { canonical: resource.key } : null,
      arguments: objectOf(payload.arguments),
      context: objectOf(payload.context),
    },
  )
  const wanted = typeof salt === 'string' ? base64url(tools.sha256(digestInput(tools, salt, bound))) : null
  if (wanted !== approval.digest)
    add('approval', 'entry.approval.digest', 'the digest is not the one of the request in this entry')
}

const objectOf = (value: Json | undefined): JsonObject | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null

/** Whether the bundle has every policy that the entry names. */
export function checkPolicies(
  { policies, change }: RuledEntry,
  digests: ReadonlySet<string>,
  add: Add,
): void {
  for (const [i, { sha256 }] of (policies ?? []).entries()) {
    if (!digests.has(sha256))
      add(
        'policy',
        `entry.policies[${i}].sha256`,
        `the bundle has no policy with the digest ${sha256.slice(0, 64)}`,
      )
  }
  if (change?.kind === 'policy' && change.sha256 !== undefined && !digests.has(change.sha256))
    add(
      'policy',
      'entry.change.sha256',
      `the bundle has no policy with the digest ${change.sha256.slice(0, 64)}`,
    )
}

const base64url = (bytes: Uint8Array): string =>
  encodeBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')

const HEX = '0123456789abcdef'

export function hexOf(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += HEX.charAt(byte >> 4) + HEX.charAt(byte & 15)
  return text
}
