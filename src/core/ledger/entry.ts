/**
 * One entry of the ledger, version 1 (ledger.md): a JSON object, canonical (RFC 8785), integers only, at most
 * 32 KiB, stored verbatim. Keys that are not used are absent; each type has a fixed set of keys.
 */
import { canonicalize, canonicalString, type Json } from './canonical.js'

export const ENTRY_MAX_BYTES = 32 * 1024

export type EntryType = 'decision' | 'action' | 'config' | 'approval' | 'kill' | 'redaction' | 'epoch'

export interface Actor {
  readonly kind: 'agent' | 'admin_key' | 'member' | 'root' | 'system'
  readonly id: string
  readonly key_id?: string
}

export interface Subject {
  readonly agent_id: string
  readonly environment: string
  readonly team: string
}

/** The versions an entry was made from, compared again under the head lock when it is appended. */
export interface ConfigVersions {
  readonly installation: number
  readonly organization: number
  readonly agent?: number
}

/** A text as it was sent and as it was read (spec/normalisation.md). */
export interface Reading {
  readonly raw: string
  readonly key: string
}

export interface EntryFinding {
  readonly stage: string
  readonly effect: 'allow' | 'deny' | 'pending'
  readonly code: string
  readonly policy?: number
  readonly rule?: string
}

export interface EntryDecision {
  readonly effect: 'allow' | 'deny' | 'pending'
  readonly code: string
  readonly reason: string
  readonly findings: readonly EntryFinding[]
}

export interface EntryPolicy {
  readonly scope: string
  readonly id: string
  readonly version: number
  readonly sha256: string
}

export interface PayloadCommitment {
  /** base64url of SHA-256 over the salted payload. */
  readonly c: string
  readonly fields: readonly string[]
}

interface Common {
  readonly v: 1
  readonly log: string
  /** UUIDv7; its time is `ts`. */
  readonly id: string
  /** RFC 3339, UTC, milliseconds. */
  readonly ts: string
  readonly actor: Actor
  readonly config: ConfigVersions
  readonly request_id?: string
  readonly payload?: PayloadCommitment
}

export interface DecisionEntry extends Common {
  readonly type: 'decision'
  /** `decision.local`: the agent decided by itself, and the record follows the decision. */
  readonly event: 'decision.made' | 'decision.local'
  readonly subject: Subject
  readonly engine: { readonly semantics: number; readonly stages: Readonly<Record<string, number>> }
  readonly action: Reading
  readonly resource?: Reading
  readonly decision: EntryDecision
  readonly policies: readonly EntryPolicy[]
  /** The approval that is waited for, that allowed this, or that did not help. */
  readonly approval?: DecisionApproval
  readonly facts?: { readonly [stage: string]: Json }
  /** Of a `decision.local`. */
  readonly local?: LocalDecision
}

/**
 * How an agent decided by itself. Its entry's own `id`, `ts` and `config` are those of the recording; `subject`, key,
 * `policies` and `engine` are the bundle's.
 */
export interface LocalDecision {
  /** A UUID: where the agent kept the decision until it was recorded. */
  readonly spool: string
  /** Counts the spool's decisions from 0 without a gap. */
  readonly seq: number
  /** RFC 3339, by the service's clock as the lease told it; so are the next two. */
  readonly decided_at: string
  readonly issued_at: string
  readonly lease_until: string
  /** The versions that the bundle was read at. */
  readonly config: ConfigVersions
  /** Whether the service, from the same policies and facts, decides the same. */
  readonly agrees: boolean
}

export interface DecisionApproval {
  /** As it was sent, when it was refused. */
  readonly id: string
  readonly op: 'requested' | 'used' | 'refused'
  /** The how manieth use of its grant, from 1. */
  readonly use?: number
  /** base64url of SHA-256 over the salt (in the payload) and the request that this decision is about. */
  readonly digest?: string
}

/** A rule whose question an approval answers. */
export interface EntryLift {
  readonly policy: string
  readonly action: string
  readonly resource: string | null
  readonly workflow: string | null
  /** Its conditions on the request as canonical JSON; absent when it has none. */
  readonly request?: string
}

/** What an agent says it did (rows AG-70, C10, C30). */
export interface ActionEntry extends Common {
  readonly type: 'action'
  readonly event: 'action.reported'
  readonly subject: Subject
  readonly action: Reading
  readonly resource?: Reading
  readonly report: {
    readonly allowed: boolean
    readonly result: 'success' | 'error'
    readonly decision_id?: string
    /** True when `allowed` disagrees with the decision that is named. */
    readonly mismatch?: boolean
  }
}

/** A change of configuration by a person, a key or the service itself. */
export interface ConfigEntry extends Common {
  readonly type: 'config'
  /** `<noun>.<past>`; also the name of the webhook and the live event. */
  readonly event: string
  readonly subject?: Subject
  readonly change: {
    readonly kind: string
    readonly id: string
    readonly op: string
    readonly scope?: string
    /** Of a team's policy: whose it is. */
    readonly team?: string
    readonly version?: number
    readonly sha256?: string
  }
}

/**
 * The first entry of a new signed history over the same entries: somebody decided that what was signed before is not
 * continued, and says why. From it on `log` names the new epoch.
 */
export interface EpochEntry extends Common {
  readonly type: 'epoch'
  readonly event: 'epoch.started'
  readonly epoch: {
    readonly number: number
    readonly reason: string
    /** The newest checkpoint of the epoch before that the database had; absent when it had none. */
    readonly previous?: { readonly origin: string; readonly size: number; readonly root: string }
  }
}

