import { canonicalize, type Json } from '../../ledger/canonical.js'
import { err, ok, type Result } from '../../result.js'
import { factMissingReason, matchedReason, RULE_LISTS, type RuleList } from '../codes.js'
import type { ActionMatcher, Hint, ResourceMatcher } from '../pattern.js'
import type { ResourceReading } from '../resource.js'
import type {
  CanonicalRequest,
  CompileEnv,
  CompileError,
  Effect,
  Explanation,
  FactQuery,
  Finding,
  Miss,
  NearMiss,
  Stage,
  StageInput,
  StageOutcome,
} from '../stage.js'
import { compileConditions, failedParts, holds, type CompiledConditions, type Verdict } from './conditions.js'
import { failedTests, requestHolds } from './request-conditions.js'
import { readDocument, type Rule } from './rules-document.js'
import { candidates, indexRules, type RuleIndex } from './rules-index.js'
import { allowActions, denyActions, resources } from './shared-matchers.js'

/**
 * A rule ready to decide with. A worker holds a hundred thousand of them, so it has one place for each thing that only
 * this rule knows: matchers and texts are those of all rules that say the same, and what is found when the rule matches
 * is made when it first does, which for most never happens.
 */
export class CompiledRule {
  private finding: Finding | null = null

  constructor(
    readonly list: RuleList,
    readonly index: number,
    /** As typed, like `resource`. */
    readonly action: string,
    readonly resource: string | null,
    readonly actionMatcher: ActionMatcher,
    /** null: any resource, also none. */
    readonly resourceMatcher: ResourceMatcher | null,
    readonly conditions: CompiledConditions | null,
    /** Of an approval rule: how people decide; null: as the organization does by default. */
    readonly workflow: string | null,
    /** Its conditions on the request as canonical JSON: part of what names it where people are asked. */
    readonly request: string | null,
  ) {}

  /** `deny/3`: how a finding names the rule. */
  get id(): string {
    return ruleId(this.list, this.index)
  }

  get hint(): Hint {
    return this.actionMatcher.hint
  }

  /** Made once, so that deciding allocates nothing for it. */
  get matched(): Finding {
    this.finding ??= {
      effect: EFFECTS[this.list],
      code: CODES_BY_LIST[this.list],
      reason: matchedReason(this.list, this.action, this.resource),
      policy: null,
      rule: this.id,
    }
    return this.finding
  }
}

const IDS: Readonly<Record<RuleList, string[]>> = { allow: [], deny: [], require_approval: [] }

/** Every policy has an `allow/0`: one text for all of them. */
function ruleId(list: RuleList, index: number): string {
  return (IDS[list][index] ??= `${list}/${index}`)
}

export interface CompiledRules {
  readonly lists: Readonly<Record<RuleList, RuleIndex<CompiledRule>>>
  /** Rules in all lists. */
  readonly count: number
  /** Rules whose conditions need the offset of a zone; empty for most policies. */
  readonly zoned: readonly CompiledRule[]
  /** What only the service decides; says nothing about what it decides. Empty for most policies. */
  readonly online: readonly ActionMatcher[]
}

/** Zone offsets at `now`, in minutes east of UTC, such as `{ tz: { 'Europe/Berlin': 60 } }`. */
export type RulesFacts = { readonly tz?: { readonly [zone: string]: number } }

const EFFECTS: Readonly<Record<RuleList, Effect>> = {
  allow: 'allow',
  deny: 'deny',
  require_approval: 'pending',
}
const CODES_BY_LIST = { allow: 'allow_rule', deny: 'deny_rule', require_approval: 'approval_rule' } as const
const NO_QUERIES: readonly FactQuery[] = []
const NONE: readonly never[] = []
const NOTHING: StageOutcome = { findings: [], guards: [] }

