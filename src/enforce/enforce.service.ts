import { Injectable } from '@nestjs/common'
import { AskingService } from '../approvals/asking.service.js'
import type { Json } from '../core/ledger/canonical.js'
import {
  type DecisionEncoder,
  decisionEncoder,
  type DecisionFacts,
  type DecisionOrigin,
} from '../core/ledger/decision-entry.js'
import { encodeEntry } from '../core/ledger/entry.js'
import { decide, type Decision, ENGINE, type Facts, factsNeeded } from '../core/policy/decide.js'
import { recordedDecision, recordedFacts } from '../core/policy/replay.js'
import { readRequest } from '../core/policy/request.js'
import { type CanonicalRequest, STATUS } from '../core/policy/stage.js'
import { type FieldError, MAX_ERRORS, Problem } from '../core/problems.js'
import { DECISION_MS, LedgerService } from '../ledger/ledger.service.js'
import type { AgentPrincipal } from '../platform/access/principal.js'
import { Deadline } from '../platform/clock/deadline.js'
import { Slices } from '../platform/clock/slices.js'
import { zoneOffset } from '../platform/clock/zones.js'
import { Metrics, type PolicyOutcome } from '../platform/metrics/metrics.js'
import {
  AgentLogService,
  type Attempt,
  erasableOf,
  type PlacedDraft,
  type Recorded,
} from '../snapshots/agent-log.service.js'
import type { AgentSnapshot } from '../snapshots/snapshots.service.js'
import type { Tx } from '../platform/database/database.service.js'
import type { EnforceAnswer, EnforceDto } from './enforce.dto.js'

interface Asked {
  readonly request: CanonicalRequest
  readonly payload: Readonly<Record<string, Json>> | null
}

/** A decision, and the approval that is waited for or that allowed it. */
interface Decided {
  readonly decision: Decision
  readonly approval_id?: string
}

/** Thrown out of the decision path, before anything is written: people must be asked, which takes a transaction. */
class PersonNeeded extends Error {}

/** Decides requests and answers after the decisions are in the log. */
@Injectable()
export class EnforceService {
  private readonly encoders = new WeakMap<AgentSnapshot, DecisionEncoder>()

  constructor(
    private readonly log: AgentLogService,
    private readonly asking: AskingService,
    private readonly ledger: LedgerService,
    private readonly metrics: Metrics,
  ) {}

  /**
   * @throws Problem `validation_failed` for an action or resource that cannot be read, `payload_too_large`, and what
   * `AgentLogService.recordAll` throws
   */
  async enforce(principal: AgentPrincipal, body: EnforceDto): Promise<EnforceAnswer> {
    const reading = readRequest(body)
    if (!reading.ok) throw new Problem('validation_failed', { errors: reading.errors })
    const [answer] = await this.decideAll(principal, [this.asked(reading.value)])
    if (!answer) throw new Error('nothing was decided')
    return answer
  }

  /**
   * The same for several requests, from one configuration and at one moment; their entries are committed together, so
   * either all are answered or none.
   * @throws as `enforce`, with paths such as `requests[3].action`
   */
  async enforceBatch(principal: AgentPrincipal, bodies: readonly EnforceDto[]): Promise<EnforceAnswer[]> {
    const errors: FieldError[] = []
    const asked: Asked[] = []
    const slices = new Slices()
    for (const [at, body] of bodies.entries()) {
      const reading = readRequest(body)
      if (reading.ok) asked.push(this.asked(reading.value, at))
      else
        errors.push(...reading.errors.map((error) => ({ ...error, path: `requests[${at}].${error.path}` })))
      await slices.pause()
    }
    if (errors.length > 0) throw new Problem('validation_failed', { errors: errors.slice(0, MAX_ERRORS) })
    return this.decideAll(principal, asked)
  }

  /**
   * Said before a body is read: reading, validating and deciding a hundred items for nothing is what would slow down
   * everybody else.
   * @throws Problem `ledger_busy` when so many more entries would find no room in the organization's queue
   */
  expectRoom(org_id: string, entries: number): void {
    if (!this.ledger.hasRoom(org_id, entries)) throw new Problem('ledger_busy', { retry_after: 1 })
  }

  private asked(request: CanonicalRequest, at?: number): Asked {
    return { request, payload: erasableOf(request, at === undefined ? '' : `requests[${at}]: `) }
  }

  /** Decides, records and answers: every way to a decision ends here. */
  private async decideAll(principal: AgentPrincipal, asked: readonly Asked[]): Promise<EnforceAnswer[]> {
    const recorded = await this.record(principal, asked)
    return recorded.map(({ answer, id, index }) => {
      this.count(principal, answer.decision)
      return answerOf(answer, id, index)
    })
  }

  private async record(principal: AgentPrincipal, asked: readonly Asked[]): Promise<Recorded<Decided>[]> {
    const began = performance.now()
    if (asked.some(({ request }) => request.approval_id !== null)) {
      return this.recordWithPeople(principal, asked, began)
    }
    try {
      return await this.log.recordAll(
        principal,
        asked.map(({ request, payload }) => ({
          payload,
          make: (attempt: Attempt) => this.decided(attempt, principal, request),
        })),
        began,
      )
    } catch (error) {
      if (error instanceof PersonNeeded) return this.recordWithPeople(principal, asked, began)
      throw error
    }
  }

  /** Decisions and what they mean for approvals, in one transaction: one is asked for, used up, or of no help. */
  private recordWithPeople(
    principal: AgentPrincipal,
    asked: readonly Asked[],
    began: number,
  ): Promise<Recorded<Decided>[]> {
    const deadline = new Deadline(DECISION_MS, began)
    const makers = asked.map(
      (one) => (tx: Tx, attempt: Omit<Attempt, 'sealed'>) =>
        this.decidedWithPeople(tx, attempt, principal, one),
    )
    return deadline.wait(this.log.recordAllWith(principal, makers, deadline))
  }

