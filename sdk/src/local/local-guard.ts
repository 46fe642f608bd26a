import { canonicalize, type Json } from '../../../src/core/ledger/canonical.js'
import type { Decision as CoreDecision } from '../../../src/core/policy/decide.js'
import { decideLocally, type OnlineReason } from '../../../src/core/policy/local.js'
import { readRequest } from '../../../src/core/policy/request.js'
import type { CanonicalRequest } from '../../../src/core/policy/stage.js'
import { AgentGuard, type AgentGuardOptions, settingsOf } from '../client.js'
import { AgentGuardError } from '../errors.js'
import { Guard } from '../guard/guard.js'
import type { Decider, GuardOptions } from '../guard/options.js'
import { readJson } from '../resources/resource.js'
import { type RequestOptions, sleep, Transport } from '../transport.js'
import type { ActionReport, Decision, EnforceRequest } from '../types.js'
import { type Disagreement, Recorder } from './recorder.js'
import { LocalRefused } from './refused.js'
import { type Basis, Spool } from './spool.js'
import { BundleSource, type Clocks, clocks, type Held } from './source.js'
import { type PublicKey, Statements } from './statements.js'

export interface LocalGuardOptions extends AgentGuardOptions {
  /** The agent whose key this is. Default: the environment's AGENTGUARD_AGENT_ID. */
  agentId?: string
  /**
   * A folder on a disk that stays, for decisions that the log has not got yet; one for each machine or container. They
   * hold arguments and context in clear, readable by this user alone.
   */
  spool: string
  /** Decisions of at most so many bytes wait for the service; beyond that nothing is decided. Default 64 MiB. */
  spoolBytes?: number
  /** The service's public keys, to trust these alone. Default: what `/.well-known/jwks.json` says. */
  keys?: readonly PublicKey[]
  /** Whether to follow changes as they happen (`GET /events`), besides asking three times a lease. Default true. */
  follow?: boolean
  /** A decision that the service makes otherwise: a defect of this package or a changed one. Default: the console. */
  onDisagreement?: (disagreement: Disagreement) => void
  /** For tests. */
  clocks?: () => Clocks
}

/** A decision that was made here. It has no place in the log yet; `seq` of `spool` names it there. */
export type LocalDecision = Decision & { readonly local: { readonly spool: string; readonly seq: number } }

const DEFAULT_SPOOL_BYTES = 64 * 1024 * 1024
const MAX_PAYLOAD_BYTES = 64 * 1024
/** Texts of rules have no limit of their own; an entry of the log has one of 32 KiB. */
const MAX_REASON = 8 * 1024
/** Of a character of a JavaScript string, in UTF-8. */
const MOST_BYTES = 3
const RECORD_TIMEOUT_MS = 15_000
const FOLLOW_AGAIN_MS = 2_000
const NO_PLACE = -1

/**
 * Decides in the process what the service would decide, from a signed bundle and as long as its lease lasts. What it
 * may not decide it asks of the service; when it can do neither it throws, and the action must not be done.
 *
 * The record follows the decision: each is on this machine's disk before it is answered, and in the log soon after.
 * @example
 * const local = new LocalGuard({ agentKey, agentId, spool: '/var/lib/my-agent/spool' })
 * const readFile = local.guard().tool('read file', fn, { resource: ({ path }) => path })
 * await local.close()
 */
export class LocalGuard implements Decider {
  /** Asks the service, about everything else. */
  readonly client: AgentGuard
  private readonly transport: Transport
  private readonly agent_id: string
  private readonly source: BundleSource
  private readonly spool: Spool
  private readonly recorder: Recorder
  private readonly ending = new AbortController()
  /** What is written into the spool once for all decisions under one lease. */
  private basis: { readonly held: Held; readonly basis: Basis } | null = null
  private started: Promise<void> | null = null

