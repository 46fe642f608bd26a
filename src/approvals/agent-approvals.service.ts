import { Injectable } from '@nestjs/common'
import { boundRequest } from '../core/approvals/digest.js'
import type { ApprovalStatus } from '../core/approvals/transition.js'
import { isUuid } from '../core/ids.js'
import type { Entry } from '../core/ledger/entry.js'
import type { CanonicalRequest } from '../core/policy/stage.js'
import { Problem } from '../core/problems.js'
import type { Result } from '../core/result.js'
import { err, ok } from '../core/result.js'
import type { AgentPrincipal } from '../platform/access/principal.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { SnapshotsService } from '../snapshots/snapshots.service.js'
import { lockAsker, selectSealed } from './approvals.queries.js'
import { endOf, readApproval, type StoredApproval, statusOf } from './approvals.record.js'
import { digestOf } from './asking.service.js'
import { ApprovalLifeService } from './life.service.js'

/** An approval as the agent that asked for it may know it. */
export interface OwnApproval {
  readonly approval_id: string
  readonly status: ApprovalStatus
  /** When it ends if nobody decides, whatever level it is at. */
  readonly ends_at: Date
  readonly decided_at: Date | null
  readonly reason: string | null
  /** Until when it can be used; null unless it is approved. */
  readonly usable_until: Date | null
}

/** Why a decision leads to no approval: none of this agent, one that asked nobody, one about another request. */
export type Unrelated = 'unknown' | 'not_asked' | 'other_request'

/** What an agent can do with its own approvals beside waiting and using: finding, reading and withdrawing them. */
@Injectable()
export class AgentApprovalsService {
  constructor(
    private readonly database: Database,
    private readonly snapshots: SnapshotsService,
    private readonly life: ApprovalLifeService,
  ) {}

  /**
   * The approval that one of the agent's own decisions asked for, if this is the request that it was about.
   * @throws Problem `invalid_credentials` when the key stopped working
   */
  async askedBy(
    principal: AgentPrincipal,
    decision_id: string,
    request: CanonicalRequest,
  ): Promise<Result<OwnApproval, Unrelated>> {
    const { org_id, agent_id } = principal
    await this.snapshots.assertConfirmed(principal)
    if (!isUuid(decision_id)) return err('unknown')
    return this.database.withOrg(principal, async (tx) => {
      const stored = await selectSealed(tx, org_id, decision_id)
      // The parser of what the ledger alone has written.
      const entry = stored && (JSON.parse(Buffer.from(stored.entry).toString()) as Entry)
      if (entry?.type !== 'decision' || entry.subject.agent_id !== agent_id) return err('unknown')
      const { approval } = entry
      const row = approval?.op === 'requested' ? await readApproval(tx, org_id, approval.id) : null
      if (!row) return err('not_asked')
      // Once its payload was erased, nothing can be compared any more.
      const bound = boundRequest({ org_id, agent_id }, request)
      if (row.salt === null || digestOf(row.salt, bound) !== row.digest) return err('other_request')
      return ok(viewOf(row))
    })
  }

  /** One of the agent's own. @throws Problem `unknown_task`, also for another agent's; `invalid_credentials` */
  async get(principal: AgentPrincipal, approval_id: string): Promise<OwnApproval> {
    await this.snapshots.assertConfirmed(principal)
    return this.database.withOrg(principal, async (tx) => viewOf(await this.own(tx, principal, approval_id)))
  }

  /** Those of the agent's own that are named, by id. */
  async byId(principal: AgentPrincipal, ids: readonly string[]): Promise<ReadonlyMap<string, OwnApproval>> {
    const { org_id, agent_id } = principal
    if (ids.length === 0) return new Map()
    const rows = await this.database.withOrg(principal, (tx) =>
      tx.approval.findMany({ where: { org_id, agent_id, approval_id: { in: [...ids] } } }),
    )
    return new Map(rows.map((row) => [row.approval_id, viewOf(row)]))
  }

  /**
   * Withdraws a request that waits.
   * @throws Problem as `get`, and `invalid_task_state` when it does not wait any more
   */
  async withdraw(
    principal: AgentPrincipal,
    approval_id: string,
    reason: string | null,
  ): Promise<OwnApproval> {
    const { org_id, agent_id } = principal
    await this.snapshots.assertConfirmed(principal)
    const outcome = await this.database.withOrg(principal, async (tx) => {
      await lockAsker(tx, org_id, agent_id)
      await this.own(tx, principal, approval_id)
      const held = await this.life.hold(tx, org_id, approval_id)
      if (!held) throw missing(approval_id)
      return this.life.happen(tx, held, { kind: 'cancel' }, { actor: principal, reason })
    })
    // After the commit: that its time was over is written, also when the withdrawal came too late.
    if (outcome.ok) return viewOf(outcome.value.row)
    const detail = 'It does not wait any more. Read it to see what became of it.'
    throw new Problem('invalid_task_state', { detail })
  }

  private async own(tx: Tx, { org_id, agent_id }: AgentPrincipal, id: string): Promise<StoredApproval> {
    const row = await readApproval(tx, org_id, id)
    if (row?.agent_id !== agent_id) throw missing(id)
    return row
  }
}

const viewOf = (row: Omit<StoredApproval, 'events' | 'agent'>): OwnApproval => ({
  approval_id: row.approval_id,
  status: statusOf(row),
  ends_at: endOf(row),
  decided_at: row.decided_at,
  reason: row.decision_reason,
  usable_until: row.status === 'approved' ? row.grant_expires_at : null,
})

const missing = (id: string) => new Problem('unknown_task', { detail: `Task ${id} not found` })
