/**
 * Reading an entry that somebody else hands over: is it a canonical entry (ledger.md, Entry) of this log? Only the
 * members that checks need are looked at; that no byte differs is the tree's to say.
 */
import { isUuid, uuidTime } from '../ids.js'
import { err, ok, type Result } from '../result.js'
import { canonicalize, type Json } from './canonical.js'
import type { LineFault } from './bundle.js'
import {
  type Actor,
  type ApprovalEntry,
  type ConfigEntry,
  type ConfigVersions,
  ENTRY_MAX_BYTES,
  type KillEntry,
  type LocalDecision,
  type EntryPolicy,
  type PayloadCommitment,
  type RedactionEntry,
  type Subject,
} from './entry.js'

/** What checks need of any entry. `type` may be one that is younger than this code. */
export interface ReadEntry {
  readonly log: string
  readonly id: string
  readonly ts: string
  readonly type: string
  readonly event: string
  readonly actor: Actor
  readonly config: ConfigVersions
  readonly subject?: Subject
  readonly action?: { readonly key: string; readonly raw?: string }
  readonly resource?: { readonly key: string }
  readonly decision?: {
    readonly effect: 'allow' | 'deny' | 'pending'
    readonly findings?: readonly { readonly code: string }[]
  }
  readonly facts?: { readonly approval?: unknown }
  /** Of a decision with the event `decision.local`, and of no other. */
  readonly local?: LocalDecision
  /** Of a decision: `DecisionApproval`; of an entry of type approval: what happened to it. */
  readonly approval?: ApprovalEntry['approval']
  readonly policies?: readonly EntryPolicy[]
  readonly report?: { readonly allowed: boolean; readonly decision_id?: string }
  readonly kill?: KillEntry['kill']
  readonly change?: ConfigEntry['change']
  readonly redaction?: RedactionEntry['redaction']
  readonly payload?: PayloadCommitment
}

/** What the rules between entries read of one. */
export type RuledEntry = Omit<ReadEntry, 'log' | 'id' | 'payload'>

/** One installation's log of one organization, whatever the epoch: `<installation>/<org_id>`. */
export const logOf = (origin: string): string => origin.replace(/\/e[1-9]\d{0,9}$/, '')

const EPOCH = /\/e([1-9]\d{0,9})$/
export const epochOf = (origin: string): number => Number(EPOCH.exec(origin)?.[1] ?? NaN)

/** A time as entries write it. */
export const TS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const EVENT = /^[a-z_]+(\.[a-z_]+)+$/

type Members = Readonly<Record<string, unknown>>

/**
 * @param text the entry's bytes as text
 * @param origin of the log it must belong to, in this epoch or an earlier one
 */
export function readEntry(text: string, origin: string): Result<ReadEntry, LineFault> {
  if (text.length > ENTRY_MAX_BYTES) return fault(null, 'is larger than 32 KiB')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return fault(null, 'is not JSON')
  }
  if (!isMembers(value)) return fault(null, 'is not a JSON object')
  if (value.v !== 1) return fault('v', 'is of a version that this program does not know')
  const wrong = firstWrong(value) ?? strangeLog(value, origin)
  if (wrong !== null) return fault(wrong, `has no ${wrong} as entries of this log have it`)
  if (!isCanonical(value, text)) return fault(null, 'is not canonical JSON (RFC 8785)')
  return ok(value as unknown as ReadEntry)
}

const fault = (field: string | null, detail: string) =>
  err<LineFault>({ field: field === null ? 'entry' : `entry.${field}`, detail: `the entry ${detail}` })

function firstWrong(entry: Members): string | null {
  const { id, ts, type, event, actor, config, payload, subject } = entry
  if (typeof id !== 'string' || !isUuid(id)) return 'id'
  if (typeof ts !== 'string' || !TS.test(ts)) return 'ts'
  if (uuidTime(id) !== Date.parse(ts)) return 'ts'
  if (typeof type !== 'string') return 'type'
  if (typeof event !== 'string' || !EVENT.test(event)) return 'event'
  if (!isMembers(actor) || typeof actor.kind !== 'string' || typeof actor.id !== 'string') return 'actor'
  if (!isOptional(actor.key_id, 'string')) return 'actor.key_id'
  if (!isMembers(config) || !isVersion(config.installation) || !isVersion(config.organization))
    return 'config'
  if (config.agent !== undefined && !isVersion(config.agent)) return 'config.agent'
  if (subject !== undefined && (!isMembers(subject) || typeof subject.agent_id !== 'string')) return 'subject'
  if (payload !== undefined && (!isMembers(payload) || typeof payload.c !== 'string')) return 'payload'
  if (type === 'decision') return wrongDecision(entry)
  if (type === 'action') return wrongAction(entry)
  if (type === 'redaction') return isRedaction(entry.redaction) ? null : 'redaction'
  if (type === 'kill') return isKill(entry.kill, event) ? null : 'kill'
  if (type === 'approval') return wrongApproval(entry)
  return type === 'config' && !isChange(entry.change) ? 'change' : null
}

