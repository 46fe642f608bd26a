import { Injectable } from '@nestjs/common'
import { canonicalize, type Json } from '../core/ledger/canonical.js'
import { type DecisionEncoder, decisionEncoder, type DecisionFacts } from '../core/ledger/decision-entry.js'
import { decide, type Decision, ENGINE, type Facts, factsNeeded } from '../core/policy/decide.js'
import { recordedDecision, recordedFacts } from '../core/policy/replay.js'
import { readRequest } from '../core/policy/request.js'
import type { CanonicalRequest } from '../core/policy/stage.js'
import { Problem } from '../core/problems.js'
import type { AgentPrincipal } from '../platform/access/principal.js'
import { zoneOffset } from '../platform/clock/zones.js'
import { Metrics, type PolicyOutcome } from '../platform/metrics/metrics.js'
import { AgentLogService, type Attempt } from '../snapshots/agent-log.service.js'
import type { AgentSnapshot } from '../snapshots/snapshots.service.js'
import type { EnforceAnswer, EnforceDto } from './enforce.dto.js'

const MAX_PAYLOAD_BYTES = 64 * 1024
const STATUS = { allow: 'allowed', deny: 'denied', pending: 'pending' } as const

/** Decides one request and answers after the decision is in the log. */
@Injectable()
export class EnforceService {
  private readonly encoders = new WeakMap<AgentSnapshot, DecisionEncoder>()

  constructor(
    private readonly log: AgentLogService,
    private readonly metrics: Metrics,
  ) {}

  /**
   * @throws Problem `validation_failed` for an action or resource that cannot be read, `payload_too_large`, and what
   * `AgentLogService.record` throws
   */
  async enforce(principal: AgentPrincipal, body: EnforceDto): Promise<EnforceAnswer> {
    const reading = readRequest(body)
    if (!reading.ok) throw new Problem('validation_failed', { errors: reading.errors })
    const request = reading.value
    const payload = payloadOf(request)
    const { answer, id, index } = await this.log.record(principal, payload, (attempt) => {
      const { snapshot, now } = attempt
      const facts = factsAt(snapshot, request, now)
      const decision = decide(snapshot.policies, request, snapshot.asker, now, facts)
      return {
        type: 'decision',
        action_key: request.action.key,
        allowed: decision.effect === 'allow',
        decision_id: null,
        entry: this.encoderOf(snapshot)(entryOf(attempt, principal, request, decision, facts)),
        answer: decision,
      }
    })
    this.count(principal, answer)
    return {
      allowed: answer.effect === 'allow',
      status: STATUS[answer.effect],
      reason: answer.reason,
      code: answer.code,
      decision_id: id,
      matched_rule: answer.matched_rule,
      policy_version: answer.policy_version,
      log: { index },
    }
  }

  private encoderOf(snapshot: AgentSnapshot): DecisionEncoder {
    const known = this.encoders.get(snapshot)
    if (known) return known
    const { log, subject, versions: config, principal, policies } = snapshot
    const encoder = decisionEncoder({
      log,
      subject,
      config,
      actor: { kind: 'agent', id: principal.agent_id, key_id: principal.key_id },
      engine: ENGINE,
      policies: policies.map(({ scope, id, version, sha256 }) => ({ scope, id, version, sha256 })),
    })
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

/** The erasable members; null when there are none. */
function payloadOf({ arguments: args, context }: CanonicalRequest): Readonly<Record<string, Json>> | null {
  if (args === null && context === null) return null
  const payload = { ...(args && { arguments: args }), ...(context && { context }) }
  if (Buffer.byteLength(canonicalize(payload)) > MAX_PAYLOAD_BYTES) {
    throw new Problem('payload_too_large', { detail: 'arguments and context may have 64 KiB together.' })
  }
  return payload
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
