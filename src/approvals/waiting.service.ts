import { Injectable } from '@nestjs/common'
import { Problem } from '../core/problems.js'
import type { AgentPrincipal } from '../platform/access/principal.js'
import { Settings } from '../platform/config/settings.js'
import { Database } from '../platform/database/database.service.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { SnapshotsService } from '../snapshots/snapshots.service.js'
import type { ApprovalState } from './approvals.dto.js'
import { selectDecided } from './approvals.queries.js'
import { statusOf } from './approvals.record.js'

const LOOK_MS = 250
const MOST_WAIT_S = 30
/** Beyond it a caller is answered at once, and asks again: connections are not the agents' to hoard. */
const MOST_WAITING = 10_000
const MOST_WAITING_PER_AGENT = 100
/** The answer leaves before the deadline of the request does. */
const MARGIN_S = 2

interface Waiter {
  readonly org_id: string
  readonly agent_id: string
  readonly approval_id: string
  readonly wake: () => void
}

/**
 * Agents that wait for people. All waiters of a replica share one look at the database every 250 ms, and none is made
 * while nobody waits; so a decision on any replica reaches a waiter on any other.
 */
@Injectable()
export class WaitingService {
  private readonly waiters = new Set<Waiter>()
  private readonly perAgent = new Map<string, number>()
  private timer: NodeJS.Timeout | undefined
  private closed = false

  constructor(
    private readonly database: Database,
    private readonly snapshots: SnapshotsService,
    private readonly settings: Settings,
    shutdown: Shutdown,
  ) {
    shutdown.onClose('work', 'waiting for approvals', () => {
      this.closed = true
      clearTimeout(this.timer)
      for (const { wake } of this.waiters) wake()
    })
  }

  /** How many wait on this replica. */
  get count(): number {
    return this.waiters.size
  }

  /**
   * The agent's own approval, at the latest when the time to wait is over.
   * @throws Problem `approval_not_found`, also for another agent's; `invalid_credentials` when the key stopped working,
   * also while waiting; `validation_failed` for a time that cannot be read
   */
  async state(
    principal: AgentPrincipal,
    approval_id: string,
    wait: string | undefined,
    gone: AbortSignal,
  ): Promise<ApprovalState> {
    const seconds = readWait(wait)
    const first = await this.look(principal, approval_id)
    if (first.status !== 'pending' || seconds === 0) return first
    await this.wait(principal, approval_id, seconds, gone)
    return this.look(principal, approval_id)
  }

  private async look(principal: AgentPrincipal, approval_id: string): Promise<ApprovalState> {
    const { org_id, agent_id } = principal
    // Nothing is appended here that would compare versions again: ask what is true now.
    await this.snapshots.assertConfirmed(principal)
    const row = await this.database.withOrg(principal, (tx) =>
      tx.approval.findFirst({ where: { org_id, agent_id, approval_id } }),
    )
    if (!row) throw new Problem('approval_not_found', { detail: `Approval ${approval_id} not found` })
    const status = statusOf(row)
    return {
      approval_id,
      status,
      decision_reason: row.decision_reason,
      decision_by: row.decided_by,
      decision_at: row.decided_at,
      expires_at:
        status === 'pending' ? row.level_ends_at : status === 'approved' ? row.grant_expires_at : null,
      uses_left: status === 'approved' ? (row.grant_uses ?? 0) - row.grant_used : null,
    }
  }

  private wait(
    { org_id, agent_id }: AgentPrincipal,
    approval_id: string,
    seconds: number,
    gone: AbortSignal,
  ): Promise<void> {
    const name = `${org_id}/${agent_id}`
    const waiting = this.perAgent.get(name) ?? 0
    const full = this.waiters.size >= MOST_WAITING || waiting >= MOST_WAITING_PER_AGENT
    if (full || this.closed || gone.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer)
        gone.removeEventListener('abort', wake)
        if (!this.waiters.delete(waiter)) return
        const left = (this.perAgent.get(name) ?? 1) - 1
        if (left > 0) this.perAgent.set(name, left)
        else this.perAgent.delete(name)
        resolve()
      }
      const waiter: Waiter = { org_id, agent_id, approval_id, wake }
      const most_s = Math.max(1, this.settings.request_timeout_s - MARGIN_S)
      const timer = setTimeout(wake, Math.min(seconds, most_s) * 1000)
      gone.addEventListener('abort', wake)
      this.waiters.add(waiter)
      this.perAgent.set(name, waiting + 1)
      this.schedule()
    })
  }

  private schedule(): void {
    if (this.closed || this.timer || this.waiters.size === 0) return
    this.timer = setTimeout(() => {
      void this.wakeDecided().finally(() => {
        this.timer = undefined
        this.schedule()
      })
    }, LOOK_MS).unref()
  }

  private async wakeDecided(): Promise<void> {
    const waiting = [...this.waiters]
    try {
      const decided = await selectDecided(this.database.background, waiting)
      const names = new Set(decided.map(({ org_id, approval_id }) => `${org_id}/${approval_id}`))
      for (const { org_id, approval_id, wake } of waiting) if (names.has(`${org_id}/${approval_id}`)) wake()
    } catch {
      // Nobody is told anything: whoever waits is answered from the database when their time is over, or fails then.
    }
  }
}

function readWait(text: string | undefined): number {
  if (text === undefined) return 0
  const seconds = /^(\d{1,4})s?$/.exec(text)?.[1]
  if (seconds !== undefined) return Math.min(Number(seconds), MOST_WAIT_S)
  throw new Problem('validation_failed', {
    errors: [{ path: 'wait', message: 'must be seconds, such as 30s' }],
  })
}
