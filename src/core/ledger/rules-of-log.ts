/**
 * What must hold between the entries of a log (ledger.md, Versions): the promise "no allow after a no", checked from
 * the log alone. Memory grows with agents, keys, policies and approvals that can still be used, not with entries.
 */
import type { Json } from './canonical.js'
import type { EntryPolicy } from './entry.js'
import type { FindingKind } from './findings.js'
import { KillsOfLog } from './kills-of-log.js'
import { GrantRules } from './rules-of-grants.js'
import type { RuledEntry } from './read-entry.js'
import { LocalRules } from './rules-of-local.js'

export interface Violation {
  readonly kind: FindingKind
  readonly field: string
  readonly detail: string
}

/** Where a state was set: the entry that a finding is held against. */
interface Since {
  readonly index: number
}

interface AgentState {
  /** The newest configuration version that any entry names. */
  version: number
  version_at: number
  /** Set while the log says that the agent is inactive; null: active, or not known. */
  inactive: Since | null
  /** The agent's own policy. */
  policy_id: string | null
}

interface CurrentPolicy extends Since {
  readonly version: number
  readonly sha256: string
}

/** Feed it every entry in order of index. */
export class LogRules {
  private installation = 0
  private organization = 0
  private organization_at = 0
  private organization_inactive: Since | null = null
  private readonly agents = new Map<string, AgentState>()
  private readonly kills = new KillsOfLog()
  private readonly revoked = new Map<string, number>()
  private readonly policies = new Map<string, CurrentPolicy>()
  private readonly team_policies = new Map<string, string>()
  private organization_policy: string | null = null
  private readonly grants: GrantRules
  private readonly local: LocalRules

  /** @param whole the log is read from its first entry, so that a policy nobody recorded is a finding */
  constructor(private readonly whole: boolean) {
    this.grants = new GrantRules(whole)
    this.local = new LocalRules(whole)
  }

  /** What is wrong with this entry, given all before it. `payload`: opened, or null when there is none to see. */
  check(index: number, entry: RuledEntry, payload: Readonly<Record<string, Json>> | null): Violation[] {
    const found: Violation[] = []
    this.checkVersions(index, entry, found)
    if (entry.local) this.local.check(entry, entry.local, found)
    else if (entry.type === 'decision') this.checkDecision(index, entry, found)
    if (entry.type === 'kill' && entry.kill) {
      this.kills.record(index, entry.kill)
      this.local.recordKill(index, entry, entry.kill)
    }
    if (entry.type === 'config') this.record(index, entry, payload)
    this.grants.check(index, entry, found)
    return found
  }

  private checkVersions(index: number, { config, subject }: RuledEntry, found: Violation[]): void {
    if (config.installation < this.installation) {
      found.push(older('config.installation', config.installation, this.installation, null))
    }
    if (config.organization < this.organization) {
      found.push(older('config.organization', config.organization, this.organization, this.organization_at))
    } else if (config.organization > this.organization) {
      this.organization = config.organization
      this.organization_at = index
    }
    this.installation = Math.max(this.installation, config.installation)
    if (config.agent === undefined || subject === undefined) return
    const agent = this.agent(subject.agent_id)
    if (config.agent < agent.version) {
      found.push(older('config.agent', config.agent, agent.version, agent.version_at))
    } else if (config.agent > agent.version) {
      agent.version = config.agent
      agent.version_at = index
    }
  }

  private checkDecision(index: number, entry: RuledEntry, found: Violation[]): void {
    const agent_id = entry.subject?.agent_id ?? ''
    const agent = this.agent(agent_id)
    const allowed = entry.decision?.effect === 'allow'
    if (allowed) {
      const key_id = entry.actor.key_id ?? ''
      const revoked_at = this.revoked.get(key_id)
      if (revoked_at !== undefined) {
        found.push({
          kind: 'revoked',
          field: 'actor.key_id',
          detail: `the key ${key_id} was allowed something, though entry ${revoked_at} had revoked it`,
        })
      }
      const inactive = agent.inactive ?? this.organization_inactive
      if (inactive) {
        const who = agent.inactive ? `the agent ${agent_id}` : 'the organization'
        found.push({
          kind: 'inactive',
          field: 'decision.effect',
          detail: `the agent ${agent_id} was allowed something, though entry ${inactive.index} had made ${who} inactive`,
        })
      }
    }
    const killed = allowed ? this.kills.covering(entry) : null
    if (killed) {
      const { scope, target } = killed.kill
      found.push({
        kind: 'killed',
        field: 'decision.effect',
        detail: `the agent ${agent_id} was allowed something, though entry ${killed.index} had stopped the ${scope}${target === undefined ? '' : ` ${target}`}`,
      })
    }
    const named = entry.policies ?? []
    for (const [i, policy] of named.entries()) this.checkPolicy(index, policy, i, found)
    if (!allowed) return
    const team = entry.subject?.team ?? ''
    this.checkNamed(agent.policy_id, 'its agent', named, found)
    this.checkNamed(this.team_policies.get(team) ?? null, `the team ${team}`, named, found)
    this.checkNamed(this.organization_policy, 'the organization', named, found)
  }

