import type { Code } from './codes.js'
import {
  covers,
  fullFinding,
  type GrantFact,
  isSameRule,
  lifted,
  type LiftedRule,
  outdatedFinding,
  readGrantFact,
  refusedFinding,
  unreadableFinding,
} from './grants.js'
import { STAGE_ORDER } from './stage.js'
import type { AgentFacts, CanonicalRequest, Effect, FactQuery, Finding, Guard, NearMiss } from './stage.js'
import { KILL_STAGE_VERSION, killRunner } from './stages/kill.js'
import { rulesStage } from './stages/rules.js'
import {
  noFinding,
  rulesRunner,
  SCOPES,
  type Facts,
  type PolicyRef,
  type RuleName,
  type Runner,
  type Scope,
  type StagedFinding,
} from './stages/runner.js'

export type { Facts, PolicyRef, RuleName, Scope, StagedFinding } from './stages/runner.js'

/** The rule that decided, as the wire and the ledger entry name it. */
export interface MatchedRule extends Omit<RuleName, 'workflow' | 'request'> {
  readonly scope: Scope
  readonly id: string
  readonly version: number
}

export interface Decision {
  readonly effect: Effect
  readonly code: Code
  readonly reason: string
  /** In the order in which they were found; a default deny is one too (policy null, rule ''). */
  readonly findings: readonly StagedFinding[]
  readonly matched_rule: MatchedRule | null
  /** The version of the policy that decided, else of the agent's own policy, else null. */
  readonly policy_version: number | null
  readonly guards: readonly Guard[]
  /** Only with `explain`. */
  readonly near_misses?: readonly NearMiss[]
  /** Only with code `stage_error`: what was thrown, for the log and never for the wire. */
  readonly failure?: unknown
}

/** What the ledger entry records of the code that decided: a change of meaning raises a number here. */
export const ENGINE = {
  semantics: 1,
  stages: { kill: KILL_STAGE_VERSION, rules: rulesStage.version },
} as const

/** In the order of `STAGE_ORDER`; a new rule kind is added here and nowhere else. */
const RUNNERS: readonly Runner[] = [killRunner, rulesRunner]
/** Every version of a stage that entries can name; an old one stays here when a new one comes. */
const RUNNABLE: readonly Runner[] = [killRunner, rulesRunner]
const NO_QUERIES: readonly FactQuery[] = []

/**
 * Decides one request over all policies that apply to the agent: deny, else require approval, else allow, else deny by
 * default (rows C4, C42). Pure and deterministic: the same arguments give the same decision for ever.
 * @param policies the union of applicable policies, at most one a scope in ordinary use, in any order
 * @param now milliseconds since 1970-01-01T00:00Z
 * @param facts the answers to `factsNeeded`; a missing one denies
 * @returns always a decision: a stage that fails is a deny with code `stage_error`
 */
export function decide(
  policies: readonly PolicyRef[],
  request: CanonicalRequest,
  agent: AgentFacts,
  now: number,
  facts: Facts,
  options?: { readonly explain?: boolean },
): Decision {
  return decideWith(RUNNERS, policies, request, agent, now, facts, options)
}

/**
 * The stages that an entry was decided with, in the order in which they ran: an entry from before a stage was added is
 * made again without it.
 * @returns the name of the first stage that cannot be run here instead
 */
export function runnersOf(stages: Readonly<Record<string, number>>): readonly Runner[] | string {
  const runners: Runner[] = []
  for (const [name, version] of Object.entries(stages)) {
    const runner = RUNNABLE.find((one) => one.name === name && one.version === version)
    if (!runner) return name
    runners.push(runner)
  }
  return runners.sort((a, b) => STAGE_ORDER.indexOf(a.name) - STAGE_ORDER.indexOf(b.name))
}

/** No kill switch and no zone: what is known where nothing else needs to be. */
export const NO_FACTS: Facts = { kill: [] }

/** What must be known before `decide`: fetched by the platform, recorded in the entry. Free without zone conditions. */
export function factsNeeded(
  policies: readonly PolicyRef[],
  request: CanonicalRequest,
  agent: AgentFacts,
): readonly FactQuery[] {
  let queries = NO_QUERIES
  for (const runner of RUNNERS) {
    const more = runner.needs(policies, request, agent)
    if (more.length > 0) queries = queries.length > 0 ? [...queries, ...more] : more
  }
  return queries
}

