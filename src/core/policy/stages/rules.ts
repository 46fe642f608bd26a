import { canonicalize, type Json } from '../../ledger/canonical.js'
import { err, ok, type Result } from '../../result.js'
import { factMissingReason, matchedReason, RULE_LISTS, type RuleList } from '../codes.js'
import {
  compileAllowAction,
  compileDenyAction,
  compileResource,
  type ActionMatcher,
  type Hint,
  type ResourceMatcher,
} from '../pattern.js'
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

export interface CompiledRule {
  readonly list: RuleList
  readonly index: number
  /** `deny/3`: how a finding names the rule. */
  readonly id: string
  /** As typed, like `resource`. */
  readonly action: string
  readonly resource: string | null
  readonly hint: Hint
  readonly actionMatcher: ActionMatcher
  /** null: any resource, also none. */
  readonly resourceMatcher: ResourceMatcher | null
  readonly conditions: CompiledConditions | null
  /** Of an approval rule: how people decide; null: as the organization does by default. */
  readonly workflow: string | null
  /** Its conditions on the request as canonical JSON: part of what names it where people are asked. */
  readonly request: string | null
  /** Made once, so that deciding allocates nothing for it. */
  readonly matched: Finding
}

export interface CompiledRules {
  readonly lists: Readonly<Record<RuleList, RuleIndex<CompiledRule>>>
  readonly byId: ReadonlyMap<string, CompiledRule>
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
  return ok({
    lists: {
      allow: indexRules(rules.allow),
      deny: indexRules(rules.deny),
      require_approval: indexRules(rules.require_approval),
    },
    byId: new Map(all.map((rule) => [rule.id, rule])),
    zoned: all.filter((rule) => rule.conditions !== null && rule.conditions.zone !== null),
    // As widely as a deny: whoever writes `send:*` means every spelling of it.
    online: (document.value.require_online ?? []).flatMap((pattern) => {
      const matcher = compileDenyAction(pattern)
      return matcher.ok ? [matcher.value] : []
    }),
  })
}

function compileRule(
  list: RuleList,
  index: number,
  rule: Rule,
  report: (member: 'action' | 'resource', message: string) => void,
): CompiledRule | null {
  const resource = rule.resource ?? null
  const action = list === 'allow' ? compileAllowAction(rule.action) : compileDenyAction(rule.action)
  if (!action.ok) report('action', action.errors)
  const matcher =
    resource === null || resource === '' || resource === '*' ? ok(null) : compileResource(resource)
  if (!matcher.ok) report('resource', matcher.errors)
  if (!action.ok || !matcher.ok) return null
  const id = `${list}/${index}`
  return {
    list,
    index,
    id,
    action: rule.action,
    resource,
    hint: action.value.hint,
    actionMatcher: action.value,
    resourceMatcher: matcher.value,
    conditions: compileConditions(rule.conditions),
    workflow: rule.workflow ?? null,
    request: rule.conditions?.request ? canonicalize(rule.conditions.request as Json) : null,
    matched: {
      effect: EFFECTS[list],
      code: CODES_BY_LIST[list],
      reason: matchedReason(list, rule.action, resource),
      policy: null,
      rule: id,
    },
  }
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
