import { AgentGuard, type AgentGuardOptions } from './client.js'
import type { CreateAgent, PolicyDocument } from './generated/openapi.js'
import type { QueryOf } from './operations.js'
import type { ActionReport, Decision, EnforceRequest } from './types.js'

type Rules = NonNullable<PolicyDocument['allow']>

/** The method names that users of other AgentGuard clients know, over `AgentGuard`. */
export class AgentGuardClient {
  readonly client: AgentGuard

  constructor(baseURL: string, { adminKey, agentKey, ...options }: Omit<AgentGuardOptions, 'baseURL'> = {}) {
    this.client = new AgentGuard({
      ...options,
      baseURL,
      ...(adminKey !== undefined && { adminKey }),
      ...(agentKey !== undefined && { agentKey }),
    })
  }

  createAgent(name: string, owner_team: string, environment: CreateAgent['environment']) {
    return this.client.agents.create({ name, owner_team, environment })
  }
  async listAgents(query?: QueryOf<'get', '/v1/agents'>) {
    return [...(await this.client.agents.list(query))]
  }
  getAgent(agent_id: string) {
    return this.client.agents.get(agent_id)
  }
  deleteAgent(agent_id: string) {
    return this.client.agents.delete(agent_id)
  }
  /** Replaces the policy. */
  setPolicy(agent_id: string, allow: Rules = [], deny: Rules = [], require_approval: Rules = []) {
    return this.client.policies.put(agent_id, { allow, deny, require_approval })
  }
  getPolicy(agent_id: string) {
    return this.client.policies.get(agent_id)
  }
  enforce(action: string, resource?: string, context?: EnforceRequest['context']): Promise<Decision> {
    return this.client.enforce({
      action,
      ...(resource !== undefined && { resource }),
      ...(context !== undefined && { context }),
    })
  }
  logAction(
    action: string,
    resource: string | undefined,
    allowed: boolean,
    result: ActionReport['result'],
    more: Pick<ActionReport, 'context' | 'metadata' | 'request_id' | 'decision_id'> = {},
  ) {
    return this.client.logs.report({
      action,
      allowed,
      result,
      ...(resource !== undefined && { resource }),
      ...more,
    })
  }
  async queryLogs(query?: QueryOf<'get', '/v1/logs'>) {
    return [...(await this.client.logs.list(query))]
  }
}
