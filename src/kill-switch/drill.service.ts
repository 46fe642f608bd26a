import { Injectable, Logger } from '@nestjs/common'
import { setTimeout as sleep } from 'node:timers/promises'
import { Problem } from '../core/problems.js'
import { EnforceService } from '../enforce/enforce.service.js'
import { LedgerService } from '../ledger/ledger.service.js'
import type { AgentPrincipal, Principal } from '../platform/access/principal.js'
import { Database } from '../platform/database/database.service.js'
import { DRILL_ACTION, DrillCanaryService } from './drill.canary.service.js'
import type { KillSwitchDrill } from './kill-switch.dto.js'
import { lockSubject } from './kill-switch.queries.js'
import { DrillSwitchService } from './drill.switch.service.js'
import { makeDrillId } from './kill-switch.view.js'

/** Questions that are open at once: so that some are on their way while the switch is committed. */
const ASKERS = 4
const PAUSE_MS = 2
/** Denials after which nothing more is learnt. */
const ENOUGH = 2 * ASKERS
const WAIT_MS = 5_000

interface Answered {
  readonly sent: number
  readonly at: number
  readonly allowed: boolean
  readonly code: string
  /** Null: there was no decision. */
  readonly index: number | null
}

/** When a switch was asked for and committed, and what was answered meanwhile. Times as of `performance.now()`. */
interface Run {
  readonly began: number
  readonly committed: number
  readonly answers: readonly Answered[]
}

/** Tries the kill switch: stops one agent that asks all the time, and measures. */
@Injectable()
export class KillDrillService {
  private readonly logger = new Logger(KillDrillService.name)

  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly switches: DrillSwitchService,
    private readonly canaries: DrillCanaryService,
    private readonly enforce: EnforceService,
  ) {}

  /**
   * Activates a switch for a canary through the ordinary path, ends it, and records how long it took.
   * @throws Problem `agent_not_found`; `conflict` when the canary is not allowed what it asks, as when it is stopped
   * already, while another drill runs, and when it has 20 active keys; `forbidden` as for making an agent
   */
  async drill(principal: Principal, named: string | undefined): Promise<KillSwitchDrill> {
    const agent_id = named ?? (await this.canaries.find(principal))
    const kill_id = makeDrillId()
    const run = await this.canaries.as(principal, agent_id, async (by) => {
      await this.assertAllowed(by)
      return this.run(principal, by, kill_id)
    })
    const drill = { kill_id, agent_id, ...figuresOf(run) }
    await this.record(principal, drill)
    if (!drill.held) this.logger.error(drill, 'a kill switch did not hold in a drill')
    return drill
  }

  private async run(principal: Principal, by: AgentPrincipal, kill_id: string): Promise<Run> {
    const { org_id, agent_id } = by
    const answers: Answered[] = []
    const until = { ended: false }
    const askers = Promise.all(Array.from({ length: ASKERS }, () => this.askOn(by, answers, until)))
    askers.catch(() => undefined) // awaited below, after the switch has ended
    try {
      await waitFor(() => answers.length >= ASKERS)
      const began = performance.now()
      await this.switches.activateDrill(principal, kill_id, agent_id)
      const committed = performance.now()
      await waitFor(() => answers.filter(isStopped).length >= ENOUGH)
      // Before the switch ends, or an allow would be a right one.
      until.ended = true
      await askers
      return { began, committed, answers }
    } finally {
      until.ended = true
      // Also when activating it failed: it may have been committed all the same.
      await this.switches.endDrills(org_id, { kill_id }, principal)
    }
  }

  private async askOn(by: AgentPrincipal, answers: Answered[], until: { ended: boolean }): Promise<void> {
    while (!until.ended) {
      answers.push(await this.ask(by))
      await sleep(PAUSE_MS)
    }
  }

  private async ask(by: AgentPrincipal): Promise<Answered> {
    const sent = performance.now()
    try {
      const { allowed, code, log } = await this.enforce.enforce(by, { action: DRILL_ACTION })
      return { sent, at: performance.now(), allowed, code, index: log.index }
    } catch (error) {
      // What could not be decided allows nothing.
      if (!(error instanceof Problem)) throw error
      return { sent, at: performance.now(), allowed: false, code: error.code, index: null }
    }
  }

  private async assertAllowed(by: AgentPrincipal): Promise<void> {
    const { allowed, code } = await this.ask(by)
    if (allowed) return
    const detail = `The agent ${by.agent_id} is not allowed ${DRILL_ACTION} (${code}), so stopping it shows nothing.`
    throw new Problem('conflict', { detail })
  }

  private async record(
    principal: Principal,
    { kill_id, agent_id, ...figures }: KillSwitchDrill,
  ): Promise<void> {
    const { org_id } = principal
    await this.database.withOrg(principal, async (tx) => {
      const subject = await lockSubject(tx, org_id, agent_id)
      await this.ledger.append(tx, principal, {
        event: 'kill_switch.drilled',
        change: { kind: 'kill_switch', id: kill_id, op: 'drilled' },
        ...(subject && { subject }),
        after: figures,
      })
    })
  }
}

const isStopped = ({ code }: Answered): boolean => code === 'kill_switch_active'

function figuresOf({ began, committed, answers }: Run): Omit<KillSwitchDrill, 'kill_id' | 'agent_id'> {
  const since = (at: number | undefined) => (at === undefined ? null : Math.ceil(at - began))
  const denied = answers.filter(isStopped)
  const first_index = Math.min(...denied.map(({ index }) => index ?? Infinity))
  const allowed = answers.filter((answer) => answer.allowed && answer.at > began)
  const wrong = allowed.filter(({ sent, index }) => sent > committed || (index ?? 0) > first_index)
  return {
    held: denied.length > 0 && wrong.length === 0,
    decisions: answers.length,
    commit_ms: Math.ceil(committed - began),
    first_denied_ms: since(denied[0]?.at),
    last_allowed_ms: since(allowed.at(-1)?.at),
    allowed_after: wrong.length,
  }
}

/** Waits until something holds, at most 5 seconds. */
async function waitFor(holds: () => boolean): Promise<void> {
  const end = performance.now() + WAIT_MS
  while (!holds() && performance.now() < end) await sleep(PAUSE_MS)
}
