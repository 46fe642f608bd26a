/**
 * The bundle: an organization's log, or a part of it, as lines of JSON that anyone can check offline
 * (docs/verify.md describes it for people). This file is its one definition for writer and reader.
 *
 * Order of lines: manifest, keys, checkpoint, edge, then policies, entries and expired ones mixed, end. Every line is written as
 * JSON.stringify writes it, so that one content has one spelling.
 */
import { err, ok, type Result } from '../result.js'
import type { Json } from './canonical.js'

export const BUNDLE_FORMAT = 'agentguard-bundle/1'

/** What the bundle is of: the entries `first` ≤ index < `end` of the log `origin`. */
export interface ManifestLine {
  readonly kind: 'manifest'
  readonly format: string
  readonly org_id: string
  readonly origin: string
  readonly first: number
  readonly end: number
  /** Entries of the whole log when the bundle was made: whether `end` is the log's end. */
  readonly size?: number
  /** RFC 3339. Says nothing that is checked. */
  readonly made_at: string
}

/** A key that checkpoints of this installation are or were signed with. The reader need not believe it. */
export interface KeyLine {
  readonly kind: 'key'
  readonly vkey: string
  readonly valid_from: string
  readonly valid_to: string | null
}

/** The newest signed note whose size is not above the manifest's `end`. */
export interface CheckpointLine {
  readonly kind: 'checkpoint'
  readonly note: string
}

/** The right edge of the tree of `first` entries, so that a bundle which begins later still leads to the root. */
export interface EdgeLine {
  readonly kind: 'edge'
  readonly hashes: readonly string[]
}

/** A policy document in its canonical form; before the first entry that names its digest. */
export interface PolicyLine {
  readonly kind: 'policy'
  /** Hexadecimal SHA-256 of `document`. */
  readonly sha256: string
  readonly document: string
}

/** The columns beside an entry, as the database has them: projections of the entry. */
export interface Columns {
  readonly id: string
  readonly ts: string
  readonly type: string
  readonly agent_id: string | null
  readonly action_key: string | null
  readonly allowed: boolean | null
  readonly decision_id: string | null
}

/** The erasable part of an entry with what opens its commitment, or that it has been erased. */
export type PayloadPart = { readonly salt: string; readonly text: string } | { readonly redacted: true }

export interface EntryLine {
  readonly kind: 'entry'
  readonly index: number
  /** SHA-256(0x00 ‖ entry) in base64, as the log's tree has it: tells which entry was changed. */
  readonly leaf: string
  /** The entry's bytes as text, verbatim. */
  readonly entry: string
  readonly columns: Columns
  /** Present when the entry commits to a payload. */
  readonly payload?: PayloadPart
}

/** Entries that have reached the end of their retention: their leaf hashes, in order of index. */
export interface ExpiredLine {
  readonly kind: 'expired'
  /** Index of the first. */
  readonly from: number
  /** 32 bytes each, in base64. */
  readonly leaves: string
}

/** The last line. Without it, or with other counts, something is missing. */
export interface EndLine {
  readonly kind: 'end'
  readonly entries: number
  readonly policies: number
  /** All lines with this one. */
  readonly lines: number
}

export type BundleLine =
  ManifestLine | KeyLine | CheckpointLine | EdgeLine | PolicyLine | EntryLine | ExpiredLine | EndLine

/** How every line of an entry begins, spelt as it must be. */
export const ENTRY_BEGINS = '{"kind":"entry",'

/** A line as it is written, without its newline. */
export const formatLine = (line: BundleLine): string => JSON.stringify(line)

/** What is wrong with a line, and with which member of it. */
export interface LineFault {
  readonly field: string | null
  readonly detail: string
}

type Members = Readonly<Record<string, unknown>>
/** Says what a member must be; null when it is that. */
type Check = (value: unknown) => string | null

const text: Check = (value) => (typeof value === 'string' ? null : 'must be text')
const textOrNull: Check = (value) => (value === null ? null : text(value))
const booleanOrNull: Check = (value) =>
  value === null || typeof value === 'boolean' ? null : 'must be true, false or null'
const count: Check = (value) =>
  Number.isSafeInteger(value) && Number(value) >= 0 ? null : 'must be a whole number from 0'
const texts: Check = (value) =>
  Array.isArray(value) && value.every((item) => typeof item === 'string') ? null : 'must be a list of texts'
const columns: Check = (value) => memberFault(value, COLUMNS)?.detail ?? null
const payload: Check = (value) => {
  if (isMembers(value) && value.redacted === true && Object.keys(value).length === 1) return null
  return memberFault(value, PAYLOAD)?.detail ?? null
}

const COLUMNS: Readonly<Record<string, Check>> = {
  id: text,
  ts: text,
  type: text,
  agent_id: textOrNull,
  action_key: textOrNull,
  allowed: booleanOrNull,
  decision_id: textOrNull,
}
const PAYLOAD: Readonly<Record<string, Check>> = { salt: text, text }