  private async decidedWithPeople(
    tx: Tx,
    { snapshot, now, id }: Omit<Attempt, 'sealed'>,
    principal: AgentPrincipal,
    { request, payload }: Asked,
  ): Promise<PlacedDraft<Decided>> {
    const question = { principal, snapshot, request, decision_id: id, now }
    const named = await this.asking.named(tx, question)
    const fact = named?.fact
    let facts: Facts = { ...factsAt(snapshot, request, now), ...(fact && { approval: fact }) }
    let decision = decide(snapshot.policies, request, snapshot.asker, now, facts)
    const settled = await this.asking.settle(tx, question, decision, named)
    if (settled.full) {
      facts = { ...facts, approval: settled.full }
      decision = decide(snapshot.policies, request, snapshot.asker, now, facts)
    }
    const { approval, approval_id, salt, after } = settled
    const erasable = { ...payload, ...(salt !== undefined && { approval_salt: salt }) }
    const { org_id } = snapshot.principal
    const sealed =
      Object.keys(erasable).length === 0
        ? null
        : await this.ledger.sealer.seal(org_id, snapshot.log, id, now, erasable)
    const entry = encodeEntry({
      v: 1,
      type: 'decision',
      event: 'decision.made',
      ...originOf(snapshot),
      ...entryOf({ snapshot, now, id, sealed }, principal, request, decision, facts),
      ...(approval && { approval }),
    })
    return {
      type: 'decision',
      action_key: request.action.key,
      allowed: decision.effect === 'allow',
      decision_id: null,
      entry,
      sealed,
      answer: { decision, ...(approval_id !== undefined && { approval_id }) },
      ...(after && { after }),
    }
  }

  private decided(attempt: Attempt, principal: AgentPrincipal, request: CanonicalRequest) {
    const { snapshot, now } = attempt
    const facts = factsAt(snapshot, request, now)
    const decision = decide(snapshot.policies, request, snapshot.asker, now, facts)
    if (decision.effect === 'pending') throw new PersonNeeded()
    return {
      type: 'decision' as const,
      action_key: request.action.key,
      allowed: decision.effect === 'allow',
      decision_id: null,
      entry: this.encoderOf(snapshot)(entryOf(attempt, principal, request, decision, facts)),
      answer: { decision },
    }
  }

  private encoderOf(snapshot: AgentSnapshot): DecisionEncoder {
    const known = this.encoders.get(snapshot)
    if (known) return known
    const encoder = decisionEncoder(originOf(snapshot))
    this.encoders.set(snapshot, encoder)
    return encoder
  }

  private count(principal: AgentPrincipal, decision: Decision): void {
    this.metrics.decided(
      principal.agent_id,
      verbOf(decision.matched_rule?.action),
      decision.effect === 'allow',
    )
    this.metrics.policyEvaluated(outcomeOf(decision))
  }
}

/** What all decisions of one snapshot have in common. */
function originOf({ log, subject, versions: config, principal, policies }: AgentSnapshot): DecisionOrigin {
  return {
    log,
    subject,
    config,
    actor: { kind: 'agent', id: principal.agent_id, key_id: principal.key_id },
    engine: ENGINE,
    policies: policies.map(({ scope, id, version, sha256 }) => ({ scope, id, version, sha256 })),
  }
}

function answerOf({ decision, approval_id }: Decided, id: string, index: number): EnforceAnswer {
  return {
    allowed: decision.effect === 'allow',
    status: STATUS[decision.effect],
    reason: decision.reason,
    code: decision.code,
    decision_id: id,
    matched_rule: decision.matched_rule,
    policy_version: decision.policy_version,
    ...(approval_id !== undefined && { approval_id }),
    log: { index },
  }
}

/** The facts of this decision that neither request, policy nor `now` hold: kill switches and offsets of time zones. */
function factsAt(snapshot: AgentSnapshot, request: CanonicalRequest, now: number): Facts {
  const needed = factsNeeded(snapshot.policies, request, snapshot.asker)
  if (needed.length === 0) return snapshot.facts
  return {
    ...snapshot.facts,
    rules: { tz: Object.fromEntries(needed.map(({ zone }) => [zone, zoneOffset(zone, now)])) },
  }
}

function entryOf(
  { now, id, sealed }: Attempt,
  principal: AgentPrincipal,
  request: CanonicalRequest,
  decision: Decision,
  facts: Facts,
): DecisionFacts {
  const { action, resource } = request
  const recorded = recordedFacts(facts, decision)
  return {
    id,
    ts: new Date(now).toISOString(),
    action: { raw: action.raw, key: action.key },
    ...(resource && { resource: { raw: resource.raw, key: resource.canonical } }),
    decision: recordedDecision(decision),
    ...(recorded && { facts: recorded }),
    ...(principal.request_id !== undefined && { request_id: principal.request_id }),
    ...(sealed && { payload: sealed.commitment }),
  }
}

function outcomeOf(decision: Decision): PolicyOutcome {
  if (decision.effect === 'allow') return 'allowed'
  if (decision.effect === 'pending') return 'pending'
  if (decision.code === 'kill_switch_active') return 'denied_kill_switch'
  if (decision.code === 'no_policy') return 'denied_no_policy'
  return decision.code === 'default_deny' ? 'denied_default' : 'denied_by_rule'
}

/** The verb of a rule, for a bounded metric label. */
const verbOf = (action: string | undefined): string | undefined =>
  /^[a-z]+/i.exec(action ?? '')?.[0].toLowerCase()
