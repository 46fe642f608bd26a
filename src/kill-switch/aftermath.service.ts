import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import type { KillScope } from '../core/policy/stages/kill.js'
import { SYSTEM, type SystemActor } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Loop } from '../platform/clock/loop.js'
import { Database } from '../platform/database/database.service.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { selectOrganizationIds, selectRecent } from './kill-switch.queries.js'

/** What was stopped, for who has something waiting in its scope. */
export interface Killed {
  readonly org_id: string
  readonly kill_id: string
  readonly scope: KillScope
  /** The environment, team, agent id, key id or action pattern; null for the widest two scopes. */
  readonly target: string | null
}

/** Ends what waits in the scope of a switch, in transactions of its own. May be called again: then nothing is left. */
export type KillListener = (killed: Killed, by: Principal | SystemActor) => Promise<void>

interface Followed {
  readonly killed: Killed
  readonly by: Principal | SystemActor
  /** As of `performance.now()`: when this process gives up; by then every one has looked. */
  readonly until: number
}

const LOOK_MS = 15_000
/** A process that ended right after it had committed a switch is made up for within this. */
const RECENT_MS = 120_000

/**
 * What follows a kill switch: whatever waits in its scope ends. After the commit and apart from it, so that neither how
 * much waits nor who holds it decides whether the switch is pulled; nothing of it can be used meanwhile, because every
 * decision in the scope is denied. It happens at once here, before the switch is ended at the latest, and from another
 * replica when this one ends in between.
 */
@Injectable()
export class KillAftermathService implements OnApplicationBootstrap {
  private readonly logger = new Logger(KillAftermathService.name)
  private readonly listeners: KillListener[] = []
  private readonly fresh: Followed[] = []
  private readonly loop = new Loop('what waits in the scope of kill switches is ended', this.logger, () =>
    this.round(),
  )
  private look_at = 0

  constructor(
    private readonly database: Database,
    private readonly clock: Clock,
    shutdown: Shutdown,
  ) {
    shutdown.onClose('work', 'what kill switches end', () => this.loop.stop())
  }

  /** Registers who ends what waits. */
  onKill(listener: KillListener): void {
    this.listeners.push(listener)
  }

  onApplicationBootstrap(): void {
    this.loop.start(LOOK_MS)
  }

  /** A switch was committed. */
  follow(killed: Killed, by: Principal | SystemActor): void {
    this.fresh.push({ killed, by, until: performance.now() + RECENT_MS })
    // What follows has no hurry, and takes no connection from who stops the next thing.
    this.database.patiently(() => this.loop.nudge())
  }

  /** Ends what waits in a scope now: before its switch is ended, so that nothing survives it. */
  async finish(killed: Killed): Promise<void> {
    await this.tell(killed, SYSTEM)
  }

  /** Everything that was committed here, and now and then what others committed lately. */
  async round(): Promise<number> {
    const failures = await this.tellFresh()
    const now = performance.now()
    if (now >= this.look_at) {
      this.look_at = now + LOOK_MS
      await this.look()
    }
    if (failures.length > 0) throw new AggregateError(failures)
    return LOOK_MS
  }

  /** One that fails is tried again after a second, and keeps no other waiting. */
  private async tellFresh(): Promise<unknown[]> {
    const failures: unknown[] = []
    for (const one of this.fresh.splice(0)) {
      try {
        await this.tell(one.killed, one.by)
      } catch (error) {
        failures.push(error)
        if (performance.now() < one.until) this.fresh.push(one)
      }
    }
    return failures
  }

  /** Makes up for processes that ended before they had ended what waited. */
  async look(): Promise<void> {
    const since = new Date(this.clock.now() - RECENT_MS)
    for (const killed of await selectRecent(this.database.background, since)) await this.tell(killed, SYSTEM)
  }

  private async tell(killed: Killed, by: Principal | SystemActor): Promise<void> {
    const { scope, org_id } = killed
    const org_ids =
      scope === 'installation' ? await selectOrganizationIds(this.database.background) : [org_id]
    for (const each of org_ids) {
      // Who stopped the installation is in no organization's log but as the operator, who did not look at each.
      const actor = scope === 'installation' ? SYSTEM : by
      for (const listener of this.listeners) await listener({ ...killed, org_id: each }, actor)
    }
  }
}
