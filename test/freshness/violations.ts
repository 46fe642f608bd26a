import type { StrictPostgres } from '../support/strict-postgres'

/** What freshness can be judged from, of one entry. */
export interface LogLine {
  readonly index: number
  readonly event: string
  readonly agent_id: string | null
  /** The agent's configuration version that the entry names. */
  readonly version: number | null
  /** Of a decision: the key that asked, the effect, and the version of the policy it was made from. */
  readonly key_id: string | null
  readonly effect: string | null
  readonly policy_version: number | null
  /** Of a change: what was changed. */
  readonly changed_id: string | null
  readonly changed_version: number | null
  /** Of a kill switch for one agent: the agent. */
  readonly killed: string | null
}

/** The default organization's log in its order. */
export function readLog(postgres: StrictPostgres, database: string): Promise<LogLine[]> {
  return postgres.query<LogLine>(
    database,
    `SELECT index::float8 AS index, e ->> 'event' AS event, agent_id, (e #>> '{config,agent}')::float8 AS version,
            e #>> '{actor,key_id}' AS key_id, e #>> '{decision,effect}' AS effect,
            (e #>> '{policies,0,version}')::float8 AS policy_version,
            e #>> '{change,id}' AS changed_id, (e #>> '{change,version}')::float8 AS changed_version,
            CASE WHEN e #>> '{kill,scope}' = 'agent' THEN e #>> '{kill,target}' END AS killed
     FROM ledger.ledger_entry, LATERAL convert_from(entry, 'UTF8') AS t (text), LATERAL (SELECT text::jsonb) AS j (e)
     WHERE org_id = 'org_default' ORDER BY index`,
  )
}

export interface Violations {
  decisions: number
  allows: number
  changes: number
  /** Allows after, in the order of the log, … the entry that revoked the key that asked. */
  by_key: number
  /** … a newer version of the agent's policy than the one they were made from. */
  by_policy: number
  /** … the entry that deactivated the agent, and before the one that activated it. */
  by_activity: number
  /** … the entry of a kill switch for the agent, and before the one that ended it. */
  by_kill: number
  /** Decisions of any effect after an entry with a newer version of the agent's configuration. */
  by_version: number
}

interface State {
  version: number
  policy_version: number
  active: boolean
}

/**
 * Reads a log as an outsider does: one pass, from its entries alone. The before and after of a change are in the
 * encrypted payload, so it relies on the test for one thing: `agent.updated` always flips the agent's activity.
 */
export function violationsOf(log: readonly LogLine[], after_index = -1): Violations {
  const found = {
    decisions: 0,
    allows: 0,
    changes: 0,
    by_key: 0,
    by_policy: 0,
    by_activity: 0,
    by_kill: 0,
    by_version: 0,
  }
  const revoked = new Set<string>()
  const killed = new Set<string>()
  const agents = new Map<string, State>()
  for (const line of log) {
    const counts = line.index > after_index
    const name = line.agent_id ?? ''
    const agent = agents.get(name) ?? { version: 0, policy_version: 0, active: true }
    agents.set(name, agent)
    if (line.event === 'decision.made') {
      if (!counts) continue
      found.decisions++
      if ((line.version ?? 0) < agent.version) found.by_version++
      if (line.effect !== 'allow') continue
      found.allows++
      if (revoked.has(line.key_id ?? '')) found.by_key++
      if ((line.policy_version ?? 0) !== agent.policy_version) found.by_policy++
      if (!agent.active) found.by_activity++
      if (killed.has(name)) found.by_kill++
      continue
    }
    if (counts) found.changes++
    agent.version = Math.max(agent.version, line.version ?? 0)
    if (line.event === 'key.revoked') revoked.add(line.changed_id ?? '')
    if (line.event.startsWith('policy.')) agent.policy_version = line.changed_version ?? 0
    if (line.event === 'kill_switch.activated') killed.add(line.killed ?? '')
    if (line.event === 'kill_switch.deactivated') killed.delete(line.killed ?? '')
    if (line.event === 'agent.updated') agent.active = !agent.active
  }
  return found
}