/**
 * The allow, deny and require_approval lists of a policy (rows AG-30..37, C4): deny, else require approval, else allow.
 * Within a list the first rule that matches is the one found; of the approval rules all are, because a person's grant
 * lifts only the findings it names.
 *
 * A condition that cannot be evaluated denies (`fact_missing`) where the action and resource of a deny or approval
 * rule match. An allow rule then merely does not allow; its `fact_missing` counts only if nothing else decides.
 *
 * Still version 1 with `conditions.request`, as it was with workflows and `require_online`: no document that was
 * compiled before could hold it (unknown members are refused), so every entry of version 1 comes out as it did. A
 * program from before refuses such a document, and with it the bundle or the replay; it never decides without it.
 */
export const rulesStage: Stage<CompiledRules, RulesFacts> = {
  name: 'rules',
  version: 1,
  may: ['allow', 'pending', 'deny'],
  compile: compileRules,
  needs: zonesNeeded,
  evaluate: evaluateRules,
  explain: explainRules,
}

/** Whether a finding only says that an allow rule could not be evaluated: any allow or pending finding outranks it. */
export function isUndecidedAllow(finding: Finding): boolean {
  return finding.code === 'fact_missing' && finding.rule.startsWith('allow/')
}

function compileRules(source: unknown, env: CompileEnv): Result<CompiledRules, CompileError[]> {
  const rules: Record<RuleList, CompiledRule[]> = { allow: [], deny: [], require_approval: [] }
  const document = readDocument(source, env, (list, index, rule, report) => {
    const compiled = compileRule(list, index, rule, report)
    if (compiled) rules[list].push(compiled)
  })
  if (!document.ok) return err(document.errors)
  const all = RULE_LISTS.flatMap((list) => rules[list])
  const zoned = all.filter((rule) => rule.conditions !== null && rule.conditions.zone !== null)
  // As widely as a deny: whoever writes `send:*` means every spelling of it.
  const online = (document.value.require_online ?? []).flatMap((pattern) => {
    const shared = denyActions.of(pattern)
    return shared.ok ? [shared.value.matcher] : []
  })
  return ok({
    lists: {
      allow: indexRules(rules.allow),
      deny: indexRules(rules.deny),
      require_approval: indexRules(rules.require_approval),
    },
    count: all.length,
    zoned: zoned.length > 0 ? zoned : NONE,
    online: online.length > 0 ? online : NONE,
  })
}

/** The rule that a finding of this policy names. */
export function ruleOf({ lists }: CompiledRules, id: string): CompiledRule | null {
  for (const list of RULE_LISTS) {
    if (!id.startsWith(list)) continue
    const rule = lists[list].rules[Number(id.slice(list.length + 1))]
    if (rule?.id === id) return rule
  }
  return null
}

function compileRule(
  list: RuleList,
  index: number,
  rule: Rule,
  report: (member: 'action' | 'resource', message: string) => void,
): CompiledRule | null {
  const resource = rule.resource ?? null
  const action = (list === 'allow' ? allowActions : denyActions).of(rule.action)
  if (!action.ok) report('action', action.errors)
  const matcher = resource === null || resource === '' || resource === '*' ? ok(null) : resources.of(resource)
  if (!matcher.ok) report('resource', matcher.errors)
  if (!action.ok || !matcher.ok) return null
  return new CompiledRule(
    list,
    index,
    action.value.source,
    matcher.value?.source ?? resource,
    action.value.matcher,
    matcher.value?.matcher ?? null,
    compileConditions(rule.conditions),
    rule.workflow ?? null,
    rule.conditions?.request ? canonicalize(rule.conditions.request as Json) : null,
  )
}

function zonesNeeded(compiled: CompiledRules, request: CanonicalRequest): readonly FactQuery[] {
  if (compiled.zoned.length === 0) return NO_QUERIES
  const zones = new Set<string>()
  for (const rule of compiled.zoned) {
    const zone = rule.conditions?.zone
    if (typeof zone !== 'string' || zones.has(zone)) continue
    if (rule.actionMatcher.matches(request.action) && resourceMatches(rule, request.resource)) zones.add(zone)
  }
  return Array.from(zones, (zone) => ({ stage: 'rules', kind: 'tz', zone }))
}

