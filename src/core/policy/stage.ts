import type { Json } from '../ledger/canonical.js'
import type { Result } from '../result.js'
import type { ActionReading } from './action.js'
import type { Code } from './codes.js'
import type { ResourceReading } from './resource.js'

/** What a rule can say about a request. The strictest one wins; none at all is a deny. */
export type Effect = 'allow' | 'pending' | 'deny'

/** What answers and rows call an effect. */
export const STATUS = { allow: 'allowed', deny: 'denied', pending: 'pending' } as const satisfies Record<
  Effect,
  string
>

/** The order in which stages run. Only `rules` may allow; every other stage can only make the answer stricter. */
export const STAGE_ORDER = ['kill', 'lifecycle', 'rules', 'temporal', 'code', 'compliance', 'risk'] as const
export type StageName = (typeof STAGE_ORDER)[number]

/** What must still hold when the ledger entry is committed; checked again inside that commit. */
export type Guard =
  | { readonly kind: 'grant'; readonly approval_id: string; readonly digest: string }
  | { readonly kind: 'counter'; readonly key: string; readonly window_ms: number; readonly limit: number }

/** One thing a stage has to say. `policy` is an index into the policies decided over; `rule` names a rule in it. */
export interface Finding {
  readonly effect: Effect
  readonly code: Code
  readonly reason: string
  readonly policy: number | null
  readonly rule: string
}

export type JsonObject = { readonly [key: string]: Json | undefined }

/** A request after reading (`readRequest`): what stages decide over. */
export interface CanonicalRequest {
  readonly action: ActionReading
  readonly resource: ResourceReading | null
  readonly arguments: JsonObject | null
  readonly context: JsonObject | null
  readonly approval_id: string | null
}

/** Environments as they are stored and returned (row C1). */
export const ENVIRONMENTS = ['dev', 'stage', 'prod'] as const
export type Environment = (typeof ENVIRONMENTS)[number]

/** What is known about the agent that asks, from its identity and not from its request. */
export interface AgentFacts {
  readonly agent_id: string
  readonly environment: Environment
  readonly team: string | null
  /** The key that asks. Without it, every kill switch on a key is held to be on this one. */
  readonly key_id?: string
}

/**
 * A question the platform answers before the decision; the answer is recorded in the entry and passed to `evaluate`.
 * `tz`: how many minutes east of UTC the clocks of `zone` stand at `now`; goes to `facts.rules.tz[zone]`.
 */
export type FactQuery = { readonly stage: 'rules'; readonly kind: 'tz'; readonly zone: string }

/** One mistake in a policy. `path` as in `allow[3].conditions.time_range.tz`; '' is the document itself. */
export interface CompileError {
  readonly path: string
  readonly message: string
}

/** What compiling must ask of the platform, as predicates, because the core holds no zone data. */
export interface CompileEnv {
  /** Whether `name` is an IANA time zone that the platform can find the offset of. */
  isZone(name: string): boolean
  /** Whether the organization has a workflow of this name. Absent: not asked, as in a replay. */
  isWorkflow?(name: string): boolean
}

export interface StageInput<Facts> {
  readonly request: CanonicalRequest
  readonly agent: AgentFacts
  /** Milliseconds since 1970-01-01T00:00Z: the one `now` of the request. */
  readonly now: number
  readonly facts: Facts
}

export interface StageOutcome {
  readonly findings: readonly Finding[]
  readonly guards: readonly Guard[]
}

/** A rule whose action matched but that did not apply, and why. Only `explain` looks for these. */
export interface NearMiss {
  readonly policy: number | null
  readonly rule: string
  readonly action: string
  readonly resource: string | null
  /** `fact`: a fact that its conditions need is missing. */
  readonly missed: readonly Miss[]
}

/** `conditions.request` is followed by the place that it looks at, a JSON Pointer. */
export type Miss =
  | 'resource'
  | 'fact'
  | 'conditions.env'
  | 'conditions.time_range'
  | 'conditions.day_of_week'
  | `conditions.request/${string}`

export interface Explanation extends StageOutcome {
  readonly near_misses: readonly NearMiss[]
}

/**
 * One kind of rule (pipeline.md). Pure, versioned, replayable: the same source, request, `now` and facts give the same
 * outcome for ever, so a change of meaning is a new `version` and the old one stays runnable.
 */
export interface Stage<Compiled, Facts extends Json> {
  readonly name: StageName
  /** Recorded in the entry. */
  readonly version: number
  /** An effect outside this list is a defect of the stage and denies (`stage_error`). */
  readonly may: readonly Effect[]
  /** Source to compiled form; all errors at once. Never throws on JSON. */
  compile(source: unknown, env: CompileEnv): Result<Compiled, CompileError[]>
  /** The facts `evaluate` will look for; a superset is fine, a subset makes it deny. */
  needs(compiled: Compiled, request: CanonicalRequest, agent: AgentFacts): readonly FactQuery[]
  /** Findings carry `policy: null`; the runner, which knows the index, fills it in. Without a finding: no opinion. */
  evaluate(compiled: Compiled, input: StageInput<Facts>): StageOutcome
  /** As `evaluate`, but with every finding, in rule order, and the near misses. Slower, for people. */
  explain?(compiled: Compiled, input: StageInput<Facts>): Explanation
}
