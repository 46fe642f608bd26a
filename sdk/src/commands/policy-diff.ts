import {
  canonicalDocument,
  compilePolicy,
  type PolicyDocument,
  type Rule,
} from '../../../src/core/policy/compile.js'
import { RULE_LISTS, type RuleList } from '../../../src/core/policy/codes.js'
import { isZone } from '../../../src/platform/clock/zones.js'
import { UsageError } from '../usage.js'

/** `require_online` holds patterns of actions: each is shown as a rule that has nothing else. */
const DIFFED = [...RULE_LISTS, 'require_online'] as const

/** A rule that one document has and the other has not. */
export interface RuleChange {
  readonly change: 'add' | 'remove'
  readonly list: RuleList | 'require_online'
  readonly rule: Rule
}

/** Compiles as the service does. @throws UsageError with every mistake and its path */
export function readPolicy(source: unknown, shown: string): PolicyDocument {
  const compiled = compilePolicy(source, { isZone })
  if (!compiled.ok) {
    const mistakes = compiled.errors.map(({ path, message }) => `${path || '(document)'}: ${message}`)
    throw new UsageError(`${shown} is not a policy. ${mistakes.join('; ')}`)
  }
  // The form in which the service stores and hashes it.
  return canonicalDocument(source) as unknown as PolicyDocument
}

/** Rule by rule; the order within a list decides nothing and is not compared. */
export function diffPolicies(from: PolicyDocument | null, to: PolicyDocument): RuleChange[] {
  return DIFFED.flatMap((list) => {
    const [before, after] = [counted(rulesOf(from, list)), counted(rulesOf(to, list))]
    return [
      ...missing(before, after).map((rule) => ({ change: 'remove' as const, list, rule })),
      ...missing(after, before).map((rule) => ({ change: 'add' as const, list, rule })),
    ]
  })
}

const rulesOf = (document: PolicyDocument | null, list: RuleChange['list']): readonly Rule[] =>
  list === 'require_online'
    ? (document?.require_online ?? []).map((action) => ({ action }))
    : (document?.[list] ?? [])

type Counted = Map<string, { rule: Rule; count: number }>

function counted(rules: readonly Rule[]): Counted {
  const all: Counted = new Map()
  for (const rule of rules) {
    const key = textOf(rule)
    all.set(key, { rule, count: (all.get(key)?.count ?? 0) + 1 })
  }
  return all
}

const missing = (from: Counted, to: Counted): Rule[] =>
  [...from].flatMap(([key, { rule, count }]) =>
    Array.from({ length: Math.max(0, count - (to.get(key)?.count ?? 0)) }, () => rule),
  )

/** The same text for the same rule, whatever order its members were typed in. */
function textOf(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(textOf).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${textOf(member)}`).join(',')}}`
}

/** `+ allow  read:* on s3://docs/*`. */
export function changeLine({ change, list, rule }: RuleChange): string {
  const where = rule.resource === undefined || rule.resource === null ? '' : ` on ${rule.resource}`
  const when = rule.conditions ? ` when ${JSON.stringify(rule.conditions)}` : ''
  return `${change === 'add' ? '+' : '-'} ${list}: ${rule.action}${where}${when}`
}
