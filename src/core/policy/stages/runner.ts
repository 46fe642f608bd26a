import type { Json } from '../../ledger/canonical.js'
import { DEFAULT_DENY_REASON, NO_POLICY_REASON, stageErrorReason, type RuleList } from '../codes.js'
import type { CompiledPolicy } from '../compile.js'
import type { GrantFact } from '../grants.js'
import type {
  AgentFacts,
  CanonicalRequest,
  FactQuery,
  Finding,
  Guard,
  NearMiss,
  Stage,
  StageName,
  StageOutcome,
} from '../stage.js'
import type { ActiveKill } from './kill.js'
import { isUndecidedAllow, ruleOf, rulesStage, type RulesFacts } from './rules.js'

/** Whose policy it is, widest first: the order in which deny and approval rules are reported. */
export const SCOPES = ['organization', 'team', 'agent'] as const
export type Scope = (typeof SCOPES)[number]

/** One version of a policy, compiled. */
export interface PolicyRef {
  readonly scope: Scope
  readonly id: string
  readonly version: number
  readonly sha256: string
  readonly compiled: CompiledPolicy
}

/** What people said, if the request names an approval; not a stage's own, so `decide` reads it. */
export type ApprovalFact = GrantFact

/** The facts of one decision, by stage. What is not there is missing, and a missing fact denies. */
export interface Facts {
  /** The kill switches that are active for the agent (`compileKills`). Required, so that nobody can forget them. */
  readonly kill: readonly ActiveKill[]
  readonly rules?: RulesFacts
  readonly approval?: ApprovalFact
}

/** A finding and who says so. */
export interface StagedFinding extends Finding {
  readonly stage: StageName
}

export interface RunInput {
  readonly request: CanonicalRequest
  readonly agent: AgentFacts
  readonly now: number
  readonly facts: Facts
  readonly explain: boolean
}

/** What one stage says about all policies; findings name their policy. */
export interface RunOutcome {
  readonly findings: StagedFinding[]
  readonly guards: Guard[]
  readonly near_misses: NearMiss[]
  /** What was thrown, for the log. */
  readonly failure?: unknown
}

/** A rule as the wire names it. */
export interface RuleName {
  readonly list: RuleList
  readonly index: number
  readonly action: string
  readonly resource: string | null
  /** Of an approval rule: the workflow it names. */
  readonly workflow: string | null
  /** Its conditions on the request as canonical JSON, if it has any. */
  readonly request: string | null
}

/** A stage, bound to the part of the policies and facts that it reads: what `decide` runs one after the other. */
export interface Runner {
  readonly name: StageName
  readonly version: number
  needs(policies: readonly PolicyRef[], request: CanonicalRequest, agent: AgentFacts): readonly FactQuery[]
  /** Never throws: a failure is a `stage_error` finding. Stops at the first deny unless `explain` is asked for. */
  run(policies: readonly PolicyRef[], input: RunInput): RunOutcome
  /** The rule a finding of this stage names, if it is a rule of a list. */
  rule(policy: PolicyRef, id: string): RuleName | null
}

const NO_QUERIES: readonly FactQuery[] = []
const NO_RULES_FACTS: RulesFacts = {}

/** A stage that reads each policy by itself, in the order organization → team → agent. */
export function perPolicy<Compiled, F extends Json>(
  stage: Stage<Compiled, F>,
  part: (policy: CompiledPolicy) => Compiled,
  factsOf: (facts: Facts) => F,
  options: {
    /** The rule of a list that a finding names. */
    readonly rule?: (compiled: Compiled, id: string) => RuleName | null
    /** Which denies end the run; all, unless said otherwise. */
    readonly stopsAt?: (deny: Finding) => boolean
  } = {},
): Runner {
  const { rule = () => null, stopsAt = () => true } = options
  return {
    name: stage.name,
    version: stage.version,
    rule: (policy, id) => rule(part(policy.compiled), id),
    needs(policies, request, agent) {
      let queries = NO_QUERIES
      for (const policy of policies) {
        const more = stage.needs(part(policy.compiled), request, agent)
        if (more.length > 0) queries = queries.length > 0 ? [...queries, ...more] : more
      }
      return queries
    },
    run(policies, { request, agent, now, facts, explain }) {
      const outcome: RunOutcome = { findings: [], guards: [], near_misses: [] }
      try {
        const input = { request, agent, now, facts: factsOf(facts) }
        for (const scope of SCOPES) {
          for (let i = 0; i < policies.length; i++) {
            const policy = policies[i]
            if (policy?.scope !== scope) continue
            const from = outcome.findings.length
            collect(stage, part(policy.compiled), input, i, explain, outcome)
            if (!explain && hasDeny(outcome.findings, from, stopsAt)) return outcome
          }
        }
        return outcome
      } catch (failure) {
        outcome.findings.push(stageError(stage.name, null))
        return { ...outcome, failure }
      }
    },
  }
}

