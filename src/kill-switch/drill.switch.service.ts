import { Injectable } from '@nestjs/common'
import type { Subject } from '../core/ledger/entry.js'
import { Problem } from '../core/problems.js'
import { SYSTEM, type SystemActor } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { KillAftermathService } from './aftermath.service.js'
import { KillAtOnceService } from './at-once.service.js'
import * as queries from './kill-switch.queries.js'
import { KillSwitchRecords } from './records.service.js'
import { stopping } from './stopping.js'

const DRILL_REASON = 'Drill of the kill switch'

/** The switches of drills, which end by themselves. */
@Injectable()
export class DrillSwitchService {
  constructor(
    private readonly database: Database,
    private readonly records: KillSwitchRecords,
    private readonly at_once: KillAtOnceService,
    private readonly aftermath: KillAftermathService,
  ) {}

  /**
   * Activates the switch of a drill for one agent, under an id that says what it is (`makeDrillId`), so that it can be
   * ended without asking anybody. One is active in an organization at a time.
   * @throws Problem `agent_not_found`; `conflict` while another drill runs, or when the agent is stopped already
   */
  async activateDrill(principal: Principal, kill_id: string, agent_id: string): Promise<void> {
    const kill = this.records.make(principal, kill_id, DRILL_REASON)
    const activate = async (tx: Tx) => {
      const found = await this.records.hold(tx, principal, 'agent', agent_id, kill)
      const others = (await queries.selectDrills(tx, principal.org_id)).filter(
        (row) => row.kill_id !== kill_id,
      )
      if (others.length > 0) {
        throw new Problem('conflict', { detail: 'A drill is running in this organization. Try again later.' })
      }
      if (found.active) {
        throw new Problem('conflict', { detail: `A kill switch is active for the agent ${agent_id}.` })
      }
      await this.records.start(tx, principal, found, 'agent', kill)
    }
    // As an ordinary switch: at once, else in a transaction, in which holding the agent comes first.
    await stopping(
      this.database,
      async () =>
        (await this.at_once.activate(principal, 'agent', agent_id, kill)) ??
        this.database.withOrg(principal, activate, { enters: true }),
    )
    const { org_id } = principal
    this.aftermath.follow({ org_id, kill_id, scope: 'agent', target: agent_id }, principal)
  }

  /** Ends the switch of one drill, or those from before a moment. Those of no drill are left as they are. */
  async endDrills(
    org_id: string,
    which: { readonly kill_id: string } | { readonly before: Date },
    actor: Principal | SystemActor = SYSTEM,
  ): Promise<void> {
    await this.database.withOrg({ org_id }, async (tx) => {
      const wanted = async () =>
        (await queries.selectDrills(tx, org_id)).filter((row) =>
          'kill_id' in which ? row.kill_id === which.kill_id : row.activated_at < which.before,
        )
      const subjects = new Map<string | null, Subject | null>()
      // In one order, so that two who end drills of several agents cannot wait for each other.
      for (const agent_id of (await wanted()).map((row) => row.agent_id).sort())
        subjects.set(agent_id, await queries.lockSubject(tx, org_id, agent_id ?? ''))
      await queries.lockKillSwitches(tx, org_id)
      // Somebody else may have ended them meanwhile.
      for (const row of await wanted()) {
        const subject = subjects.get(row.agent_id) ?? undefined
        await this.records.end(tx, org_id, actor, row, subject, DRILL_REASON)
      }
    })
  }
}
