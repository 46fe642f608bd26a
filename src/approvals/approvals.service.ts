import { Injectable, type OnModuleInit } from '@nestjs/common'
import type { Refusal } from '../core/approvals/transition.js'
import type { Entry } from '../core/ledger/entry.js'
import { Problem } from '../core/problems.js'
import { ok, type Result } from '../core/result.js'
import { ErasureService } from '../erasure/erasure.service.js'
import { actorOf, LedgerService } from '../ledger/ledger.service.js'
import { type AdminPrincipal, type Principal, teamOf } from '../platform/access/principal.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import type {
  Approval,
  ApprovalHistoryEvent,
  ApprovalList,
  ApprovalRequest,
  ApproveApproval,
  ListApprovals,
} from './approvals.dto.js'
import { forgetRequests, selectSealed } from './approvals.queries.js'
import { isUsable, type StoredApproval } from './approvals.record.js'
import { termsOf, viewOf } from './approvals.view.js'
import { AskingRulesService, MAX_RULES } from './asking-rules.service.js'
import { ApprovalLifeService, type By, type Held } from './life.service.js'
import { widerOf } from './wider-grant.js'

const DEFAULT_LIMIT = 100
const DEFAULT_REASON = { approve: 'Approved by admin', deny: 'Denied by admin' } as const

/** The people's side of approvals: seeing what waits, and deciding. */
@Injectable()
export class ApprovalsService implements OnModuleInit {
  constructor(
    private readonly database: Database,
    private readonly ledger: LedgerService,
    private readonly life: ApprovalLifeService,
    private readonly erasure: ErasureService,
    private readonly rules: AskingRulesService,
  ) {}

  /** Nobody keeps what was erased. */
  onModuleInit(): void {
    // Nothing is left that a guessed request could be compared with, so what waits can only be denied or cancelled, and
    // no grant of it works. Reasons are people's free text about it, so they go too.
    this.erasure.onErase((tx, scope) => forgetRequests(tx, scope))
  }

  /** Newest first; of the caller's team alone, if they are held to one. */
  async list(principal: Principal, query: ListApprovals): Promise<ApprovalList> {
    const { status, agent_id, limit = DEFAULT_LIMIT, offset = 0 } = query
    const seen = seenBy(principal)
    const where = { ...seen, ...(status && { status }), ...(agent_id !== undefined && { agent_id }) }
    return this.database.withOrg(principal, async (tx) => {
      const rows = await tx.approval.findMany({
        where,
        include: { events: { orderBy: { seq: 'asc' } }, agent: { select: { owner_team: true } } },
        orderBy: [{ created_at: 'desc' }, { approval_id: 'desc' }],
        take: limit,
        skip: offset,
      })
      const rules = await this.rules.of(tx, principal.org_id, rows, 1)
      return {
        items: rows.map((row) => viewOf(row, rules.get(row.approval_id)?.[0])),
        total: await tx.approval.count({ where }),
        pending_count: await tx.approval.count({ where: { ...seen, status: 'pending' } }),
      }
    })
  }

  /** The exact request, opened. @throws Problem `approval_not_found`, also for one of another team */
  async get(principal: Principal, approval_id: string): Promise<ApprovalRequest> {
    return this.database.withOrg(principal, async (tx) => {
      const row = await this.find(tx, principal, approval_id)
      const rules = await this.rules.of(tx, principal.org_id, [row], MAX_RULES)
      const [rule, ...other_rules] = rules.get(approval_id) ?? []
      return { ...viewOf(row, rule), other_rules, terms: termsOf(row), ...(await this.open(tx, row)) }
    })
  }

  /** Everything that happened to it, oldest first. @throws Problem `approval_not_found` */
  async history(principal: Principal, approval_id: string): Promise<ApprovalHistoryEvent[]> {
    const row = await this.database.withOrg(principal, (tx) => this.find(tx, principal, approval_id))
    return row.events.map(
      ({ event, actor_kind, actor_id, person, vote, reason, level, decision_id, at }) => ({
        event,
        actor_kind,
        actor: actor_id,
        person,
        vote,
        reason,
        level,
        decision_id,
        at,
      }),
    )
  }

  /** One person's yes. @throws Problem as `vote`, and `validation_failed` for a grant that goes too far */
  approve(principal: AdminPrincipal, approval_id: string, body: ApproveApproval): Promise<Approval> {
    return this.vote(principal, approval_id, 'approve', body)
  }

  /** One person's no. @throws Problem as `vote` */
  deny(principal: AdminPrincipal, approval_id: string, reason: string | undefined): Promise<Approval> {
    return this.vote(principal, approval_id, 'deny', { ...(reason !== undefined && { reason }) })
  }

  /** Takes back a request that waits. @throws Problem `approval_not_found`; `conflict` when it was decided */
  async cancel(principal: Principal, approval_id: string): Promise<void> {
    const refusal = await this.database.withOrg(principal, async (tx) => {
      const held = await this.hold(tx, principal, approval_id)
      const by: By = { actor: principal, reason: null }
      const cancelled = await this.life.happen(tx, held, { kind: 'cancel' }, by)
      return cancelled.ok ? null : cancelled.errors
    })
    if (refusal) throw problemOf(refusal)
  }