function evaluateRules(compiled: CompiledRules, input: StageInput<RulesFacts>): StageOutcome {
  const { lists } = compiled
  const deny = firstFinding(lists.deny, input)
  if (deny) return { findings: [deny], guards: [] }
  const pending = allFindings(lists.require_approval, input)
  if (pending.length > 0) return { findings: pending, guards: [] }
  const allow = firstAllow(lists.allow, input)
  return allow ? { findings: [allow], guards: [] } : NOTHING
}

function firstFinding(index: RuleIndex<CompiledRule>, input: StageInput<RulesFacts>): Finding | null {
  for (const rule of candidates(index, input.request.action)) {
    const finding = findingOf(rule, input)
    if (finding) return finding
  }
  return null
}

function allFindings(index: RuleIndex<CompiledRule>, input: StageInput<RulesFacts>): readonly Finding[] {
  let findings: Finding[] | null = null
  for (const rule of candidates(index, input.request.action)) {
    const finding = findingOf(rule, input)
    if (finding && findings) findings.push(finding)
    else if (finding) findings = [finding]
  }
  return findings ?? NOTHING.findings
}

function firstAllow(index: RuleIndex<CompiledRule>, input: StageInput<RulesFacts>): Finding | null {
  let undecided: Finding | null = null
  for (const rule of candidates(index, input.request.action)) {
    const finding = findingOf(rule, input)
    if (finding?.effect === 'allow') return finding
    undecided ??= finding
  }
  return undecided
}

function findingOf(rule: CompiledRule, input: StageInput<RulesFacts>): Finding | null {
  if (!rule.actionMatcher.matches(input.request.action)) return null
  if (!resourceMatches(rule, input.request.resource)) return null
  const verdict = conditionsHold(rule, input)
  if (verdict === 'yes') return rule.matched
  return verdict === 'no' ? null : factMissing(rule)
}

/** An allow must match both forms of the resource, a deny or approval either; a missing one is any to these. */
function resourceMatches(rule: CompiledRule, resource: ResourceReading | null): boolean {
  const matcher = rule.resourceMatcher
  if (matcher === null) return true
  const wide = isWide(rule)
  if (resource === null) return wide
  const sent = matcher.matches(resource.sent)
  if (sent === wide || resource.sent === resource.canonical) return sent
  return matcher.matches(resource.canonical)
}

/** Deny and approval rules are read widely, allow rules narrowly (normalisation.md). */
const isWide = ({ list }: CompiledRule): boolean => list !== 'allow'

function conditionsHold(rule: CompiledRule, input: StageInput<RulesFacts>): Verdict {
  const { conditions } = rule
  if (conditions === null) return 'yes'
  const verdict = holds(conditions, input.agent.environment, input.now, input.facts.tz)
  if (verdict === 'no' || conditions.request === null) return verdict
  return requestHolds(conditions.request, input.request, isWide(rule)) ? verdict : 'no'
}

function factMissing(rule: CompiledRule): Finding {
  const reason = factMissingReason(rule.list, rule.action, rule.resource)
  return { effect: 'deny', code: 'fact_missing', reason, policy: null, rule: rule.id }
}

function explainRules(compiled: CompiledRules, input: StageInput<RulesFacts>): Explanation {
  const findings: Finding[] = []
  const nearMisses: NearMiss[] = []
  for (const list of RULE_LISTS) {
    for (const rule of compiled.lists[list].rules) {
      if (!rule.actionMatcher.matches(input.request.action)) continue
      const finding = findingOf(rule, input)
      if (finding) findings.push(finding)
      else nearMisses.push(nearMissOf(rule, input))
    }
  }
  return { findings, guards: [], near_misses: nearMisses }
}

function nearMissOf(rule: CompiledRule, input: StageInput<RulesFacts>): NearMiss {
  const missed: Miss[] = []
  if (!resourceMatches(rule, input.request.resource)) missed.push('resource')
  if (rule.conditions) {
    missed.push(...failedParts(rule.conditions, input.agent.environment, input.now, input.facts.tz))
    missed.push(...failedTests(rule.conditions.request ?? [], input.request, isWide(rule)))
  }
  return { policy: null, rule: rule.id, action: rule.action, resource: rule.resource, missed }
}
