import { Injectable } from '@nestjs/common'
import { hash } from 'node:crypto'
import { type DecisionEntry, encodeEntry, type EntryDecision } from '../core/ledger/entry.js'
import type { PolicyRef } from '../core/policy/decide.js'
import {
  decideLocally,
  type Lease,
  LEASE_TYPE,
  type Manifest,
  MANIFEST_TYPE,
  readLease,
  readManifest,
} from '../core/policy/local.js'
import { recordedDecision, recordedFacts } from '../core/policy/replay.js'
import { readRequest } from '../core/policy/request.js'
import type { CanonicalRequest } from '../core/policy/stage.js'
import { compileKills } from '../core/policy/stages/kill.js'
import { agentNotFound, type FieldError, MAX_ERRORS, Problem } from '../core/problems.js'
import { LedgerService } from '../ledger/ledger.service.js'
import type { AgentPrincipal } from '../platform/access/principal.js'
import { Deadline } from '../platform/clock/deadline.js'
import { Database } from '../platform/database/database.service.js'
import {
  AgentLogService,
  type Attempt,
  erasableOf,
  type PlacedDraft,
} from '../snapshots/agent-log.service.js'
import { SnapshotsService } from '../snapshots/snapshots.service.js'
import type { Tx } from '../platform/database/database.service.js'
import type { LocalDecisionDto, LocalDecisionsDto, RecordedDecisions } from './local-decisions.dto.js'
import { advanceSpool, selectSpool } from './local-decisions.queries.js'
import { StatementsService } from './statements.service.js'

/** How often a spool may move under us: it is one agent's, and its batches come one after the other. */
const MAX_TRIES = 3

/** Nobody waits for an answer in order to act: a batch has more time than a decision. */
const RECORD_MS = 10_000

/** Thrown out of the transaction: another batch of the same spool came first. */
class SpoolMoved extends Error {}

/** What all decisions of a batch were made from, and the policies ready to make them again. */
interface Basis {
  readonly manifest: Manifest
  readonly lease: Lease
  readonly policies: readonly PolicyRef[]
}

interface Made {
  readonly seq: number
  readonly agrees: boolean
}

/** Enters into the log what agents decided by themselves, each decision once, made again to see whether it is right. */
@Injectable()
export class RecordingService {
  constructor(
    private readonly snapshots: SnapshotsService,
    private readonly statements: StatementsService,
    private readonly log: AgentLogService,
    private readonly ledger: LedgerService,
    private readonly database: Database,
  ) {}