function wrongDecision({
  event,
  local,
  decision,
  policies,
  action,
  subject,
  engine,
  actor,
  config,
  approval,
}: Members): string | null {
  if (!isMembers(decision) || !isEffect(decision.effect) || typeof decision.code !== 'string')
    return 'decision'
  if (typeof decision.reason !== 'string' || !Array.isArray(decision.findings)) return 'decision'
  if (!Array.isArray(policies) || !policies.every(isPolicy)) return 'policies'
  if (!isReading(action)) return 'action'
  if (!isMembers(subject)) return 'subject'
  if (!isMembers(engine) || !isMembers(engine.stages)) return 'engine'
  if (approval !== undefined && !isApproval(approval)) return 'approval'
  if (!isMembers(actor) || typeof actor.key_id !== 'string') return 'actor'
  if (event === 'decision.local' ? !isLocal(local) : local !== undefined) return 'local'
  return isMembers(config) && config.agent !== undefined ? null : 'config.agent'
}

function wrongAction({ report, action, subject }: Members): string | null {
  if (!isMembers(report) || typeof report.allowed !== 'boolean') return 'report'
  if (!isOptional(report.decision_id, 'string')) return 'report.decision_id'
  if (!isReading(action)) return 'action'
  return isMembers(subject) ? null : 'subject'
}

function wrongApproval({ approval, action, subject }: Members): string | null {
  if (!isApproval(approval)) return 'approval'
  if (!isReading(action)) return 'action'
  return isMembers(subject) ? null : 'subject'
}

const isLocal = (value: unknown): boolean =>
  isMembers(value) &&
  typeof value.spool === 'string' &&
  isVersion(value.seq) &&
  [value.decided_at, value.issued_at, value.lease_until].every(
    (time) => typeof time === 'string' && TS.test(time),
  ) &&
  isMembers(value.config) &&
  [value.config.installation, value.config.organization, value.config.agent].every(isVersion) &&
  typeof value.agrees === 'boolean'

const isApproval = (value: unknown): boolean =>
  isMembers(value) &&
  typeof value.id === 'string' &&
  typeof value.op === 'string' &&
  isOptional(value.digest, 'string') &&
  isOptional(value.decision_id, 'string') &&
  isOptional(value.expires_at, 'string') &&
  (value.use === undefined || isVersion(value.use)) &&
  (value.uses === undefined || isVersion(value.uses)) &&
  (value.lifts === undefined || Array.isArray(value.lifts))

function strangeLog({ log }: Members, origin: string): string | null {
  if (log === origin) return null
  if (typeof log !== 'string' || logOf(log) !== logOf(origin)) return 'log'
  return epochOf(log) <= epochOf(origin) ? null : 'log'
}

/**
 * Without building the text a second time where that can be told: what JSON.stringify writes of sorted members is
 * canonical, but for lone surrogates, which it escapes. Names that look like numbers are sorted otherwise by JavaScript.
 */
function isCanonical(entry: Members, text: string): boolean {
  if (JSON.stringify(entry) === text && !text.includes('\\ud') && isSorted(entry)) return true
  try {
    return canonicalize(entry as unknown as Json) === text
  } catch {
    return false // a lone surrogate
  }
}

function isSorted(value: object): boolean {
  if (Array.isArray(value)) return value.every(isSortedMember)
  let last: string | null = null
  for (const name in value) {
    if (last !== null && name <= last) return false
    if (!isSortedMember((value as Members)[name])) return false
    last = name
  }
  return true
}

const isSortedMember = (value: unknown): boolean =>
  typeof value !== 'object' || value === null || isSorted(value)

const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isOptional = (value: unknown, type: 'string'): boolean => value === undefined || typeof value === type
const isVersion = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0
const isEffect = (value: unknown): boolean => value === 'allow' || value === 'deny' || value === 'pending'
const isReading = (value: unknown): boolean =>
  isMembers(value) && typeof value.key === 'string' && typeof value.raw === 'string'
const isPolicy = (value: unknown): boolean =>
  isMembers(value) &&
  typeof value.id === 'string' &&
  typeof value.scope === 'string' &&
  typeof value.sha256 === 'string' &&
  isVersion(value.version)
const isRedaction = (value: unknown): boolean =>
  isMembers(value) &&
  isVersion(value.from) &&
  isVersion(value.upto) &&
  isVersion(value.count) &&
  typeof value.reason === 'string' &&
  isOptional(value.agent_id, 'string')
const KILL_TARGETS: Readonly<Record<string, boolean>> = {
  installation: false,
  organization: false,
  environment: true,
  team: true,
  agent: true,
  key: true,
  action: true,
}
const isKill = (value: unknown, event: string): boolean =>
  isMembers(value) &&
  typeof value.id === 'string' &&
  (value.op === 'activated' || value.op === 'deactivated') &&
  event === `kill_switch.${value.op}` &&
  typeof value.reason === 'string' &&
  typeof value.scope === 'string' &&
  Object.hasOwn(KILL_TARGETS, value.scope) &&
  (KILL_TARGETS[value.scope] ? typeof value.target === 'string' : value.target === undefined)
const isChange = (value: unknown): boolean =>
  isMembers(value) &&
  typeof value.kind === 'string' &&
  typeof value.id === 'string' &&
  typeof value.op === 'string' &&
  (value.version === undefined || isVersion(value.version)) &&
  isOptional(value.sha256, 'string') &&
  isOptional(value.scope, 'string') &&
  isOptional(value.team, 'string')
