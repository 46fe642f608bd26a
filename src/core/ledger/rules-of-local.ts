/**
 * What must hold between a log and the decisions that agents made by themselves (docs/local-decisions.md). Their
 * entries follow the decisions, so "no allow after a no" cannot be asked of the order of the log. Asked is what remains
 * true: nothing was decided beyond the lease, and no lease was given from a state that the log had ended before.
 */
import type { ConfigVersions, EntryPolicy, KillEntry, LocalDecision } from './entry.js'
import { coverOf } from './kills-of-log.js'
import type { RuledEntry } from './read-entry.js'
import type { Violation } from './rules-of-log.js'

/** The longest lease that an installation can give. */
const MAX_LEASE_MS = 60_000
/** Clocks of replicas and database (5 s at most), and the time between an entry's `ts` and its commit. */
const TOLERANCE_MS = 10_000

/** An entry that ended something. */
interface No {
  readonly index: number
  readonly ts: number
  readonly config: ConfigVersions
}

interface PolicyState extends No {
  readonly version: number
  readonly sha256: string
}

interface Span {
  readonly began: No
  ended: No | null
}

interface KillSpan extends Span {
  readonly kill: KillEntry['kill']
  readonly covers: (entry: RuledEntry) => boolean
}

/** A local decision as its entry states it, times in milliseconds. */
interface Local {
  readonly entry: RuledEntry
  readonly config: ConfigVersions
  readonly issued_at: number
  readonly lease_until: number
}

type Name = 'organization' | `team:${string}` | `agent:${string}`

/**
 * Feed it every change, and every decision of event `decision.local`, in order of index. Memory grows with changes of
 * policies, kill switches, keys and spools.
 */
export class LocalRules {
  private readonly kills: KillSpan[] = []
  /** Versions of each policy, oldest first. */
  private readonly policies = new Map<string, PolicyState[]>()
  private readonly policy_of = new Map<Name, string>()
  private readonly revoked = new Map<string, No>()
  /** By agent; '' is the organization. */
  private readonly inactive = new Map<string, Span[]>()
  private readonly spools = new Map<string, number>()

  /** @param whole the log is read from its first entry */
  constructor(private readonly whole: boolean) {}

  recordKill(index: number, entry: RuledEntry, kill: KillEntry['kill']): void {
    const no = noOf(index, entry)
    const active = this.kills.find(({ kill: { id }, ended }) => id === kill.id && ended === null)
    if (kill.op === 'deactivated') {
      if (active) active.ended = no
    } else if (!active) this.kills.push({ kill, began: no, ended: null, covers: coverOf(kill) })
  }

  recordRevoked(index: number, entry: RuledEntry, key_id: string): void {
    if (!this.revoked.has(key_id)) this.revoked.set(key_id, noOf(index, entry))
  }

  /** @param agent_id '' for the organization */
  recordActive(index: number, entry: RuledEntry, agent_id: string, active: boolean): void {
    const spans = this.inactive.get(agent_id) ?? []
    this.inactive.set(agent_id, spans)
    const last = spans.at(-1)
    const open = last?.ended === null ? last : undefined
    if (active && open) open.ended = noOf(index, entry)
    if (!active && !open) spans.push({ began: noOf(index, entry), ended: null })
  }

  recordPolicy(index: number, entry: RuledEntry, { id, version, sha256 }: PolicyVersion, name: Name | null) {
    const states = this.policies.get(id) ?? []
    states.push({ ...noOf(index, entry), version, sha256 })
    this.policies.set(id, states)
    if (name) this.policy_of.set(name, id)
  }

  /** A decision of event `decision.local`, whose form was read. */
  check(entry: RuledEntry, stated: LocalDecision, found: Violation[]): void {
    const local = {
      entry,
      config: stated.config,
      issued_at: Date.parse(stated.issued_at),
      lease_until: Date.parse(stated.lease_until),
    }
    this.checkPlace(entry, stated, found)
    checkTimes(entry, local, Date.parse(stated.decided_at), found)
    const named = entry.policies ?? []
    for (const [i, policy] of named.entries()) this.checkPolicy(local, policy, i, found)
    if (entry.decision?.effect !== 'allow') return
    this.checkStopped(local, found)
    const { agent_id = '', team = '' } = entry.subject ?? {}
    for (const name of ['organization', `team:${team}`, `agent:${agent_id}`] as const)
      this.checkNamed(local, name, named, found)
  }

  /** Each agent's spool is recorded from 0 without a gap: none of its decisions was left out. */
  private checkPlace({ subject }: RuledEntry, { spool, seq }: LocalDecision, found: Violation[]): void {
    const name = `${subject?.agent_id ?? ''}/${spool}`
    const next = this.spools.get(name) ?? (this.whole ? 0 : seq)
    this.spools.set(name, seq + 1)
    if (seq === next) return
    const detail = `decision ${seq} of the spool ${spool} follows decision ${next - 1}`
    found.push({ kind: 'spool', field: 'local.seq', detail })
  }