  /**
   * Takes back what is left of a grant. Whoever may decide may do it: it can only stop.
   * @throws Problem `approval_not_found`; `conflict` when nothing was granted, or nothing of it is left
   */
  async revoke(principal: Principal, approval_id: string, reason: string | undefined): Promise<Approval> {
    const outcome = await this.database.withOrg(principal, async (tx) => {
      const held = await this.hold(tx, principal, approval_id)
      const by: By = { actor: principal, reason: reason ?? null }
      const event = { kind: 'revoke', usable: isUsable(held.row, held.now) } as const
      return this.shown(tx, await this.life.happen(tx, held, event, by))
    })
    if (!outcome.ok) throw problemOf(outcome.errors)
    return outcome.value
  }

  /**
   * @throws Problem `approval_not_found`; `conflict` when it was decided or this person has voted; `forbidden` for who
   * may not decide; `validation_failed` without a reason where the workflow requires one
   */
  private async vote(
    principal: AdminPrincipal,
    approval_id: string,
    effect: 'approve' | 'deny',
    { reason, grant }: ApproveApproval,
  ): Promise<Approval> {
    const outcome = await this.database.withOrg(principal, async (tx) => {
      const held = await this.hold(tx, principal, approval_id)
      const person = await this.life.personOf(tx, principal.org_id, actorOf(principal).id)
      const wider = effect === 'approve' ? widerOf(held, grant) : undefined
      const by: By = {
        actor: principal,
        reason: reason ?? DEFAULT_REASON[effect],
        ...(wider && { grant: wider }),
      }
      const candidate = { roles: rolesOf(principal), team: teamOf(principal) }
      const vote = { person, effect }
      const event = { kind: 'vote', vote, candidate, reason: reason ?? null } as const
      return this.shown(tx, await this.life.happen(tx, held, event, by))
    })
    // After the commit: that its time was over is written, also when the vote came too late.
    if (!outcome.ok) throw problemOf(outcome.errors)
    return outcome.value
  }

  private async shown(tx: Tx, outcome: Result<Held, Refusal>): Promise<Result<Approval, Refusal>> {
    if (!outcome.ok) return outcome
    const { row } = outcome.value
    const rules = await this.rules.of(tx, row.org_id, [row], 1)
    return ok(viewOf(row, rules.get(row.approval_id)?.[0]))
  }

  private async hold(tx: Tx, principal: Principal, approval_id: string): Promise<Held> {
    const held = await this.life.hold(tx, principal.org_id, approval_id)
    if (!held || !isSeenBy(principal, held.row)) throw missing(approval_id)
    return held
  }

  private async find(tx: Tx, principal: Principal, approval_id: string): Promise<StoredApproval> {
    const row = await tx.approval.findFirst({
      where: { ...seenBy(principal), approval_id },
      include: { events: { orderBy: { seq: 'asc' } }, agent: { select: { owner_team: true } } },
    })
    if (!row) throw missing(approval_id)
    return row
  }

  /** Arguments and context, which lie beside the entry of the decision that asked. */
  private async open(
    tx: Tx,
    { org_id, decision_id }: StoredApproval,
  ): Promise<Pick<ApprovalRequest, 'arguments' | 'context' | 'redacted'>> {
    const stored = await selectSealed(tx, org_id, decision_id)
    if (!stored?.nonce || !stored.body || stored.dek_id === null)
      return { arguments: null, context: null, redacted: true }
    // The parser of what the ledger alone has written.
    const entry = JSON.parse(Buffer.from(stored.entry).toString()) as Entry
    const at = Date.parse(entry.ts)
    const payload = await this.ledger.sealer.open(org_id, entry.log, entry.id, at, {
      nonce: stored.nonce,
      body: stored.body,
      dek_id: stored.dek_id,
    })
    return { arguments: objectOf(payload.arguments), context: objectOf(payload.context), redacted: false }
  }
}

/** Whoever is held to a team sees its agents' approvals and no others; all of them look missing. */
function seenBy(principal: Principal) {
  const team = teamOf(principal)
  return { org_id: principal.org_id, ...(team !== null && { agent: { owner_team: team } }) }
}

function isSeenBy(principal: Principal, { agent }: StoredApproval): boolean {
  const team = teamOf(principal)
  return team === null || team === agent.owner_team
}

function rolesOf(principal: AdminPrincipal): readonly string[] {
  switch (principal.kind) {
    case 'root':
      return ['owner']
    case 'admin_key':
      return [principal.role]
    case 'member':
      return principal.roles
  }
}

function problemOf(refusal: Refusal): Problem {
  switch (refusal.why) {
    case 'decided':
      return new Problem('conflict', { detail: `Approval is already ${refusal.status}` })
    case 'pending':
      return new Problem('conflict', {
        detail: 'Nothing has been granted yet: deny the approval, or cancel it.',
      })
    case 'spent':
      return new Problem('conflict', { detail: 'Nothing of the grant is left: it was used up or is over.' })
    case 'voted':
      return new Problem('conflict', {
        detail: 'You have voted on this approval already. It needs somebody else.',
      })
    case 'self':
      return new Problem('forbidden', {
        detail: 'Nobody approves their own request. It needs somebody else.',
      })
    case 'role':
      return new Problem('forbidden', {
        detail: 'The workflow of this approval lets other roles or teams decide.',
      })
    case 'reason':
      return new Problem('validation_failed', {
        errors: [{ path: 'reason', message: 'is required by the workflow of this approval' }],
      })
  }
}

const objectOf = (value: unknown): object | null =>
  typeof value === 'object' && value !== null ? value : null

const missing = (approval_id: string) =>
  new Problem('approval_not_found', { detail: `Approval ${approval_id} not found` })