/** `decide` over a given list of stages, in the order in which they run. */
export function decideWith(
  runners: readonly Runner[],
  policies: readonly PolicyRef[],
  request: CanonicalRequest,
  agent: AgentFacts,
  now: number,
  facts: Facts,
  options?: { readonly explain?: boolean },
): Decision {
  const explain = options?.explain === true
  const input = { request, agent, now, facts, explain }
  const findings: StagedFinding[] = []
  const guards: Guard[] = []
  const nearMisses: NearMiss[] = []
  let failure: unknown
  let decisive: { readonly finding: Finding; readonly runner: Runner | null } | null = null
  const fact = approvalFact(facts)
  const grant = usableGrant(fact, request)
  let used = false
  for (const runner of runners) {
    const outcome = runner.run(policies, input)
    failure ??= outcome.failure
    for (const found of outcome.findings) {
      const lifts = grant !== null && found.effect === 'pending' && names(grant, policies, found)
      const finding = lifts ? lifted(found, grant.id) : found
      used ||= lifts
      findings.push(finding)
      if (decisive === null || outranks(finding, decisive.finding, policies)) decisive = { finding, runner }
    }
    for (const guard of outcome.guards) guards.push(guard)
    for (const miss of outcome.near_misses) nearMisses.push(miss)
    if (decisive?.finding.effect === 'deny' && !explain) break
  }
  const said = saidOfApproval(fact, decisive?.finding.effect)
  if (said) {
    findings.push(said)
    decisive = decisive?.finding.effect === 'deny' ? decisive : { finding: said, runner: null }
  }
  if (used && grant) guards.push({ kind: 'grant', approval_id: grant.id, digest: grant.digest })
  if (decisive === null) findings.push(noFinding(policies))
  const { finding, runner } = decisive ?? { finding: noFinding(policies), runner: null }
  const policy = finding.policy === null ? undefined : policies[finding.policy]
  const rule = policy && runner ? runner.rule(policy, finding.rule) : null
  return {
    effect: finding.effect,
    code: finding.code,
    reason: finding.reason,
    findings,
    matched_rule:
      policy && rule
        ? {
            scope: policy.scope,
            id: policy.id,
            version: policy.version,
            list: rule.list,
            index: rule.index,
            action: rule.action,
            resource: rule.resource,
          }
        : null,
    policy_version: policy?.version ?? ownVersion(policies),
    guards,
    ...(explain && { near_misses: nearMisses }),
    ...(failure !== undefined && { failure }),
  }
}

type Grant = Extract<GrantFact, { lifts: unknown }>

/** Undefined: the request names no approval. Null: what is known of it cannot be read. */
function approvalFact(facts: Facts): GrantFact | null | undefined {
  const fact: unknown = (facts as Facts | null | undefined)?.approval
  return fact === undefined ? undefined : readGrantFact(fact)
}

/** The grant that the request names, unless it is a wider one that does not cover it. */
function usableGrant(fact: GrantFact | null | undefined, request: CanonicalRequest): Grant | null {
  if (!fact || !('lifts' in fact)) return null
  return fact.scope === undefined || covers(fact.scope, request) ? fact : null
}

function names(grant: Grant, policies: readonly PolicyRef[], finding: Finding): boolean {
  const rule = ruleToLift(policies, finding)
  return grant.lifts.some((one) => isSameRule(one, rule))
}

/**
 * What the fact about approvals adds: a refusal, also of a grant that does not lift all that is pending, or that nobody
 * can be asked.
 */
function saidOfApproval(
  fact: GrantFact | null | undefined,
  effect: Effect | undefined,
): StagedFinding | null {
  if (fact === undefined) return null
  if (fact === null) return unreadableFinding
  if ('full' in fact) return effect === 'pending' ? fullFinding(fact) : null
  if ('refused' in fact) return refusedFinding(fact)
  return effect === 'pending' ? outdatedFinding(fact.id) : null
}

function ruleToLift(policies: readonly PolicyRef[], finding: Finding): LiftedRule {
  const policy = finding.policy === null ? undefined : policies[finding.policy]
  const rule = policy ? rulesRunner.rule(policy, finding.rule) : null
  return rule && policy
    ? {
        policy: policy.id,
        action: rule.action,
        resource: rule.resource,
        workflow: rule.workflow,
        ...(rule.request !== null && { request: rule.request }),
      }
    : // What no rule of a list asks for is named by its code: one grant does not lift another kind.
      { policy: '', action: finding.code, resource: finding.rule, workflow: null }
}

/** The rules that hold a request back, as an approval names them; each once. */
export function pendingRules(policies: readonly PolicyRef[], { findings }: Decision): LiftedRule[] {
  const rules: LiftedRule[] = []
  for (const finding of findings) {
    if (finding.effect !== 'pending') continue
    const rule = ruleToLift(policies, finding)
    if (!rules.some((one) => isSameRule(one, rule))) rules.push(rule)
  }
  return rules
}

const STRICTNESS: Readonly<Record<Effect, number>> = { allow: 0, pending: 1, deny: 2 }

/** Whether `a`, found later, is reported instead of `b`: when stricter, or an allow of a nearer policy. */
function outranks(a: Finding, b: Finding, policies: readonly PolicyRef[]): boolean {
  if (a.effect !== b.effect) return STRICTNESS[a.effect] > STRICTNESS[b.effect]
  return a.effect === 'allow' && nearness(a, policies) > nearness(b, policies)
}

function nearness({ policy }: Finding, policies: readonly PolicyRef[]): number {
  const scope = policy === null ? undefined : policies[policy]?.scope
  return scope === undefined ? -1 : SCOPES.indexOf(scope)
}

function ownVersion(policies: readonly PolicyRef[]): number | null {
  for (const { scope, version } of policies) if (scope === 'agent') return version
  return null
}
