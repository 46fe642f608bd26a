import { createHmac, createSecretKey, hash, type KeyObject, randomBytes } from 'node:crypto'
import { Injectable } from '@nestjs/common'
import { boundRequest, digestInput } from '../core/approvals/digest.js'
import { begin } from '../core/approvals/transition.js'
import { type CombinedWorkflow, DEFAULT_WORKFLOW } from '../core/approvals/workflow.js'
import { ID_BYTES, makeId } from '../core/ids.js'
import type { DecisionApproval } from '../core/ledger/entry.js'
import { canonicalize, type Json } from '../core/ledger/canonical.js'
import { type Decision, pendingRules } from '../core/policy/decide.js'
import {
  covers,
  type ApprovalRefusal,
  type FullFact,
  type GrantFact,
  type LiftedRule,
} from '../core/policy/grants.js'
import type { CanonicalRequest } from '../core/policy/stage.js'
import { SYSTEM } from '../ledger/ledger.service.js'
import type { AgentPrincipal } from '../platform/access/principal.js'
import { Settings } from '../platform/config/settings.js'
import type { Tx } from '../platform/database/database.service.js'
import type { AgentSnapshot } from '../snapshots/snapshots.service.js'
import { ApprovalSettingsService } from '../workflows/settings.service.js'
import { WorkflowsService } from '../workflows/workflows.service.js'
import { countAllWaiting, countWaiting, lockAsker, selectKeyMakers } from './approvals.queries.js'
import {
  liftsOf,
  readApproval,
  recordedRisk,
  scopeOf,
  type StoredApproval,
  statusOf,
} from './approvals.record.js'
import { ApprovalLifeService, type Held } from './life.service.js'

const SALT_BYTES = 32

/** What a request's `approval_id` came to, before the decision. */
export interface Named {
  readonly id: string
  /** Null: the agent has no such approval, or this is another agent's. */
  readonly held: Held | null
  /** Absent while the approval is pending: then it says nothing. */
  readonly fact?: GrantFact
}

/** What one decision has to do with approvals: for its entry, its payload, its answer. */
export interface Settled {
  readonly approval?: DecisionApproval
  /** Goes into the erasable payload; without it nobody can try out requests against the digest. */
  readonly salt?: string
  readonly approval_id?: string
  /** Nobody can be asked: this fact then denies. Nothing else is given. */
  readonly full?: FullFact
  /** What follows the decision in the log. */
  readonly after?: () => Promise<void>
}

/** The question at hand. */
export interface Question {
  readonly principal: AgentPrincipal
  readonly snapshot: AgentSnapshot
  readonly request: CanonicalRequest
  /** The decision's entry, and when it is made. */
  readonly decision_id: string
  readonly now: number
}

/** What is to be written of a request that people are asked about. */
interface Asking {
  readonly lifts: readonly LiftedRule[]
  readonly workflow: CombinedWorkflow
  readonly waiting_for: Uint8Array<ArrayBuffer>
  /** How many of the organization may wait. */
  readonly max_waiting: number
}

/**
 * The agents' side of approvals, inside the transaction of the decision: asking people, and using what they granted.
 * No approval without its evidence, and no evidence without the approval.
 */
@Injectable()
export class AskingService {
  private readonly key: KeyObject

  constructor(
    private readonly life: ApprovalLifeService,
    private readonly workflows: WorkflowsService,
    private readonly settings: ApprovalSettingsService,
    { ledger_kek }: Settings,
  ) {
    const derived = createHmac('sha256', ledger_kek).update('agentguard/approval/waiting/v1').digest()
    this.key = createSecretKey(derived)
  }

  /** The approval that a request names, held, and what it says about this request. Null when it names none. */
  async named(tx: Tx, { snapshot, request, now }: Question): Promise<Named | null> {
    const { org_id, agent_id } = snapshot.principal
    await lockAsker(tx, org_id, agent_id)
    const { approval_id: id } = request
    if (id === null) return null
    const found = await this.life.hold(tx, org_id, id)
    if (found?.row.agent_id !== agent_id) {
      return { id, held: null, fact: { id, refused: 'approval_not_found' } }
    }
    const passed = await this.life.happen(tx, found, { kind: 'time' }, { actor: SYSTEM, reason: null })
    const held = passed.ok ? passed.value : found
    const refused = refusalOf(held, request, this.bound(snapshot, request), now)
    if (refused) return { id, held, fact: { id, refused } }
    if (statusOf(held.row) === 'pending') return { id, held }
    const { digest, grant_used } = held.row
    const scope = scopeOf(held.row)
    const lifts = liftsOf(held.row)
    return { id, held, fact: { id, digest, use: grant_used + 1, lifts, ...(scope && { scope }) } }
  }

