import { AgentGuard, type AgentGuardOptions } from './client.js'
import type { CreateAgent, PolicyDocument } from './generated/openapi.js'
import type { QueryOf } from './operations.js'
import type { ActionReport, ApprovalState, Decision, EnforceRequest } from './types.js'

/** A token is replaced this long before it ends. */
const REFRESH_MS = 60_000

export interface AgentGuardClientOptions extends Omit<AgentGuardOptions, 'baseURL'> {
  /** Sends a token made from the one key instead of the key itself; it is kept, and replaced 60 s before it ends. */
  useToken?: boolean
}

type Rules = NonNullable<PolicyDocument['allow']>

/** The method names that users of other AgentGuard clients know, over `AgentGuard`. */
export class AgentGuardClient {
  readonly client: AgentGuard
  #token: { value: string; until: number } | undefined

  /** @throws TypeError for `useToken` with two keys, or none */
  constructor(
    baseURL: string,
    { adminKey, agentKey, useToken = false, ...options }: AgentGuardClientOptions = {},
  ) {
    const keys = { ...(adminKey !== undefined && { adminKey }), ...(agentKey !== undefined && { agentKey }) }
    const direct = new AgentGuard({ ...options, baseURL, ...keys })
    if (useToken && Object.keys(keys).length !== 1) {
      throw new TypeError('useToken needs one key: adminKey or agentKey.')
    }
    this.client = useToken
      ? new AgentGuard({ ...options, baseURL, token: () => this.#tokenOf(direct, adminKey, agentKey) })
      : direct
  }

  async #tokenOf(direct: AgentGuard, admin_key?: string, agent_key?: string): Promise<string> {
    if (this.#token && Date.now() < this.#token.until - REFRESH_MS) return this.#token.value
    const { access_token, expires_in } = await direct.tokens.create({
      ...(admin_key !== undefined && { admin_key }),
      ...(agent_key !== undefined && { agent_key }),
    })
    this.#token = { value: access_token, until: Date.now() + expires_in * 1000 }
    return access_token
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
  async listApprovals(query?: QueryOf<'get', '/v1/approvals'>) {
    return (await this.client.approvals.list(query)).items
  }
  getApproval(approval_id: string) {
    return this.client.approvals.get(approval_id)
  }
  approveRequest(approval_id: string, reason?: string) {
    return this.client.approvals.approve(approval_id, reason === undefined ? {} : { reason })
  }
  denyRequest(approval_id: string, reason?: string) {
    return this.client.approvals.deny(approval_id, reason === undefined ? {} : { reason })
  }
  /** Where it stands, for the agent that asked. */
  pollApproval(approval_id: string): Promise<ApprovalState> {
    return this.client.approvals.state(approval_id)
  }
  /**
   * Polls until it does not wait any more. Both times in milliseconds.
   * @throws DOMException `TimeoutError` when nobody has decided by then
   */
  async waitForApproval(
    approval_id: string,
    { timeoutMs = 300_000, pollMs = 3_000 } = {},
  ): Promise<ApprovalState> {
    const end = performance.now() + timeoutMs
    for (;;) {
      const state = await this.pollApproval(approval_id)
      if (state.status !== 'pending') return state
      if (performance.now() + pollMs > end) {
        throw new DOMException(`Nobody has decided ${approval_id} in ${timeoutMs} ms.`, 'TimeoutError')
      }
      await new Promise((resolve) => setTimeout(resolve, pollMs))
    }
  }
  /** Ends the token that calls carry; the next call makes a new one. */
  async revokeToken() {
    const revoked = await this.client.tokens.revoke()
    this.#token = undefined
    return revoked
  }
  async queryLogs(query?: QueryOf<'get', '/v1/logs'>) {
    return [...(await this.client.logs.list(query))]
  }
}