const LINES: Readonly<Record<BundleLine['kind'], Readonly<Record<string, Check>>>> = {
  manifest: { kind: text, format: text, org_id: text, origin: text, first: count, end: count, made_at: text },
  key: { kind: text, vkey: text, valid_from: text, valid_to: textOrNull },
  checkpoint: { kind: text, note: text },
  edge: { kind: text, hashes: texts },
  policy: { kind: text, sha256: text, document: text },
  entry: { kind: text, index: count, leaf: text, entry: text, columns },
  expired: { kind: text, from: count, leaves: text },
  end: { kind: text, entries: count, policies: count, lines: count },
}
const OPTIONAL: Readonly<Partial<Record<BundleLine['kind'], Readonly<Record<string, Check>>>>> = {
  manifest: { size: count },
  entry: { payload },
}

/** Reads one line strictly: no unknown members, no other spelling. Nothing in it is to be believed yet. */
export function parseLine(line: string): Result<BundleLine, LineFault> {
  const entry = cutEntry(line)
  if (entry) return ok(entry)
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return err({ field: null, detail: 'the line is not JSON' })
  }
  if (!isMembers(value)) return err({ field: null, detail: 'the line is not a JSON object' })
  const { kind } = value
  const known = typeof kind === 'string' && Object.hasOwn(LINES, kind)
  if (!known) return err({ field: 'kind', detail: 'the line is of no known kind' })
  const fault = memberFault(
    value,
    LINES[kind as BundleLine['kind']],
    OPTIONAL[kind as BundleLine['kind']] ?? {},
  )
  if (fault) return err(fault)
  if (JSON.stringify(value) !== line)
    return err({ field: null, detail: 'the line is not spelt as JSON.stringify spells it' })
  return ok(value as unknown as BundleLine)
}

/** How an entry's line begins, up to the first character of the entry. */
export const ENTRY_HEAD = /^\{"kind":"entry","index":(0|[1-9]\d{0,14}),"leaf":"([\w+/=]*)","entry":"/
/** What follows an entry. Cannot stand inside a text, where a quote has a backslash before it. */
export const ENTRY_TAIL = '","columns":{'
/** With neither of these every character of a text has one spelling. */
const OPEN_ESCAPE = /\\[u/]/

/**
 * An entry's line as it nearly always is, in half the time: the entry's text, most of the line, is not spelt again.
 * Null: the line has to be looked at in the general way, which may find nothing wrong with it.
 */
function cutEntry(line: string): EntryLine | null {
  const [head, index, leaf] = ENTRY_HEAD.exec(line) ?? []
  if (head === undefined || index === undefined || leaf === undefined) return null
  const from = head.length - 1
  const upto = line.indexOf(ENTRY_TAIL, from) + 1
  const spelt = line.slice(from, upto)
  const tail = `{${line.slice(upto + 1)}`
  if (upto === 0 || OPEN_ESCAPE.test(spelt)) return null
  let entry: unknown
  let beside: unknown
  try {
    entry = JSON.parse(spelt)
    beside = JSON.parse(tail)
  } catch {
    return null
  }
  if (typeof entry !== 'string' || memberFault(beside, { columns }, { payload }) !== null) return null
  if (JSON.stringify(beside) !== tail) return null
  return {
    kind: 'entry',
    index: Number(index),
    leaf,
    entry,
    ...(beside as Pick<EntryLine, 'columns' | 'payload'>),
  }
}

function memberFault(
  value: unknown,
  wanted: Readonly<Record<string, Check>>,
  optional: Readonly<Record<string, Check>> = {},
): LineFault | null {
  if (!isMembers(value)) return { field: null, detail: 'must be an object' }
  let found = 0
  for (const name in wanted) {
    if (!Object.hasOwn(value, name)) return { field: name, detail: `${name} is missing` }
    const detail = wanted[name]?.(value[name])
    if (detail) return { field: name, detail: `${name} ${detail}` }
    found++
  }
  for (const name in optional) {
    if (!Object.hasOwn(value, name)) continue
    const detail = optional[name]?.(value[name])
    if (detail) return { field: name, detail: `${name} ${detail}` }
    found++
  }
  if (Object.keys(value).length === found) return null
  const extra = Object.keys(value).find((name) => !(name in wanted) && !(name in optional)) ?? ''
  return { field: extra, detail: `the member ${JSON.stringify(extra.slice(0, 64))} is not known` }
}

const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The payload that a line carries as a value; null when there is none, when it was erased, or when it is not JSON. */
export function payloadOf(line: EntryLine): Readonly<Record<string, Json>> | null {
  if (!line.payload || 'redacted' in line.payload) return null
  try {
    const value: unknown = JSON.parse(line.payload.text)
    return isMembers(value) ? (value as Readonly<Record<string, Json>>) : null
  } catch {
    return null
  }
}