  /** An allow names every policy that applied: one that is left out might have denied. */
  private checkNamed(
    policy_id: string | null,
    owner: string,
    named: readonly EntryPolicy[],
    found: Violation[],
  ): void {
    if (policy_id === null || named.some(({ id }) => id === policy_id)) return
    found.push({
      kind: 'policy_stale',
      field: 'policies',
      detail: `the decision leaves out the policy ${policy_id} of ${owner}, which entry ${this.policies.get(policy_id)?.index ?? 0} made`,
    })
  }

  private checkPolicy(index: number, policy: EntryPolicy, i: number, found: Violation[]): void {
    const { id, version, sha256 } = policy
    const current = this.policies.get(id)
    if (!current) {
      if (this.whole) {
        found.push({
          kind: 'policy_stale',
          field: `policies[${i}].id`,
          detail: `no entry before has made the policy ${id}`,
        })
      }
      // In a part of a log the first decision tells what was current.
      this.policies.set(id, { version, sha256, index })
      return
    }
    if (current.version !== version) {
      found.push({
        kind: 'policy_stale',
        field: `policies[${i}].version`,
        detail: `the decision names version ${version} of the policy ${id}; current was ${current.version}, since entry ${current.index}`,
      })
    } else if (current.sha256 !== sha256) {
      found.push({
        kind: 'policy_stale',
        field: `policies[${i}].sha256`,
        detail: `the digest of version ${version} of the policy ${id} is not the one of entry ${current.index}`,
      })
    }
  }

  private record(index: number, entry: RuledEntry, payload: Readonly<Record<string, Json>> | null): void {
    const { event, change } = entry
    if (!change) return
    if (change.kind === 'key' && change.op === 'revoked') {
      if (!this.revoked.has(change.id)) this.revoked.set(change.id, index)
      this.local.recordRevoked(index, entry, change.id)
    } else if (change.kind === 'policy') {
      this.recordPolicy(index, entry, change)
    } else if (event === 'agent.deleted') {
      this.agent(change.id).inactive = { index }
      this.local.recordActive(index, entry, change.id, false)
    } else if (event === 'agent.updated' || event === 'organization.updated') {
      // An erased payload leaves the question open, and an open question is no finding: the versions still hold.
      const active = activeAfter(payload) !== false
      const inactive = active ? null : { index }
      if (event === 'agent.updated') this.agent(change.id).inactive = inactive
      else this.organization_inactive = inactive
      this.local.recordActive(index, entry, event === 'agent.updated' ? change.id : '', active)
    }
  }

  private recordPolicy(index: number, entry: RuledEntry, change: NonNullable<RuledEntry['change']>): void {
    const { id, version, sha256, scope, team } = change
    if (version === undefined || sha256 === undefined) return
    this.policies.set(id, { version, sha256, index })
    const { agent_id } = entry.subject ?? {}
    const own = scope === 'agent' && agent_id !== undefined
    if (own) this.agent(agent_id).policy_id = id
    if (scope === 'team' && team !== undefined) this.team_policies.set(team, id)
    if (scope === 'organization') this.organization_policy = id
    const teams = scope === 'team' && team !== undefined ? (`team:${team}` as const) : null
    const name = own ? (`agent:${agent_id}` as const) : scope === 'organization' ? 'organization' : teams
    this.local.recordPolicy(index, entry, { id, version, sha256 }, name)
  }

  private agent(agent_id: string): AgentState {
    let agent = this.agents.get(agent_id)
    if (!agent) {
      agent = { version: 0, version_at: 0, inactive: null, policy_id: null }
      this.agents.set(agent_id, agent)
    }
    return agent
  }
}

/** `after.is_active` of a change; undefined when it cannot be seen. */
function activeAfter(payload: Readonly<Record<string, Json>> | null): boolean | undefined {
  const after: Json | undefined = payload?.after
  if (typeof after !== 'object' || after === null || !('is_active' in after)) return undefined
  return typeof after.is_active === 'boolean' ? after.is_active : undefined
}

const older = (field: string, version: number, newest: number, since: number | null): Violation => ({
  kind: 'versions',
  field,
  detail:
    `the entry was made from ${field} ${version}, which was ${newest} already` +
    (since === null ? '' : ` since entry ${since}`),
})