  /** What the decision means for approvals: one is asked for or found waiting, used up, or of no help. */
  async settle(tx: Tx, question: Question, decision: Decision, named: Named | null): Promise<Settled> {
    if (decision.effect === 'pending') return this.ask(tx, question, decision)
    if (!named) return {}
    const { held, id } = named
    if (decision.guards.some((guard) => guard.kind === 'grant') && decision.effect === 'allow' && held) {
      return this.use(tx, question, held)
    }
    // The policy allows it by now without anybody: what was granted stays for when it is needed.
    if (decision.effect === 'allow') return {}
    const refused: Settled = { approval: { id, op: 'refused' } }
    if (!held) return refused
    const detail = { decision_id: question.decision_id }
    return { ...refused, after: () => this.life.note(tx, held, 'refused', question.principal, detail) }
  }

  private async ask(tx: Tx, question: Question, decision: Decision): Promise<Settled> {
    const { snapshot, request, decision_id } = question
    const { org_id, agent_id } = snapshot.principal
    const lifts = pendingRules(snapshot.policies, decision)
    const waiting_for = this.waitingFor(snapshot, request, lifts)
    const known = await this.waiting(tx, snapshot, waiting_for)
    if (known) {
      const { approval_id, digest, salt } = known.row
      const approval: DecisionApproval = { id: approval_id, op: 'requested', digest }
      return { approval, approval_id, ...(salt !== null && { salt }) }
    }
    const terms = await this.settings.termsOf(tx, org_id, agent_id)
    const { max_waiting_per_agent: limit } = terms
    if ((await countWaiting(tx, org_id, agent_id, limit)) >= limit) return { full: { full: 'agent', limit } }
    const named = lifts.map(({ workflow }) => workflow ?? DEFAULT_WORKFLOW)
    const workflow = await this.workflows.forAgent(tx, org_id, terms.risk, named)
    const asking = { lifts, workflow, waiting_for, max_waiting: terms.max_waiting }
    const created = await this.create(tx, question, decision, asking)
    if ('full' in created) return { full: created }
    const { approval_id, digest, salt } = created
    return {
      approval: { id: approval_id, op: 'requested', digest },
      approval_id,
      salt,
      after: async () => {
        const row = await readApproval(tx, org_id, approval_id)
        if (!row) throw new Error(`approval ${approval_id} is gone in the transaction that made it`)
        const entry = { lifts, workflows: workflow.names, ...recordedRisk(workflow) }
        const held = { row, now: row.created_at.getTime() }
        await this.life.note(tx, held, 'requested', question.principal, { decision_id, entry })
      },
    }
  }

  /** The approval that waits for this very request already, held; null when there is none, or its time is over. */
  private async waiting(
    tx: Tx,
    { principal: { org_id, agent_id } }: AgentSnapshot,
    waiting_for: Uint8Array<ArrayBuffer>,
  ): Promise<Held | null> {
    const where = { org_id_agent_id_waiting_for: { org_id, agent_id, waiting_for } }
    const waiting = await tx.approval.findUnique({ where, select: { approval_id: true } })
    const held = waiting && (await this.life.hold(tx, org_id, waiting.approval_id))
    if (!held) return null
    const passed = await this.life.happen(tx, held, { kind: 'time' }, { actor: SYSTEM, reason: null })
    return passed.ok && statusOf(passed.value.row) === 'pending' ? passed.value : null
  }