  /** @throws AgentGuardError for a setting that cannot work; it never quotes a key. */
  constructor(private readonly options: LocalGuardOptions) {
    const { spool, spoolBytes = DEFAULT_SPOOL_BYTES } = options
    const agent_id = options.agentId ?? process.env.AGENTGUARD_AGENT_ID ?? ''
    if (agent_id === '') throw new AgentGuardError('agentId must be the id of the agent whose key this is.')
    if (typeof spool !== 'string' || spool === '') throw new AgentGuardError('spool must be a folder.')
    if (!(spoolBytes > 0)) throw new AgentGuardError('spoolBytes must be positive.')
    this.agent_id = agent_id
    this.client = new AgentGuard(options)
    this.transport = new Transport(settingsOf(options))
    const statements = new Statements(() => this.fetchKeys(), options.keys)
    this.source = new BundleSource(this.transport, agent_id, statements, options.clocks ?? clocks)
    this.spool = new Spool(spool, spoolBytes)
    this.recorder = new Recorder(
      this.spool,
      (batch) =>
        this.client.agents.recordDecisions(agent_id, batch, { timeoutMs: RECORD_TIMEOUT_MS, maxRetries: 0 }),
      options.onDisagreement ?? warn,
    )
  }

  /** Gets the first bundle, and sends what an earlier process left. Without it, the first decision does that. */
  ready(): Promise<void> {
    this.started ??= this.start()
    return this.started
  }

  /**
   * May I do this? Decided here where that is allowed, else asked of the service.
   * @throws LocalRefused when nobody may decide here now; APIError when the service gave no answer. Then the action
   * must not be done.
   */
  async enforce(request: EnforceRequest, options?: RequestOptions): Promise<Decision> {
    await this.ready()
    if (this.recorder.refusal) throw this.recorder.refusal
    const held = await this.source.usable()
    // From here to the spool nothing waits: what was decided about is what is written down.
    const written = asWritten(request)
    const answer = written && this.decide(held, written)
    // The service says what is wrong with what cannot be written.
    if (!written || !answer || 'online' in answer) return this.client.enforce(request, options)
    return this.record(held, written, answer.decision, answer.decided_at)
  }

  /** The actions of an agent, guarded by this. */
  guard(options?: GuardOptions): Guard {
    return new Guard(this, options)
  }

  /** Reports go to the service at once; the decision they belong to may come later, and is named in `metadata`. */
  readonly logs = {
    report: (report: ActionReport, options?: RequestOptions): Promise<unknown> => {
      const { decision_id, ...rest } = report
      if (decision_id?.startsWith(this.spool.id) !== true) return this.client.logs.report(report, options)
      const metadata = { ...rest.metadata, local_decision: decision_id }
      return this.client.logs.report({ ...rest, metadata }, options)
    },
  }

  /** Approvals are the service's. */
  get approvals(): AgentGuard['approvals'] {
    return this.client.approvals
  }

  /** Decisions that are on this disk and not in the log yet. */
  get waiting(): number {
    return this.spool.unsent.length
  }

  /** Sends what is in the spool now. */
  async flush(): Promise<void> {
    await this.recorder.run()
  }

  /**
   * Ends deciding, and sends what waits. What cannot be sent in time stays on disk for the next start.
   * @param timeoutMs how long to try
   */
  async close({ timeoutMs = 5_000 }: { timeoutMs?: number } = {}): Promise<void> {
    this.ending.abort()
    this.source.close()
    await this.recorder.close(timeoutMs)
    await this.spool.close()
  }

  private async start(): Promise<void> {
    await this.source.refresh()
    void this.recorder.recover(this.options.spool).catch(() => {})
    if (this.options.follow !== false) void this.follow()
  }

  /** Without a network or a disk: what is measured. */
  private decide(
    held: Held,
    request: EnforceRequest,
  ): { decision: CoreDecision; decided_at: number } | { online: OnlineReason | 'unreadable' } {
    const now = held.now()
    if (now === null) throw expired()
    const read = readRequest(request)
    // The service says what is wrong with it.
    if (!read.ok || isTooLarge(read.value)) return { online: 'unreadable' }
    const { policies, manifest, kill } = held.bundle
    const answer = decideLocally(policies, read.value, manifest.agent, now, kill)
    if ('online' in answer) return answer
    return answer.decision.reason.length > MAX_REASON
      ? { online: 'unreadable' }
      : { decision: answer.decision, decided_at: now }
  }