  private checkPolicy(local: Local, policy: EntryPolicy, i: number, found: Violation[]): void {
    const { id, version, sha256 } = policy
    const states = this.policies.get(id) ?? []
    const at = states.findIndex((state) => state.version === version)
    const [state, later] = at < 0 ? [] : [states[at], states[at + 1]]
    const add = (field: string, detail: string) =>
      void found.push({ kind: 'policy_stale', field: `policies[${i}].${field}`, detail })
    if (!state) {
      if (this.whole) add('version', `no entry before has made version ${version} of the policy ${id}`)
      return
    }
    if (state.sha256 !== sha256)
      add(
        'sha256',
        `the digest of version ${version} of the policy ${id} is not the one of entry ${state.index}`,
      )
    if (later && wasKnown(local, later))
      add(
        'version',
        `the bundle was given with version ${version} of the policy ${id}, which entry ${later.index} had replaced`,
      )
  }

  private checkStopped(local: Local, found: Violation[]): void {
    const { actor, subject } = local.entry
    const agent_id = subject?.agent_id ?? ''
    const key_id = actor.key_id ?? ''
    const revoked = this.revoked.get(key_id)
    const given = `the agent ${agent_id} was given a bundle to allow from, though entry`
    if (revoked && wasKnown(local, revoked))
      found.push({
        kind: 'revoked',
        field: 'actor.key_id',
        detail: `${given} ${revoked.index} had revoked the key ${key_id}`,
      })
    const spans = [...(this.inactive.get(agent_id) ?? []), ...(this.inactive.get('') ?? [])]
    const inactive = spans.find((span) => wasIn(local, span))
    if (inactive)
      found.push({
        kind: 'inactive',
        field: 'decision.effect',
        detail: `${given} ${inactive.began.index} had made the agent or its organization inactive`,
      })
    const killed = this.kills.find((span) => wasIn(local, span) && span.covers(local.entry))
    if (!killed) return
    const { scope, target } = killed.kill
    found.push({
      kind: 'killed',
      field: 'decision.effect',
      detail: `${given} ${killed.began.index} had stopped the ${scope}${target === undefined ? '' : ` ${target}`}`,
    })
  }

  private checkNamed(local: Local, name: Name, named: readonly EntryPolicy[], found: Violation[]): void {
    const id = this.policy_of.get(name)
    const [first] = id === undefined ? [] : (this.policies.get(id) ?? [])
    if (id === undefined || !first || !wasKnown(local, first)) return
    if (named.some((policy) => policy.id === id)) return
    found.push({
      kind: 'policy_stale',
      field: 'policies',
      detail: `the bundle leaves out the policy ${id}, which entry ${first.index} had made`,
    })
  }
}

export type PolicyVersion = Pick<EntryPolicy, 'id' | 'version' | 'sha256'>

function checkTimes(entry: RuledEntry, local: Local, decided_at: number, found: Violation[]): void {
  const { issued_at, lease_until } = local
  const add = (field: string, detail: string) => void found.push({ kind: 'lease', field, detail })
  if (decided_at > lease_until) add('local.decided_at', 'it was decided after the lease had run out')
  if (decided_at < issued_at) add('local.decided_at', 'it was decided before the lease was given')
  if (decided_at > Date.parse(entry.ts) + TOLERANCE_MS)
    add('local.decided_at', 'it was decided after it was recorded')
  if (lease_until - issued_at > MAX_LEASE_MS) add('local.lease_until', 'no lease is longer than a minute')
}

/**
 * Whether the bundle was read after this entry: its versions include the entry's, or it was given so much later that it
 * cannot have been read before.
 */
function wasKnown({ config, issued_at }: Local, no: No): boolean {
  return includes(config, no.config) || issued_at > no.ts + TOLERANCE_MS
}

/** Whether the bundle was read after the span began, and surely before it ended. */
function wasIn(local: Local, { began, ended }: Span): boolean {
  if (!wasKnown(local, began)) return false
  return (
    ended === null || (!includes(local.config, ended.config) && local.lease_until + TOLERANCE_MS < ended.ts)
  )
}

const includes = (config: ConfigVersions, { installation, organization, agent }: ConfigVersions): boolean =>
  config.installation >= installation &&
  config.organization >= organization &&
  (agent === undefined || (config.agent ?? 0) >= agent)

const noOf = (index: number, { ts, config }: RuledEntry): No => ({ index, ts: Date.parse(ts), config })