  /**
   * Appends the decisions of a batch that the log has not got yet, in their order and in one commit.
   * @throws Problem `agent_not_found` for another agent; `validation_failed` for a manifest or lease that is not one
   * of ours for this agent, and for decisions that it cannot have made from them; `conflict` when decisions before
   * these are missing; and what `AgentLogService.recordAllWith` throws
   */
  async record(
    principal: AgentPrincipal,
    agent_id: string,
    batch: LocalDecisionsDto,
  ): Promise<RecordedDecisions> {
    if (principal.agent_id !== agent_id) throw agentNotFound(agent_id)
    const basis = await this.basisOf(principal, batch)
    const requests = readAll(batch.decisions, basis.lease)
    const deadline = new Deadline(RECORD_MS)
    for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
      const next = await this.nextOf(principal, batch.spool)
      const first = batch.decisions[0]?.seq ?? 0
      if (first > next) {
        throw new Problem('conflict', {
          detail: `Decision ${next} of this spool comes next, not ${first}: send what is before it first.`,
        })
      }
      const fresh = batch.decisions.flatMap((decision, at) => {
        const request = requests[at]
        return decision.seq >= next && request ? [{ decision, request }] : []
      })
      if (fresh.length === 0) return { next_seq: next, recorded: [] }
      const upto = next + fresh.length
      const makers = fresh.map(
        ({ decision, request }, at) =>
          async (tx: Tx, made: Omit<Attempt, 'sealed'>): Promise<PlacedDraft<Made>> => {
            if (at === 0 && !(await advanceSpool(tx, principal, batch.spool, next, upto)))
              throw new SpoolMoved()
            return this.draft(principal, batch.spool, basis, decision, request, made)
          },
      )
      try {
        const recorded = await this.log.recordAllWith(principal, makers, deadline)
        const answers = recorded.map(({ answer, id, index }) => ({ ...answer, log_id: id, index }))
        return { next_seq: upto, recorded: answers }
      } catch (error) {
        if (!(error instanceof SpoolMoved)) throw error
      }
    }
    throw new Problem('conflict', { detail: 'Other batches of this spool are being recorded. Try again.' })
  }

  private async basisOf(principal: AgentPrincipal, batch: LocalDecisionsDto): Promise<Basis> {
    const manifest_text = await this.statements.read(MANIFEST_TYPE, batch.manifest)
    const manifest = manifest_text === null ? null : readManifest(manifest_text)
    const { org_id, agent_id } = principal
    const own = manifest?.ok && manifest.value.org_id === org_id && manifest.value.agent.agent_id === agent_id
    if (!own) throw invalid('manifest', 'must be the signed manifest of a bundle of this agent')
    const lease_text = await this.statements.read(LEASE_TYPE, batch.lease)
    const lease = lease_text === null ? null : readLease(lease_text)
    if (!lease?.ok || lease.value.manifest !== hash('sha256', batch.manifest, 'hex'))
      throw invalid('lease', 'must be a signed lease of this manifest')
    const policies: PolicyRef[] = []
    for (const policy of manifest.value.policies) {
      const compiled = await this.snapshots.compiled(org_id, policy)
      if (!compiled) throw invalid('manifest', `names a policy that there is not: ${policy.id}`)
      policies.push({ ...policy, compiled })
    }
    return { manifest: manifest.value, lease: lease.value, policies }
  }

  private nextOf({ org_id, agent_id }: AgentPrincipal, spool: string): Promise<number> {
    return this.database.withOrg({ org_id }, (tx) => selectSpool(tx, org_id, agent_id, spool))
  }

  private async draft(
    principal: AgentPrincipal,
    spool: string,
    { manifest, lease, policies }: Basis,
    stated: LocalDecisionDto,
    request: CanonicalRequest,
    { snapshot, now, id }: Omit<Attempt, 'sealed'>,
  ): Promise<PlacedDraft<Made>> {
    const { agent } = manifest
    const kill = compileKills(manifest.kill)
    const again = decideLocally(policies, request, agent, stated.decided_at, kill)
    const derived = 'decision' in again ? recordedDecision(again.decision) : null
    const agrees = derived !== null && isSame(derived, stated)
    const facts = 'decision' in again && agrees ? recordedFacts({ kill }, again.decision) : undefined
    const payload = erasableOf(request)
    const { org_id } = principal
    const sealed = payload && (await this.ledger.sealer.seal(org_id, snapshot.log, id, now, payload))
    const { action, resource } = request
    const { effect, code, reason } = stated
    const entry: DecisionEntry = {
      v: 1,
      log: snapshot.log,
      id,
      ts: new Date(now).toISOString(),
      type: 'decision',
      event: 'decision.local',
      actor: { kind: 'agent', id: agent.agent_id, key_id: agent.key_id ?? '' },
      subject: { agent_id: agent.agent_id, environment: agent.environment, team: agent.team },
      config: snapshot.versions,
      engine: manifest.engine,
      action: { raw: action.raw, key: action.key },
      ...(resource && { resource: { raw: resource.raw, key: resource.canonical } }),
      // What the agent acted on, right or wrong.
      decision: derived && agrees ? derived : { effect, code, reason, findings: [] },
      policies: manifest.policies,
      ...(facts && { facts }),
      local: {
        spool,
        seq: stated.seq,
        decided_at: new Date(stated.decided_at).toISOString(),
        issued_at: new Date(lease.issued_at).toISOString(),
        lease_until: new Date(lease.lease_until).toISOString(),
        config: manifest.config,
        agrees,
      },
      ...(principal.request_id !== undefined && { request_id: principal.request_id }),
      ...(sealed && { payload: sealed.commitment }),
    }
    return {
      type: 'decision',
      action_key: action.key,
      allowed: effect === 'allow',
      decision_id: null,
      entry: encodeEntry(entry),
      sealed,
      answer: { seq: stated.seq, agrees },
    }
  }
}

/** Every request of the batch. @throws Problem `validation_failed` with every mistake and its path */
function readAll(decisions: readonly LocalDecisionDto[], lease: Lease): CanonicalRequest[] {
  const errors: FieldError[] = []
  const requests: CanonicalRequest[] = []
  decisions.forEach((decision, at) => {
    const path = `decisions[${at}]`
    const add = (member: string, message: string) => void errors.push({ path: `${path}.${member}`, message })
    if (decision.seq !== (decisions[0]?.seq ?? 0) + at) add('seq', 'must be one more than the one before')
    if (decision.decided_at < lease.issued_at || decision.decided_at > lease.lease_until)
      add('decided_at', 'must be within the lease')
    const reading = readRequest(decision)
    if (reading.ok) requests.push(reading.value)
    else for (const error of reading.errors) add(error.path, error.message)
  })
  if (errors.length > 0) throw new Problem('validation_failed', { errors: errors.slice(0, MAX_ERRORS) })
  return requests
}

const isSame = (derived: EntryDecision, { effect, code, reason }: LocalDecisionDto): boolean =>
  derived.effect === effect && derived.code === code && derived.reason === reason

const invalid = (path: string, message: string) =>
  new Problem('validation_failed', { errors: [{ path, message }] })