  private async record(
    held: Held,
    { action, resource, arguments: args, context }: EnforceRequest,
    decision: CoreDecision,
    decided_at: number,
  ): Promise<LocalDecision> {
    const { effect, code, reason } = decision
    if (effect === 'pending') throw new AgentGuardError('a local decision is never pending')
    const spooling = this.spool.append(this.basisOf(held), {
      decided_at,
      action,
      ...(resource != null && { resource }),
      ...(args != null && { arguments: args }),
      ...(context != null && { context }),
      effect,
      code,
      reason,
    })
    const seq = await spooling
    this.recorder.wake()
    // A slow disk must not carry an allow beyond the lease. The record stays: it says what was decided.
    if (effect === 'allow' && held.now() === null) throw expired()
    return {
      allowed: effect === 'allow',
      status: effect === 'allow' ? 'allowed' : 'denied',
      reason,
      code,
      decision_id: `${this.spool.id}/${seq}`,
      matched_rule: decision.matched_rule,
      policy_version: decision.policy_version,
      log: { index: NO_PLACE },
      local: { spool: this.spool.id, seq },
    }
  }

  private basisOf(held: Held): Basis {
    if (this.basis?.held !== held) {
      const basis = { manifest: held.bundle.jws, lease: held.lease_jws }
      this.basis = { held, basis }
    }
    return this.basis.basis
  }

  /** Asks for the bundle as soon as the service says that something has changed. */
  private async follow(): Promise<void> {
    const { signal } = this.ending
    while (!signal.aborted) {
      try {
        const stream = this.client.events.stream({ types: 'bundle' }, { signal })
        while ((await stream.next()).done !== true) void this.source.refresh()
      } catch {
        // Asking three times a lease goes on meanwhile.
      }
      await sleep(FOLLOW_AGAIN_MS, signal, 'follow').catch(() => {})
    }
  }

  private async fetchKeys(): Promise<readonly PublicKey[]> {
    const call = { method: 'GET', path: '/.well-known/jwks.json', speaker: 'agent' } as const
    const { value } = await this.transport.send(call, { maxRetries: 0 }, readJson)
    const { keys } = Object(value) as { keys?: unknown }
    return Array.isArray(keys) ? (keys as PublicKey[]) : []
  }
}

const expired = () => new LocalRefused('lease_expired', 'the lease ran out while this was decided')

/** Names and characters that the service refuses in any body, as JSON writes them. */
const REFUSED = /"(?:__proto__|constructor|prototype)":|\\u0000/

/**
 * The request as the service will read it from the spool, where a `Date` is text and `undefined` is nothing: rules look
 * at what is sent along, and must see the same on both sides. Null for what cannot be sent.
 */
function asWritten(request: EnforceRequest): EnforceRequest | null {
  if (request.arguments == null && request.context == null) return request
  try {
    const text = JSON.stringify({ arguments: request.arguments, context: request.context })
    if (REFUSED.test(text)) return null
    const { arguments: args, context } = JSON.parse(text) as Pick<EnforceRequest, 'arguments' | 'context'>
    return { ...request, arguments: args, context }
  } catch {
    return null
  }
}

/** What an entry of the log cannot hold, the service refuses; so it is never decided here. */
function isTooLarge({ arguments: args, context }: CanonicalRequest): boolean {
  if (args === null && context === null) return false
  const payload = { ...(args && { arguments: args }), ...(context && { context }) } as Json
  // As the service measures it, which takes longer than deciding: only where it may matter.
  if (JSON.stringify(payload).length * MOST_BYTES < MAX_PAYLOAD_BYTES) return false
  return Buffer.byteLength(canonicalize(payload)) > MAX_PAYLOAD_BYTES
}

function warn({ log_id }: Disagreement): void {
  // eslint-disable-next-line no-console -- the last place where this can be said
  console.warn(`AgentGuard: the service decides otherwise than was decided here; see log entry ${log_id}.`)
}
