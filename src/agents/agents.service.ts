import { Injectable } from '@nestjs/common'
import { randomBytes } from 'node:crypto'
import { ID_BYTES, makeId } from '../core/ids.js'
import type { Subject } from '../core/ledger/entry.js'
import { agentNotFound, Problem } from '../core/problems.js'
import { KeysService } from '../keys/keys.service.js'
import { LedgerService } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { agentsWithin, assertReaches } from '../platform/access/scope.js'
import { Clock } from '../platform/clock/clock.js'
import { Settings } from '../platform/config/settings.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { DEFAULT_LIMIT, type Listed } from '../platform/http/page.dto.js'
import { TeamsService } from '../teams/teams.service.js'
import type { Agent, CreateAgent, CreatedAgent, ListAgents, UpdateAgent } from './agents.dto.js'
import { lockAgent } from './agents.queries.js'

const VIEW = {
  agent_id: true,
  name: true,
  owner_team: true,
  environment: true,
  risk_level: true,
  is_active: true,
  created_at: true,
  updated_at: true,
} as const

/** The programs that ask. */
@Injectable()
export class AgentsService {
  private readonly listeners: ((tx: Tx, principal: Principal, agent_id: string) => Promise<unknown>)[] = []

  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly keys: KeysService,
    private readonly teams: TeamsService,
    private readonly settings: Settings,
    private readonly clock: Clock,
  ) {}

  /**
   * Registers what else ends with an agent: run in the transaction that deactivates or deletes it, before that
   * transaction's own entry.
   */
  onDeactivated(listener: (tx: Tx, principal: Principal, agent_id: string) => Promise<unknown>): void {
    this.listeners.push(listener)
  }

  /**
   * Makes an agent and its first key, whose secret is returned this once.
   * @throws Problem `forbidden` for a team beyond the principal's
   */
  async create(principal: Principal, body: CreateAgent): Promise<CreatedAgent> {
    assertReaches(principal, body.owner_team)
    const { org_id } = principal
    const agent_id = makeId(this.settings.agent_id_prefix, randomBytes(ID_BYTES))
    const now = new Date(this.clock.now())
    return this.database.withOrg(principal, async (tx) => {
      await this.teams.ensure(tx, principal, body.owner_team)
      const agent = await tx.agent.create({
        data: { org_id, agent_id, ...body, created_at: now, updated_at: now, config: { create: {} } },
        select: VIEW,
      })
      await this.ledger.append(tx, principal, {
        event: 'agent.created',
        change: { kind: 'agent', id: agent_id, op: 'created' },
        subject: subjectOf(agent),
        after: recorded(agent),
      })
      const { api_key, key_id, key_prefix } = await this.keys.issue(tx, principal, agent)
      return { ...agent, api_key, key_id, key_prefix }
    })
  }

  /** The organization's agents, oldest first; only active ones unless asked for all. */
  async list(principal: Principal, query: ListAgents): Promise<Listed<Agent>> {
    const { environment, owner_team, name, risk_level, include_inactive, limit } = query
    if (query.skip !== undefined && query.offset !== undefined) {
      throw new Problem('validation_failed', {
        errors: [{ path: 'skip', message: 'is the same as offset; give one of them' }],
      })
    }
    const active = include_inactive ? {} : { is_active: true }
    const risk = risk_level && { risk_level: risk_level === 'unrated' ? null : risk_level }
    const where = { AND: [agentsWithin(principal), { environment, owner_team, name, ...risk, ...active }] }
    return this.database.withOrg(principal, async (tx) => ({
      items: await tx.agent.findMany({
        where,
        select: VIEW,
        orderBy: [{ created_at: 'asc' }, { agent_id: 'asc' }],
        take: limit ?? DEFAULT_LIMIT,
        skip: query.skip ?? query.offset ?? 0,
      }),
      total: await tx.agent.count({ where }),
    }))
  }

  /** One agent, also an inactive one. @throws Problem `agent_not_found` */
  async get(principal: Principal, agent_id: string): Promise<Agent> {
    return this.database.withOrg(principal, (tx) => this.find(tx, principal, agent_id))
  }

  /**
   * Changes what is given. Activating a deleted agent does not revive its keys.
   * @throws Problem `agent_not_found`; `forbidden` for a team beyond the principal's
   */
  async update(principal: Principal, agent_id: string, changes: UpdateAgent): Promise<Agent> {
    return this.database.withOrg(principal, async (tx) => {
      const before = await this.lock(tx, principal, agent_id)
      const wanted = { ...recorded(before), ...given(changes) }
      if (same(wanted, recorded(before))) return before
      // Whoever moves an agent from one team to another needs both; the one it leaves was checked by finding it.
      assertReaches(principal, wanted.owner_team)
      const after = await this.write(tx, principal, agent_id, wanted)
      if (before.is_active && !after.is_active) await this.deactivated(tx, principal, agent_id)
      await this.ledger.append(tx, principal, {
        event: 'agent.updated',
        change: { kind: 'agent', id: agent_id, op: 'updated' },
        subject: subjectOf(after),
        raises: { agent_id },
        before: recorded(before),
        after: recorded(after),
      })
      return after
    })
  }

  /**
   * Deletes softly (C2): the agent becomes inactive and all its keys are revoked; its history stays. Deleting it again
   * changes nothing.
   * @throws Problem `agent_not_found`
   */
  async delete(principal: Principal, agent_id: string): Promise<void> {
    await this.database.withOrg(principal, async (tx) => {
      const before = await this.lock(tx, principal, agent_id)
      const keys_revoked = await this.keys.revokeAll(tx, principal, subjectOf(before))
      if (!before.is_active && keys_revoked.length === 0) return
      const after = await this.write(tx, principal, agent_id, { ...recorded(before), is_active: false })
      if (before.is_active) await this.deactivated(tx, principal, agent_id)
      await this.ledger.append(tx, principal, {
        event: 'agent.deleted',
        change: { kind: 'agent', id: agent_id, op: 'deleted' },
        subject: subjectOf(after),
        raises: { agent_id },
        before: recorded(before),
        after: { ...recorded(after), keys_revoked },
      })
    })
  }

  /** As `get`, in a transaction that goes on. @throws Problem `agent_not_found` */
  async find(tx: Tx, principal: Principal, agent_id: string): Promise<Agent> {
    const where = { ...agentsWithin(principal), agent_id }
    const agent = await tx.agent.findFirst({ where, select: VIEW })
    if (!agent) throw agentNotFound(agent_id)
    return agent
  }

  /**
   * The agent, held until the transaction ends, for whoever changes something of it.
   * @throws Problem `agent_not_found`
   */
  async lock(tx: Tx, principal: Principal, agent_id: string): Promise<Agent> {
    const agent = await lockAgent(tx, agentsWithin(principal), agent_id)
    if (!agent) throw agentNotFound(agent_id)
    return agent
  }

  /** As `lock`, for changes that make no sense on an inactive agent: there it is not found either. */
  async lockActive(tx: Tx, principal: Principal, agent_id: string): Promise<Agent> {
    const agent = await this.lock(tx, principal, agent_id)
    if (!agent.is_active) throw agentNotFound(agent_id)
    return agent
  }

  private async deactivated(tx: Tx, principal: Principal, agent_id: string): Promise<void> {
    for (const listener of this.listeners) await listener(tx, principal, agent_id)
  }

  private async write(tx: Tx, { org_id }: Principal, agent_id: string, wanted: Recorded): Promise<Agent> {
    await this.teams.ensure(tx, { org_id }, wanted.owner_team)
    return tx.agent.update({
      where: { org_id_agent_id: { org_id, agent_id } },
      data: { ...wanted, updated_at: new Date(this.clock.now()) },
      select: VIEW,
    })
  }
}

type Recorded = Pick<Agent, 'name' | 'owner_team' | 'environment' | 'risk_level' | 'is_active'>

/** What an entry tells of an agent. */
const recorded = ({ name, owner_team, environment, risk_level, is_active }: Agent): Recorded => ({
  name,
  owner_team,
  environment,
  risk_level,
  is_active,
})

/** How an entry names the agent it is about. */
export const subjectOf = ({ agent_id, environment, owner_team }: Agent): Subject => ({
  agent_id,
  environment,
  team: owner_team,
})

const given = (changes: UpdateAgent): Partial<Recorded> =>
  Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined))

const same = (a: Recorded, b: Recorded): boolean =>
  a.name === b.name &&
  a.owner_team === b.owner_team &&
  a.environment === b.environment &&
  a.risk_level === b.risk_level &&
  a.is_active === b.is_active