  private async create(
    tx: Tx,
    { snapshot, request, decision_id }: Question,
    decision: Decision,
    { lifts, workflow, waiting_for, max_waiting: limit }: Asking,
  ): Promise<{ approval_id: string; digest: string; salt: string } | FullFact> {
    const { org_id, agent_id, key_id } = snapshot.principal
    const makers = await selectKeyMakers(tx, org_id, agent_id, key_id)
    const creators: string[] = []
    // One after the other: a transaction has one connection, which does one thing at a time.
    for (const id of makers) creators.push(await this.life.personOf(tx, org_id, id))
    if ((await countAllWaiting(tx, org_id, limit)) >= limit) return { full: 'organization', limit }
    const now = await this.life.databaseTime(tx)
    const { level, level_ends_at } = begin(workflow, now)
    const approval_id = makeId('apr_', randomBytes(ID_BYTES))
    const salt = randomBytes(SALT_BYTES).toString('base64url')
    const digest = digestOf(salt, this.bound(snapshot, request))
    await tx.approval.create({
      data: {
        org_id,
        approval_id,
        agent_id,
        key_id,
        status: 'pending',
        waiting_for,
        digest,
        salt,
        action_raw: request.action.raw,
        action_key: request.action.key,
        resource_raw: request.resource?.raw ?? null,
        resource_key: request.resource?.canonical ?? null,
        environment: snapshot.subject.environment,
        request_reason: decision.reason,
        decision_id,
        workflow: json(workflow),
        lifts: lifts.map((lift) => ({ ...lift })),
        requesters: [`agent:${agent_id}`],
        creators,
        level,
        level_ends_at: new Date(level_ends_at),
        created_at: new Date(now),
      },
    })
    return { approval_id, digest, salt }
  }

  private async use(tx: Tx, question: Question, held: Held): Promise<Settled> {
    const { row } = held
    const { org_id, approval_id, salt } = row
    const use = row.grant_used + 1
    await tx.approval.update({
      where: { org_id_approval_id: { org_id, approval_id } },
      data: { grant_used: use },
    })
    const digest = digestOf(salt ?? '', this.bound(question.snapshot, question.request))
    const detail = { decision_id: question.decision_id, entry: { use, digest } }
    return {
      approval: { id: approval_id, op: 'used', use, digest },
      approval_id,
      ...(salt !== null && { salt }),
      after: () => this.life.note(tx, held, 'used', question.principal, detail),
    }
  }

  private bound(snapshot: AgentSnapshot, request: CanonicalRequest): string {
    const { org_id, agent_id } = snapshot.principal
    return boundRequest({ org_id, agent_id }, request)
  }

  /** Keyed, because a plain hash of small arguments could be guessed from the table. */
  private waitingFor(
    snapshot: AgentSnapshot,
    request: CanonicalRequest,
    lifts: readonly LiftedRule[],
  ): Uint8Array<ArrayBuffer> {
    const text = `${this.bound(snapshot, request)}\0${canonicalize(lifts as unknown as Json)}`
    return new Uint8Array(createHmac('sha256', this.key).update(text).digest())
  }
}

/** Why an approval does not help this request; null when it may, or is still waited for. */
function refusalOf(
  { row, now: database_now }: Held,
  request: CanonicalRequest,
  bound: string,
  now: number,
): ApprovalRefusal | null {
  const over = overOf(row, Math.max(now, database_now))
  const scope = row.grant_expires_at === null ? null : scopeOf(row)
  // Of a wider grant that is over, that is the answer to any request: there is nothing left that it could be compared with.
  if (scope !== null && over) return over
  // Once the payload was erased nothing can be compared any more, and nothing fits.
  if (row.salt === null) return 'approval_mismatch'
  if (scope !== null && covers(scope, request)) return null
  return digestOf(row.salt, bound) === row.digest ? over : 'approval_mismatch'
}

/**
 * Why nothing can be done with an approval whatever is asked; null while it waits, or can be used.
 * @param now by the later of both clocks: the entry is dated by one of them, and is checked offline
 */
function overOf(row: StoredApproval, now: number): ApprovalRefusal | null {
  const status = statusOf(row)
  switch (status) {
    case 'pending':
      return null
    case 'denied':
      return 'approval_denied'
    case 'cancelled':
      return 'approval_cancelled'
    case 'expired':
      return 'approval_expired'
    case 'approved':
      if (row.grant_used >= (row.grant_uses ?? 0)) return 'approval_used'
      return now >= (row.grant_expires_at?.getTime() ?? 0) ? 'approval_expired' : null
  }
}

const UTF8 = { utf8: (text: string) => Buffer.from(text) }

export const digestOf = (salt: string, bound: string): string =>
  hash('sha256', digestInput(UTF8, salt, bound), 'base64url')

// Plain data of `core`, which says `readonly` where Prisma's type does not.
const json = (workflow: CombinedWorkflow): object => workflow
