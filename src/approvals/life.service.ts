import { Injectable } from '@nestjs/common'
import { type ApprovalEvent, type Happened, type Refusal, step } from '../core/approvals/transition.js'
import type { ApprovalEntry } from '../core/ledger/entry.js'
import type { GrantScope } from '../core/policy/grants.js'
import type { Result } from '../core/result.js'
import { err, ok } from '../core/result.js'
import { Prisma } from '../generated/prisma/client.js'
import { actorOf, LedgerService, SYSTEM, type SystemActor } from '../ledger/ledger.service.js'
import type { Principal } from '../platform/access/principal.js'
import type { Tx } from '../platform/database/database.service.js'
import { ApprovalSettingsService } from '../workflows/settings.service.js'
import { databaseTime, lockApproval, selectKeyOrigin } from './approvals.queries.js'
import {
  boundsOf,
  readApproval,
  scopeOf,
  stateOf,
  type StoredApproval,
  subjectOf,
  workflowOf,
} from './approvals.record.js'

/** An approval that this transaction holds, and the database's time. */
export interface Held {
  readonly row: StoredApproval
  readonly now: number
}

/** Who does something to an approval, and what they say about it. */
export interface By {
  readonly actor: Principal | SystemActor
  readonly reason: string | null
  /** Of a vote for more than the one request: what, how long and how often. */
  readonly grant?: { readonly scope: GrantScope; readonly seconds: number; readonly uses: number }
}

/** What an event of the record and an entry of the log say besides what happened. */
interface Detail {
  readonly decision_id?: string
  readonly entry?: Partial<ApprovalEntry['approval']>
}

/**
 * What happens to approvals, each in one transaction: the pure transition, the row, its history, and the entry of the
 * log that says who and why.
 */
@Injectable()
export class ApprovalLifeService {
  constructor(
    private readonly ledger: LedgerService,
    private readonly settings: ApprovalSettingsService,
  ) {}

  /** The approval, held until the commit; null when there is none. */
  async hold(tx: Tx, org_id: string, approval_id: string): Promise<Held | null> {
    const now = await lockApproval(tx, org_id, approval_id)
    const row = now === null ? null : await readApproval(tx, org_id, approval_id)
    return row && now !== null ? { row, now } : null
  }

  /**
   * What an event does to a held approval: written, with its history and its entries. The time that has passed is
   * counted first, and written, also when the event itself is refused: the caller commits either way.
   */
  async happen(tx: Tx, held: Held, event: ApprovalEvent, by: By): Promise<Result<Held, Refusal>> {
    const { org_id } = held.row
    const asked = workflowOf(held.row).on_timeout === 'approve'
    const bounds = boundsOf(held.row, asked && (await this.settings.timeoutMayApprove(tx, org_id)))
    const passed = step(stateOf(held.row), { kind: 'time' }, held.now, bounds)
    let present = held
    if (passed.ok) {
      for (const happened of passed.value.happened)
        present = await this.write(tx, present, happened, { actor: SYSTEM, reason: null })
    }
    if (event.kind === 'time') return ok(present)
    const stepped = step(stateOf(present.row), event, held.now, bounds)
    if (!stepped.ok) return err(stepped.errors)
    for (const happened of stepped.value.happened) {
      present = await this.write(tx, present, happened, by, event.kind === 'vote' ? event.vote : undefined)
    }
    return ok(present)
  }

  /** Adds to the history of a held approval what does not change its status, with its entry: a use, a refusal. */
  async note(
    tx: Tx,
    { row, now }: Held,
    op: 'requested' | 'used' | 'refused',
    actor: Principal,
    detail: Detail,
  ): Promise<void> {
    await this.remember(tx, row, op, { actor, reason: null }, now, detail)
  }

  /**
   * Who stands behind a principal or behind an id that made something: a member; the first of administrator keys that
   * made each other, or the member who made it; the operator of the installation.
   */
  async personOf(tx: Tx, org_id: string, id: string): Promise<string> {
    if (id === 'root' || id === 'system') return id
    const origin = await selectKeyOrigin(tx, org_id, id)
    if (!origin) return `member:${id}`
    const { created_by, admin_id } = origin
    // The operator hands out keys to different people; everybody else who makes a key makes it for themselves.
    return created_by === 'root' || created_by === 'system' ? `key:${admin_id}` : `member:${created_by}`
  }