/** What happened to a person's answer to a pending decision (spec: rows AG-80 to AG-84, C8, C25). */
export interface ApprovalEntry extends Common {
  readonly type: 'approval'
  /** `approval.<past>`. */
  readonly event: string
  readonly subject: Subject
  readonly action: Reading
  readonly resource?: Reading
  readonly approval: {
    readonly id: string
    readonly op:
      | 'requested'
      | 'voted'
      | 'escalated'
      | 'approved'
      | 'denied'
      | 'expired'
      | 'cancelled'
      | 'revoked'
      | 'used'
      | 'refused'
    /** The how manieth use of its grant. */
    readonly use?: number
    /** The decision that is waited for, or that used the grant. */
    readonly decision_id?: string
    /** base64url of SHA-256 over a salt, which lies in the payload, and what exactly was asked. */
    readonly digest?: string
    /** Of a request: the workflows by which people decide, and the rules that asked for them. */
    readonly workflows?: readonly string[]
    readonly lifts?: readonly EntryLift[]
    /** Of a request: the agent's risk (`unrated`: nobody rated it), and which of the workflows was chosen by it. */
    readonly risk?: { readonly level: string; readonly workflow?: string }
    /** Of a vote: what it was. */
    readonly vote?: 'approve' | 'deny'
    /** Who stands behind the credentials of a vote, as far as the service knows. */
    readonly person?: string
    /** From 1: the level at which this happened, or the one that begins. */
    readonly level?: number
    /** Of an approval: how often and until when it can be used, and for what, where that is more than the request. */
    readonly uses?: number
    readonly expires_at?: string
    readonly scope?: { readonly action: string; readonly resource: string | null }
  }
}

/** Something was stopped, or may go on. No allow in its scope follows an activation in the log. */
export interface KillEntry extends Common {
  readonly type: 'kill'
  readonly event: 'kill_switch.activated' | 'kill_switch.deactivated'
  readonly subject?: Subject
  readonly kill: {
    readonly id: string
    readonly op: 'activated' | 'deactivated'
    readonly scope: 'installation' | 'organization' | 'environment' | 'team' | 'agent' | 'key' | 'action'
    /** The environment, team, agent id, key id or action pattern; absent for the widest two scopes. */
    readonly target?: string
    readonly reason: string
  }
}

/**
 * Erasable payloads were erased: the entries themselves, and every proof of them, stay. Or entries have reached the end
 * of their retention: their leaf hashes stay.
 */
export interface RedactionEntry extends Common {
  readonly type: 'redaction'
  readonly event: 'payload.erased' | 'entries.expired'
  readonly subject?: Subject
  readonly redaction: {
    /** Indexes whose payloads, or entries, may be gone: `from` to `upto` (inclusive), of `agent_id` alone if given. */
    readonly from: number
    readonly upto: number
    readonly agent_id?: string
    readonly count: number
    readonly reason: string
  }
}

export type Entry =
  DecisionEntry | ActionEntry | ConfigEntry | ApprovalEntry | KillEntry | RedactionEntry | EpochEntry

/** The canonical text of any entry. */
export const encodeEntry = (entry: Entry): string => canonicalize(entry as unknown as Json)

/**
 * The same text for a decision, written out member by member in sorted order: three times faster than the general
 * form, and a property test holds the two equal.
 */
export function encodeDecision(entry: DecisionEntry): string {
  const { decision, engine, subject, config } = entry
  const s = canonicalString
  let text = `{"action":${encodeReading(entry.action)},"actor":{"id":${s(entry.actor.id)},"key_id":`
  text += `${s(entry.actor.key_id ?? '')},"kind":${s(entry.actor.kind)}},`
  if (entry.approval) text += `"approval":${canonicalize(entry.approval as unknown as Json)},`
  text += `"config":{"agent":${config.agent ?? 0},`
  text += `"installation":${config.installation},"organization":${config.organization}},"decision":{"code":`
  text += `${s(decision.code)},"effect":${s(decision.effect)},"findings":[${decision.findings.map(encodeFinding).join(',')}],`
  text += `"reason":${s(decision.reason)}},"engine":{"semantics":${engine.semantics},"stages":${canonicalize(engine.stages)}},`
  text += `"event":${s(entry.event)},`
  if (entry.facts) text += `"facts":${canonicalize(entry.facts)},`
  text += `"id":${s(entry.id)},`
  if (entry.local) text += `"local":${canonicalize(entry.local as unknown as Json)},`
  text += `"log":${s(entry.log)},`
  if (entry.payload) text += `"payload":${canonicalize(entry.payload as unknown as Json)},`
  text += `"policies":[${entry.policies.map(encodePolicy).join(',')}],`
  if (entry.request_id !== undefined) text += `"request_id":${s(entry.request_id)},`
  if (entry.resource) text += `"resource":${encodeReading(entry.resource)},`
  text += `"subject":{"agent_id":${s(subject.agent_id)},"environment":${s(subject.environment)},"team":${s(subject.team)}},`
  return `${text}"ts":${s(entry.ts)},"type":"decision","v":1}`
}

const encodeReading = (reading: Reading): string =>
  `{"key":${canonicalString(reading.key)},"raw":${canonicalString(reading.raw)}}`

function encodeFinding(finding: EntryFinding): string {
  let text = `{"code":${canonicalString(finding.code)},"effect":${canonicalString(finding.effect)}`
  if (finding.policy !== undefined) text += `,"policy":${finding.policy}`
  if (finding.rule !== undefined) text += `,"rule":${canonicalString(finding.rule)}`
  return `${text},"stage":${canonicalString(finding.stage)}}`
}

const encodePolicy = (policy: EntryPolicy): string =>
  `{"id":${canonicalString(policy.id)},"scope":${canonicalString(policy.scope)},` +
  `"sha256":${canonicalString(policy.sha256)},"version":${policy.version}}`
