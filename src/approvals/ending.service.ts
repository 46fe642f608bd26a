import { Injectable, Logger, type OnApplicationBootstrap, type OnModuleInit } from '@nestjs/common'
import { AgentsService } from '../agents/agents.service.js'
import { type ActionReading, readAction } from '../core/policy/action.js'
import { compileKills, type KillScope } from '../core/policy/stages/kill.js'
import { KeysService } from '../keys/keys.service.js'
import { KillAftermathService, type Killed } from '../kill-switch/aftermath.service.js'
import { SYSTEM, type SystemActor } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Loop } from '../platform/clock/loop.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { lockAsker, selectOpen, selectPointless } from './approvals.queries.js'
import { isUsable, type StoredApproval, statusOf } from './approvals.record.js'
import { ApprovalLifeService, type By } from './life.service.js'

/** An agent may have let thousands wait: more of them would not fit into the time that a transaction has. */
const AT_ONCE = 50
const LOOK_MS = 15_000

const INACTIVE = 'The agent is not active any more'
const KEYLESS = 'The last key of the agent was revoked'
const KILLED = 'A kill switch was activated'

/** The rest of what an agent let wait, to be ended by whoever ended the agent. */
interface Rest {
  readonly org_id: string
  readonly agent_id: string
  readonly actor: Principal | SystemActor
  readonly reason: string
}

/**
 * Ends what waits for a person when nobody could use the answer: the agent is not active any more, has no key left, or
 * a kill switch stops it. With the agent or its last key ends also what it was granted, so that nothing of it comes back
 * with an agent that is active again; a kill switch stops for a while, and leaves grants to whoever lets the agent go on.
 * The entry of each says who did that and why. Of an agent the first few end in the transaction that ends the agent, the
 * others right after it, a few in a transaction; and what a process left that ended in between, every other one finds.
 */
@Injectable()
export class ApprovalEndingService implements OnModuleInit, OnApplicationBootstrap {
  private readonly logger = new Logger(ApprovalEndingService.name)
  private readonly rests: Rest[] = []
  private readonly loop = new Loop('what agents that are gone let wait is ended', this.logger, () =>
    this.round(),
  )

  constructor(
    private readonly database: Database,
    private readonly life: ApprovalLifeService,
    private readonly agents: AgentsService,
    private readonly keys: KeysService,
    private readonly kills: KillAftermathService,
    shutdown: Shutdown,
  ) {
    shutdown.onClose('work', 'approvals of agents that are gone', () => this.loop.stop())
  }

  onModuleInit(): void {
    this.agents.onDeactivated((tx, principal, agent_id) => this.endOwn(tx, principal, agent_id, INACTIVE))
    this.keys.onLastRevoked((tx, principal, agent_id) => this.endOwn(tx, principal, agent_id, KEYLESS))
    this.kills.onKill((killed, by) => this.endKilled(killed, by))
  }

  onApplicationBootstrap(): void {
    this.loop.start(LOOK_MS)
  }

  /** Ends what is left to end: what this process knows of, then what another one has left. */
  async round(): Promise<number> {
    for (let rest = this.rests[0]; rest && !this.loop.stopped; rest = this.rests[0]) {
      await this.endAll(rest)
      this.rests.shift()
    }
    for (const { org_id, agent_id, is_active } of await selectPointless(this.database.background, AT_ONCE)) {
      await this.endAll({ org_id, agent_id, actor: SYSTEM, reason: is_active ? KEYLESS : INACTIVE })
    }
    return LOOK_MS
  }

  private async endAll({ org_id, agent_id, actor, reason }: Rest): Promise<void> {
    let more = true
    while (more && !this.loop.stopped) {
      more = await this.database.withOrg({ org_id }, (tx) => this.endSome(tx, actor, agent_id, reason))
    }
  }

  private async endOwn(tx: Tx, actor: Principal, agent_id: string, reason: string): Promise<void> {
    const org_id = this.database.orgOf(tx)
    if (!(await this.endSome(tx, actor, agent_id, reason))) return
    this.database.afterCommit(tx, () => {
      this.rests.push({ org_id, agent_id, actor, reason })
      this.loop.nudge()
    })
  }

  /** Ends the first few of an agent. @returns whether there are more */
  private async endSome(
    tx: Tx,
    actor: Principal | SystemActor,
    agent_id: string,
    reason: string,
  ): Promise<boolean> {
    const org_id = this.database.orgOf(tx)
    await lockAsker(tx, org_id, agent_id)
    const open = await selectOpen(tx, org_id, agent_id, AT_ONCE + 1)
    const ids = open.slice(0, AT_ONCE).map(({ approval_id }) => approval_id)
    await this.endThese(tx, { actor, reason }, ids, 'grants too')
    return open.length > AT_ONCE
  }

  /** Ends everything that waits in the scope of a kill switch, a few in a transaction: there may be many. */
  private async endKilled({ org_id, kill_id, scope, target }: Killed, by: Principal | SystemActor) {
    const [kill] = compileKills([{ id: kill_id, scope, ...(target !== null && { target }) }])
    const waiting = await this.database.withOrg({ org_id }, (tx) =>
      tx.approval.findMany({
        where: { org_id, status: 'pending', ...inScope(scope, target) },
        select: { approval_id: true, agent_id: true, action_raw: true },
        orderBy: { approval_id: 'asc' },
      }),
    )
    const concerned = waiting.filter((row) => isConcerned(row, kill?.stops))
    for (const agent_id of new Set(concerned.map((row) => row.agent_id))) {
      const own = concerned.filter((row) => row.agent_id === agent_id).map(({ approval_id }) => approval_id)
      for (let at = 0; at < own.length; at += AT_ONCE) {
        const ids = own.slice(at, at + AT_ONCE)
        await this.database.withOrg({ org_id }, async (tx) => {
          await lockAsker(tx, org_id, agent_id)
          await this.endThese(tx, { actor: by, reason: KILLED }, ids, 'what waits')
        })
      }
    }
  }

  private async endThese(
    tx: Tx,
    by: By,
    ids: readonly string[],
    which: 'what waits' | 'grants too',
  ): Promise<void> {
    const org_id = this.database.orgOf(tx)
    // In one order, so that two who cancel much at once cannot wait for each other.
    for (const approval_id of [...ids].sort()) {
      const held = await this.life.hold(tx, org_id, approval_id)
      if (!held) continue
      // Somebody may have approved it meanwhile. What was denied, cancelled or used up meanwhile has ended already.
      const granted = which === 'grants too' && statusOf(held.row) === 'approved'
      const usable = isUsable(held.row, held.now)
      await this.life.happen(tx, held, granted ? { kind: 'revoke', usable } : { kind: 'cancel' }, by)
    }
  }
}

/** Which approvals a kill switch of this scope may reach; of an action, which of all is told by its pattern. */
function inScope(scope: KillScope, target: string | null) {
  switch (scope) {
    case 'installation':
    case 'organization':
    case 'action':
      return {}
    case 'environment':
      return { environment: target ?? '' }
    case 'team':
      return { agent: { owner_team: target ?? '' } }
    case 'agent':
      return { agent_id: target ?? '' }
    case 'key':
      return { key_id: target ?? '' }
  }
}

/** An action that cannot be read any more is stopped with the others. */
function isConcerned(
  { action_raw }: Pick<StoredApproval, 'action_raw'>,
  concerns: ((action: ActionReading) => boolean) | undefined,
): boolean {
  const action = readAction(action_raw)
  return concerns === undefined || !action.ok || concerns(action.value)
}
