import type { PolicyDocument } from '../../../src/core/policy/compile.js'
import type { RiskLevel } from '../../../src/core/risk.js'
import { UsageError } from '../usage.js'
import type { Environment } from './agents.js'
import type { Connection } from './connection.js'
import { documentOf, presentPolicy } from './policy.js'
import { diffPolicies, readPolicy, type RuleChange } from './policy-diff.js'
import { identityOf, type PlanFile, type WantedAgent } from './plan-file.js'

/** One change that makes the service as the file says. */
export type Step =
  | { readonly kind: 'create'; readonly agent: string; readonly wanted: WantedAgent }
  | {
      readonly kind: 'update'
      readonly agent: string
      readonly agent_id: string
      readonly from: Environment
      readonly to: Environment
    }
  | {
      readonly kind: 'risk'
      readonly agent: string
      readonly agent_id: string
      readonly from: RiskLevel | null
      readonly to: RiskLevel | null
    }
  | {
      readonly kind: 'policy'
      readonly agent: string
      /** Null: of the agent that the step before makes. */
      readonly agent_id: string | null
      /** The version it was compared with; null when there was none. */
      readonly version: number | null
      readonly changes: readonly RuleChange[]
      readonly policy: PolicyDocument
    }
  | { readonly kind: 'delete'; readonly agent: string; readonly agent_id: string }

export interface PlanOptions {
  /** Delete agents of `manages_teams` that the file has not. */
  readonly prune: boolean
  /** Make an agent anew where one of its name is inactive. */
  readonly replaceInactive: boolean
}

/** What is to be done, in order. Nothing that the file does not name is looked at, except the teams it manages. */
export async function stepsTo(file: PlanFile, connection: Connection, options: PlanOptions): Promise<Step[]> {
  const steps: Step[] = []
  for (const wanted of file.agents) steps.push(...(await stepsOf(wanted, connection, options)))
  if (options.prune) steps.push(...(await deletions(file, connection)))
  return steps
}

async function stepsOf(
  wanted: WantedAgent,
  connection: Connection,
  { replaceInactive }: PlanOptions,
): Promise<Step[]> {
  const agent = identityOf(wanted)
  const { name, owner_team, environment, risk_level, policy } = wanted
  const named = await connection.client.agents
    .list({ name, owner_team, include_inactive: true, limit: 100 })
    .toArray()
  const [found, second] = named.filter(({ is_active }) => is_active)
  if (second) {
    const ids = named.map(({ agent_id }) => agent_id).join(', ')
    throw new UsageError(`There are several agents ${agent}: ${ids}. Rename all but one, then try again.`)
  }
  if (!found) {
    const [stopped] = named
    // Whoever stopped it did not want another to go on in its place.
    if (stopped && !replaceInactive)
      throw new UsageError(
        `${agent} is inactive (${stopped.agent_id}). Activate it with agentguard agents update ${stopped.agent_id} --active yes, or make another with --replace-inactive.`,
      )
    const changes = policy ? diffPolicies(null, policy) : []
    const create: Step = { kind: 'create', agent, wanted }
    return policy
      ? [create, { kind: 'policy', agent, agent_id: null, version: null, changes, policy }]
      : [create]
  }
  const { agent_id } = found
  const from = found.environment
  const update: Step[] =
    from === environment ? [] : [{ kind: 'update', agent, agent_id, from, to: environment }]
  if (risk_level !== undefined && risk_level !== found.risk_level)
    update.push({ kind: 'risk', agent, agent_id, from: found.risk_level, to: risk_level })
  if (!policy) return update
  const present = await presentPolicy(connection, agent_id)
  const changes = diffPolicies(present && readPolicy(documentOf(present), `The policy of ${agent}`), policy)
  if (present && changes.length === 0) return update
  return [...update, { kind: 'policy', agent, agent_id, version: present?.version ?? null, changes, policy }]
}

async function deletions({ agents, manages_teams }: PlanFile, { client }: Connection): Promise<Step[]> {
  if (manages_teams.length === 0)
    throw new UsageError('--prune deletes agents of the teams under manages_teams, and the file names none.')
  const kept = new Set(agents.map(identityOf))
  const steps: Step[] = []
  for (const owner_team of new Set(manages_teams))
    for (const found of await client.agents.list({ owner_team, limit: 100 }).toArray())
      if (!kept.has(identityOf(found)))
        steps.push({ kind: 'delete', agent: identityOf(found), agent_id: found.agent_id })
  return steps
}

/** What a step made: an id, and of a new agent its key. */
export interface Done {
  readonly kind: Step['kind']
  readonly agent: string
  readonly agent_id: string
  readonly version?: number
  readonly key_id?: string
  readonly api_key?: string
}

/** @param made ids of agents made by earlier steps, by name */
export async function take(step: Step, { client }: Connection, made: Map<string, string>): Promise<Done> {
  const { kind, agent } = step
  switch (step.kind) {
    case 'create': {
      const { policy: _, ...wanted } = step.wanted
      const { agent_id, key_id, api_key } = await client.agents.create(wanted)
      made.set(agent, agent_id)
      return { kind, agent, agent_id, key_id, api_key }
    }
    case 'update':
      await client.agents.update(step.agent_id, { environment: step.to })
      return { kind, agent, agent_id: step.agent_id }
    case 'risk':
      await client.agents.update(step.agent_id, { risk_level: step.to })
      return { kind, agent, agent_id: step.agent_id }
    case 'policy': {
      const agent_id = step.agent_id ?? made.get(agent) ?? ''
      // What was shown is what is replaced: a policy that somebody changed meanwhile is a 409.
      const options = step.version === null ? {} : { headers: { 'If-Match': `"${step.version}"` } }
      const { version } = await client.policies.put(agent_id, mutable(step.policy), options)
      return { kind, agent, agent_id, version }
    }
    case 'delete':
      await client.agents.delete(step.agent_id)
      return { kind, agent, agent_id: step.agent_id }
  }
}

type PutBody = Parameters<Connection['client']['policies']['put']>[1]
/** The generated types of a body are not read-only. */
const mutable = (policy: PolicyDocument): PutBody => structuredClone(policy) as PutBody
