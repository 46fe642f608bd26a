import { Injectable } from '@nestjs/common'
import { AgentsService } from '../agents/agents.service.js'
import { agentNotFound, Problem } from '../core/problems.js'
import { KeysService } from '../keys/keys.service.js'
import { Authenticator } from '../platform/access/authenticator.js'
import { type AgentPrincipal, type Principal, teamOf } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { PoliciesService } from '../policies/policies.service.js'

/** What a canary asks. It is allowed nothing else. */
export const DRILL_ACTION = 'drill:kill-switch'

const NAME = 'kill-drill-canary'
/** Whose the canary of the whole organization is. */
const TEAM = 'kill-drill'
/** A key that a crash kept from being revoked works no longer than this. */
const KEY_MS = 60_000

/** The agents that drills stop, and the keys they ask with. */
@Injectable()
export class DrillCanaryService {
  constructor(
    private readonly agents: AgentsService,
    private readonly keys: KeysService,
    private readonly policies: PoliciesService,
    private readonly authenticator: Authenticator,
    private readonly clock: Clock,
  ) {}

  /** The canary within the principal's reach, made when there is none. @returns its id */
  async find(principal: Principal): Promise<string> {
    const owner_team = teamOf(principal) ?? TEAM
    const { items } = await this.agents.list(principal, { name: NAME, owner_team, limit: 1 })
    const agent_id = items[0]?.agent_id ?? (await this.make(principal, owner_team))
    const owner = { scope: 'agent', agent_id } as const
    try {
      await this.policies.get(principal, owner)
    } catch (error) {
      if (!(error instanceof Problem && error.code === 'policy_not_found')) throw error
      await this.policies.put(principal, owner, { allow: [{ action: DRILL_ACTION }] }, undefined)
    }
    return agent_id
  }

  /**
   * Runs `work` as the agent, by a key that nobody is shown and that is revoked when it ends.
   * @throws Problem as `KeysService.create`
   */
  async as<T>(principal: Principal, agent_id: string, work: (by: AgentPrincipal) => Promise<T>): Promise<T> {
    const expires_at = new Date(this.clock.now() + KEY_MS)
    const { api_key, key_id } = await this.keys.create(principal, agent_id, { expires_at })
    try {
      const by = await this.authenticator.agent(api_key, 'decisions:create')
      if (!by) throw agentNotFound(agent_id)
      return await work(by)
    } finally {
      await this.keys.revoke(principal, agent_id, key_id)
    }
  }

  private async make(principal: Principal, owner_team: string): Promise<string> {
    const agent = { name: NAME, owner_team, environment: 'dev' } as const
    const { agent_id, key_id } = await this.agents.create(principal, agent)
    await this.keys.revoke(principal, agent_id, key_id)
    return agent_id
  }
}