type InputOf<C, F extends Json> = Parameters<Stage<C, F>['evaluate']>[1]

/** Adds what `stage` says about one policy to `outcome`. */
function collect<C, F extends Json>(
  stage: Stage<C, F>,
  compiled: C,
  input: InputOf<C, F>,
  policy: number,
  explain: boolean,
  outcome: RunOutcome,
): void {
  let said: StageOutcome
  if (explain && stage.explain) {
    const explanation = stage.explain(compiled, input)
    for (const miss of explanation.near_misses) outcome.near_misses.push({ ...miss, policy })
    said = explanation
  } else {
    said = stage.evaluate(compiled, input)
  }
  for (const { effect, code, reason, rule } of said.findings) {
    // Closed by default: a stage that oversteps, or an effect nobody knows, is a failure and denies.
    const finding = stage.may.includes(effect)
      ? { stage: stage.name, effect, code, reason, policy, rule }
      : stageError(stage.name, policy)
    outcome.findings.push(finding)
  }
  for (const guard of said.guards) outcome.guards.push(guard)
}

function hasDeny(findings: readonly Finding[], from: number, counts: (deny: Finding) => boolean): boolean {
  for (let i = from; i < findings.length; i++) {
    const finding = findings[i]
    if (finding?.effect === 'deny' && counts(finding)) return true
  }
  return false
}

function stageError(stage: StageName, policy: number | null): StagedFinding {
  return { stage, effect: 'deny', code: 'stage_error', reason: stageErrorReason(stage), policy, rule: '' }
}

const rulesOfEachPolicy = perPolicy(
  rulesStage,
  (policy) => policy.rules,
  (facts) => facts.rules ?? NO_RULES_FACTS,
  {
    rule(compiled, id) {
      const rule = ruleOf(compiled, id)
      return rule
        ? {
            list: rule.list,
            index: rule.index,
            action: rule.action,
            resource: rule.resource,
            workflow: rule.workflow,
            request: rule.request,
          }
        : null
    },
    stopsAt: (deny) => !isUndecidedAllow(deny),
  },
)

/** The `rules` stage over all policies, closed by default: it always has at least one finding. */
export const rulesRunner: Runner = {
  ...rulesOfEachPolicy,
  run(policies, input) {
    const outcome = rulesOfEachPolicy.run(policies, input)
    if (outcome.findings.length === 0) outcome.findings.push(noFinding(policies))
    return outcome.findings.some(isUndecidedAllow) ? settleUndecided(outcome, policies) : outcome
  },
}

/** What is found when no rule says anything. */
export function noFinding(policies: readonly PolicyRef[]): StagedFinding {
  return policies.length === 0
    ? { stage: 'rules', effect: 'deny', code: 'no_policy', reason: NO_POLICY_REASON, policy: null, rule: '' }
    : {
        stage: 'rules',
        effect: 'deny',
        code: 'default_deny',
        reason: DEFAULT_DENY_REASON,
        policy: null,
        rule: '',
      }
}

/**
 * An allow rule that could not be evaluated stands in for the default deny: it counts only if nothing else decides, in
 * the order of allow rules (agent → team → organization); otherwise it is a near miss.
 */
function settleUndecided(outcome: RunOutcome, policies: readonly PolicyRef[]): RunOutcome {
  const decided = outcome.findings.filter((finding) => !isUndecidedAllow(finding))
  if (decided.length === 0) {
    const findings = SCOPES.toReversed().flatMap((scope) =>
      outcome.findings.filter(({ policy }) => policy !== null && policies[policy]?.scope === scope),
    )
    return { ...outcome, findings }
  }
  const missed = outcome.findings.filter(isUndecidedAllow).map(({ policy, rule }): NearMiss => {
    const ref = policy === null ? undefined : policies[policy]
    const name = ref ? rulesOfEachPolicy.rule(ref, rule) : null
    return { policy, rule, action: name?.action ?? '', resource: name?.resource ?? null, missed: ['fact'] }
  })
  return { ...outcome, findings: decided, near_misses: [...outcome.near_misses, ...missed] }
}