  databaseTime(tx: Tx): Promise<number> {
    return databaseTime(tx)
  }

  private async write(
    tx: Tx,
    { row, now }: Held,
    happened: Happened,
    by: By,
    vote?: { readonly person: string; readonly effect: 'approve' | 'deny' },
  ): Promise<Held> {
    const { org_id, approval_id } = row
    const changes = changesOf(row, happened, by, now, vote?.effect)
    await tx.approval.update({ where: { org_id_approval_id: { org_id, approval_id } }, data: changes })
    const written = await readApproval(tx, org_id, approval_id)
    if (!written) throw new Error(`approval ${approval_id} is gone while it is held`)
    await this.remember(tx, written, happened, by, now, {
      entry: {
        ...(happened === 'voted' && vote && { vote: vote.effect, person: vote.person }),
        ...(happened === 'approved' && grantOf(written)),
      },
    })
    const present = await readApproval(tx, org_id, approval_id)
    return { row: present ?? written, now }
  }

  private async remember(
    tx: Tx,
    row: StoredApproval,
    op: ApprovalEntry['approval']['op'],
    { actor, reason }: By,
    now: number,
    { decision_id = row.decision_id, entry = {} }: Detail,
  ): Promise<void> {
    const { org_id, approval_id, level, digest } = row
    const { kind, id } = actorOf(actor)
    const { vote = null, person = null } = entry
    await tx.approvalEvent.create({
      data: {
        org_id,
        approval_id,
        seq: row.events.length,
        event: op,
        actor_kind: kind,
        actor_id: id,
        person,
        vote,
        reason,
        level: level + 1,
        decision_id,
        at: new Date(now),
      },
    })
    await this.ledger.append(tx, actor, {
      event: `approval.${op}`,
      ...subjectOf(row),
      approval: { id: approval_id, op, level: level + 1, digest, decision_id, ...entry },
      ...(reason !== null && { after: { reason } }),
    })
  }
}

/** What of the row changes with what happened. */
function changesOf(
  row: StoredApproval,
  happened: Happened,
  { actor, reason, grant }: By,
  now: number,
  vote?: 'approve' | 'deny',
): Prisma.ApprovalUpdateInput {
  const workflow = workflowOf(row)
  switch (happened) {
    case 'escalated': {
      const seconds = workflow.levels[row.level + 1]?.time_limit_seconds ?? 0
      const level_ends_at = new Date(row.level_ends_at.getTime() + seconds * 1000)
      return { level: row.level + 1, level_ends_at }
    }
    case 'voted':
      // What the first approver grants, the next ones are asked to agree with.
      return vote === 'approve' && grant
        ? { scope: { ...grant.scope }, grant_uses: grant.uses, grant_seconds: grant.seconds }
        : {}
    case 'approved': {
      const seconds = row.grant_seconds ?? workflow.grant_seconds
      const grant_expires_at = new Date(now + seconds * 1000)
      const grant_uses = row.grant_uses ?? 1
      return {
        ...decided('approved', actor, reason, now),
        grant_expires_at,
        grant_uses,
        grant_seconds: seconds,
      }
    }
    case 'denied':
    case 'expired':
    case 'cancelled':
      return decided(happened, actor, reason, now)
    case 'revoked':
      return decided('cancelled', actor, reason ?? 'The grant was taken back', now)
  }
}

function decided(
  status: string,
  actor: Principal | SystemActor,
  reason: string | null,
  now: number,
): Prisma.ApprovalUpdateInput {
  const { kind, id } = actorOf(actor)
  return {
    status,
    waiting_for: null,
    decided_at: new Date(now),
    decided_by_kind: kind,
    decided_by: id,
    decision_reason: reason ?? DEFAULT_REASONS[status] ?? null,
  }
}

const DEFAULT_REASONS: Readonly<Record<string, string>> = {
  approved: 'Approved by waiting, as the workflow says',
  expired: 'Nobody decided in time',
}

const grantOf = (row: StoredApproval): Partial<ApprovalEntry['approval']> => {
  const scope = scopeOf(row)
  return {
    uses: row.grant_uses ?? 0,
    expires_at: row.grant_expires_at?.toISOString() ?? '',
    ...(scope && { scope: { action: scope.action, resource: scope.resource } }),
  }
}
