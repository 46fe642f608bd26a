import fc from 'fast-check'
import type { Result } from '../result.js'
import type { ActionReading } from './action.js'
import { compilePolicy, type CompiledPolicy } from './compile.js'
import { decide, type Decision, type PolicyRef, type Scope } from './decide.js'
import { compileAllowAction, compileDenyAction, compileResource, type Hint } from './pattern.js'
import { readRequest } from './request.js'
import { ENVIRONMENTS, type AgentFacts, type CanonicalRequest } from './stage.js'
import { candidates, indexRules } from './stages/rules-index.js'

interface Rule {
  action: string
  resource?: string
  conditions?: {
    env?: string
    day_of_week?: string
    time_range?: { start: string; end: string; tz?: string }
  }
}
interface Document {
  allow: Rule[]
  deny: Rule[]
  require_approval: Rule[]
}
interface Asked {
  request: CanonicalRequest
  agent: AgentFacts
  now: number
  tz: Record<string, number>
}

const WORDS = [
  'read',
  're',
  'ad',
  'file',
  'files',
  'fi',
  'le',
  'delete',
  'del',
  'ete',
  'all',
  'x',
  'readfile',
]
const WILD = ['*', 'read*', '*file', 'de*te', 'fi?e', '[rd]e*', 'f*', '?', '[!r]*', 're*']
const SEPARATORS = [':', ' ', '_', '-', '']
const RESOURCES = [
  'a',
  'a/b',
  'a/*',
  '*b',
  'A/%62',
  'a/../b/c',
  '*',
  '',
  '[ab]/*',
  'b/?',
  's3://a/b',
  's3://*',
]
const ASKED_RESOURCES = ['a', 'a/b', 'A/%62', 'a/../b/c', 'b/c', 's3://a/b', 's3://a/./b', 'a//b']
const START = Date.UTC(2025, 0, 6)
const WEEK = 7 * 86_400_000
const ZONE = 'Europe/Berlin'

const pick = <T>(values: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...values)

const actionOf = (words: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc
    .tuple(fc.array(fc.tuple(words, pick(SEPARATORS)), { minLength: 1, maxLength: 3 }), fc.boolean())
    .map(([parts, capital]) =>
      parts
        .map(
          ([word, separator]) => (capital ? word.charAt(0).toUpperCase() + word.slice(1) : word) + separator,
        )
        .join(''),
    )

const conditions = fc.record(
  {
    env: pick(['dev', 'stage', 'production']),
    day_of_week: pick(['Mon', 'sunday', 'Wed']),
    time_range: fc.record(
      {
        start: pick(['00:00', '09:00', '22:00']),
        end: pick(['06:00', '12:00', '23:59']),
        tz: pick(['UTC', ZONE]),
      },
      { requiredKeys: ['start', 'end'] },
    ),
  },
  { requiredKeys: [] },
)

const rule: fc.Arbitrary<Rule> = fc
  .record(
    {
      action: actionOf(fc.oneof({ arbitrary: pick(WORDS), weight: 5 }, pick(WILD))),
      resource: fc.option(pick(RESOURCES), { nil: undefined }),
      conditions: fc.option(conditions, { nil: undefined, freq: 4 }),
    },
    { requiredKeys: ['action'] },
  )
  .filter(({ action }) => compileAllowAction(action).ok && compileDenyAction(action).ok)

const document: fc.Arbitrary<Document> = fc.record({
  allow: fc.array(rule, { maxLength: 10 }),
  deny: fc.array(rule, { maxLength: 5 }),
  require_approval: fc.array(rule, { maxLength: 5 }),
})

const asked: fc.Arbitrary<Asked> = fc
  .record({
    action: actionOf(pick(WORDS)),
    resource: fc.option(pick(ASKED_RESOURCES), { nil: undefined }),
    environment: pick(ENVIRONMENTS),
    now: fc.integer({ min: START, max: START + WEEK }),
    offset: pick([60, 120, null]),
  })
  .map(({ action, resource, environment, now, offset }) => {
    const request = readRequest({ action, resource })
    if (!request.ok) throw new Error(JSON.stringify(request.errors))
    const agent = { agent_id: 'agt_1', environment, team: null }
    const tz: Record<string, number> = offset === null ? {} : { [ZONE]: offset }
    return { request: request.value, agent, now, tz }
  })

function compile(source: unknown): CompiledPolicy {
  const compiled = compilePolicy(source, { isZone: (name) => name === ZONE })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.errors))
  return compiled.value
}

const refOf = (compiled: CompiledPolicy, scope: Scope = 'agent'): PolicyRef => ({
  scope,
  id: 'pol_1',
  version: 1,
  sha256: '',
  compiled,
})

const decideOver = (policies: PolicyRef[], { request, agent, now, tz }: Asked, explain = false): Decision =>
  decide(policies, request, agent, now, { kill: [], rules: { tz } }, { explain })

/** Compiles each text once: the plain scan meets the same few patterns again and again. */
function once<T>(compileText: (text: string) => Result<T, string>): (text: string) => T {
  const made = new Map<string, T>()
  return (text) => {
    const known = made.get(text)
    if (known !== undefined) return known
    const compiled = compileText(text)
    if (!compiled.ok) throw new Error(compiled.errors)
    made.set(text, compiled.value)
    return compiled.value
  }
}

const allowMatcher = once(compileAllowAction)
const denyMatcher = once(compileDenyAction)
const resourceMatcher = once(compileResource)

/** The plain reading of the rules: every rule of every list in turn, nothing shared with the code but the matchers. */
function scan(rules: Document, question: Asked): { effect: string; code: string; rule: string | null } {
  for (const list of ['deny', 'require_approval', 'allow'] as const) {
    const hits = rules[list].map((rule) => scanRule(rule, list !== 'allow', question))
    if (list === 'allow') {
      const first = hits.indexOf(true)
      if (first >= 0) return { effect: 'allow', code: 'allow_rule', rule: `allow/${first}` }
      const unknown = hits.indexOf(null)
      if (unknown >= 0) return { effect: 'deny', code: 'fact_missing', rule: `allow/${unknown}` }
      continue
    }
    const first = hits.findIndex((hit) => (list === 'deny' ? hit !== false : hit === null))
    if (first >= 0) {
      const code = hits[first] === null ? 'fact_missing' : 'deny_rule'
      return { effect: 'deny', code, rule: `${list}/${first}` }
    }
    const pending = hits.indexOf(true)
    if (pending >= 0) return { effect: 'pending', code: 'approval_rule', rule: `${list}/${pending}` }
  }
  return { effect: 'deny', code: 'default_deny', rule: null }
}

/** null: cannot be told. */
function scanRule(rule: Rule, wide: boolean, { request, agent, now, tz }: Asked): boolean | null {
  if (!(wide ? denyMatcher(rule.action) : allowMatcher(rule.action)).matches(request.action)) return false
  if (rule.resource !== undefined && rule.resource !== '' && rule.resource !== '*') {
    const resource = resourceMatcher(rule.resource)
    if (request.resource === null) {
      if (!wide) return false
    } else {
      const forms = [request.resource.sent, request.resource.canonical].map((form) => resource.matches(form))
      if (wide ? !forms.includes(true) : forms.includes(false)) return false
    }
  }
  const { env, day_of_week: day, time_range: range } = rule.conditions ?? {}
  if (env !== undefined && env.slice(0, 3) !== agent.environment.slice(0, 3)) return false
  if (day === undefined && range === undefined) return true
  const offset = range?.tz === ZONE ? tz[ZONE] : 0
  if (offset === undefined) return null
  const local = new Date(now + offset * 60_000).toISOString()
  const clock = local.slice(11, 16)
  if (range && range.start <= range.end && (clock < range.start || clock > range.end)) return false
  if (range && range.start > range.end && clock < range.start && clock > range.end) return false
  const weekday = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'][new Date(local).getUTCDay()]
  return day === undefined || day.slice(0, 3).toLowerCase() === weekday
}

const shown = ({ effect, code, matched_rule: matched }: Decision): ReturnType<typeof scan> => ({
  effect,
  code,
  rule: matched && `${matched.list}/${matched.index}`,
})

/** Samples of policies with questions to each; the same every time, so that a count of mismatches can be asserted. */
const samples = fc.sample(fc.tuple(document, fc.array(asked, { minLength: 50, maxLength: 50 })), {
  numRuns: 2000,
  seed: 20250106,
})

describe('the index of the rules', () => {
  const mismatches = (change: (compiled: CompiledPolicy) => CompiledPolicy, from = samples): number => {
    let count = 0
    for (const [source, questions] of from) {
      const policies = [refOf(change(compile(source)))]
      for (const question of questions) {
        const got = shown(decideOver(policies, question))
        const want = scan(source, question)
        if (got.effect !== want.effect || got.code !== want.code || got.rule !== want.rule) count++
      }
    }
    return count
  }

  it('agrees with a plain scan of all rules on 100,000 random questions', () => {
    expect(samples.reduce((sum, [, questions]) => sum + questions.length, 0)).toBe(100_000)
    expect(mismatches((compiled) => compiled)).toBe(0)
  })

  it('the questions meet every outcome often', () => {
    const outcomes = new Map<string, number>()
    for (const [source, questions] of samples.slice(0, 200)) {
      for (const question of questions) {
        const { code } = scan(source, question)
        outcomes.set(code, (outcomes.get(code) ?? 0) + 1)
      }
    }
    for (const code of ['allow_rule', 'deny_rule', 'approval_rule', 'default_deny', 'fact_missing']) {
      expect(outcomes.get(code)).toBeGreaterThan(50)
    }
  })

  type Index = CompiledPolicy['rules']['lists']['deny']
  const broken =
    (change: (index: Index) => Index) =>
    (compiled: CompiledPolicy): CompiledPolicy => {
      const { allow, deny, require_approval } = compiled.rules.lists
      const lists = { allow: change(allow), deny: change(deny), require_approval: change(require_approval) }
      return { rules: { ...compiled.rules, lists } }
    }

  it.each<[string, (index: Index) => Index]>([
    ['keys are not looked up', (index) => ({ ...index, byKey: new Map() })],
    ['verbs are not looked up', (index) => ({ ...index, byVerb: new Map() })],
    ['prefixes are not looked up', (index) => ({ ...index, byPrefix: new Map() })],
    ['bare verbs are not looked up', (index) => ({ ...index, byBareVerb: new Map() })],
    [
      'the longest prefixes are not looked up',
      (index) => ({ ...index, prefixLengths: index.prefixLengths.subarray(0, 5) }),
    ],
    ['the rest is left out', (index) => ({ ...index, rest: [] })],
    ['the rest is visited backwards', (index) => ({ ...index, rest: index.rest.toReversed() })],
  ])('control: a broken lookup is noticed when %s', (_, change) => {
    expect(mismatches(broken(change), samples.slice(0, 300))).toBeGreaterThan(3)
  })

  const entry = (index: number, hint: Hint): { index: number; hint: Hint } => ({ index, hint })
  const action = (text: string): ActionReading => {
    const request = readRequest({ action: text })
    if (!request.ok) throw new Error('unreadable')
    return request.value.action
  }

  it('gives every rule that a hint lets through, in list order, each once', () => {
    const hint = fc.oneof(
      pick(WORDS).map((prefix): Hint => ({ kind: 'prefix', prefix, verb: null })),
      fc.tuple(pick(WORDS), pick(WORDS)).map(([a, b]): Hint => ({ kind: 'prefix', prefix: a + b, verb: a })),
      pick(WORDS).map((verb): Hint => ({ kind: 'verb', verb })),
      fc.tuple(pick(WORDS), pick(WORDS)).map(([a, b]): Hint => ({ kind: 'key', key: `${a}:${b}` })),
      fc.constant<Hint>({ kind: 'any' }),
    )
    const passes = (hint: Hint, { key, words, letters }: ActionReading): boolean => {
      if (hint.kind === 'key') return hint.key === key
      if (hint.kind === 'verb') return hint.verb === words[0]
      return hint.kind === 'any' || letters === hint.verb || letters.startsWith(hint.prefix)
    }
    fc.assert(
      fc.property(fc.array(hint, { maxLength: 40 }), actionOf(pick(WORDS)), (hints, text) => {
        const reading = action(text)
        const found = candidates(indexRules(hints.map((hint, index) => entry(index, hint))), reading)
        const indexes = found.map(({ index }) => index)
        expect(indexes).toEqual([...new Set(indexes)].toSorted((a, b) => a - b))
        const wanted = hints.flatMap((hint, index) => (passes(hint, reading) ? [index] : []))
        expect(indexes).toEqual(expect.arrayContaining(wanted))
      }),
      { numRuns: 1000 },
    )
  })

  it('leaves few of 1,000 ordinary rules to try', () => {
    const source = Array.from({ length: 1000 }, (_, i) => ({ action: `verb${i % 100}:noun_${i}` }))
    const { allow, deny } = compile({ allow: source, deny: source }).rules.lists
    expect(candidates(allow, action('verb7:noun_107')).length).toBe(1)
    expect(candidates(deny, action('verb7:noun_107')).length).toBe(1)
    expect(candidates(deny, action('read:file')).length).toBe(0)
  })
})

describe('what holds for every policy and every question', () => {
  const STRICTNESS = { allow: 0, pending: 1, deny: 2 }
  const check = (property: (source: Document, question: Asked, extra: Rule) => void): void =>
    fc.assert(fc.property(document, asked, rule, property), { numRuns: 1000 })
  const over = (source: Document, question: Asked): Decision => decideOver([refOf(compile(source))], question)

  it('deny overrides: a deny rule of the very action denies whatever else there is', () => {
    check((source, question) => {
      const deny = [...source.deny, { action: question.request.action.key }]
      expect(over({ ...source, deny }, question).effect).toBe('deny')
    })
  })

  it('a rule allows only where the same rule would also deny', () => {
    check((_, question, extra) => {
      const allowed = over({ allow: [extra], deny: [], require_approval: [] }, question)
      const denied = over({ allow: [], deny: [extra], require_approval: [] }, question)
      if (allowed.effect === 'allow') expect(denied.code).toBe('deny_rule')
    })
  })

  it('the order of rules within a list does not change the effect', () => {
    fc.assert(
      fc.property(
        document,
        asked,
        fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
        (source, question, order) => {
          const shuffle = (rules: Rule[]): Rule[] =>
            rules
              .map((rule) => ({ rule, at: order.next().value ?? 0 }))
              .sort((a, b) => a.at - b.at)
              .map(({ rule }) => rule)
          const shuffled = {
            allow: shuffle(source.allow),
            deny: shuffle(source.deny),
            require_approval: shuffle(source.require_approval),
          }
          expect(over(shuffled, question).effect).toBe(over(source, question).effect)
        },
      ),
      { numRuns: 1000 },
    )
  })

  it('one more deny or approval rule never makes the answer less strict, one more allow rule never stricter', () => {
    check((source, question, extra) => {
      const strictness = (changed: Document): number => STRICTNESS[over(changed, question).effect]
      const before = strictness(source)
      expect(strictness({ ...source, deny: [...source.deny, extra] })).toBeGreaterThanOrEqual(before)
      expect(strictness({ ...source, allow: [...source.allow, extra] })).toBeLessThanOrEqual(before)
      const asking = strictness({ ...source, require_approval: [...source.require_approval, extra] })
      // An approval rule may turn a default deny into a question to a person, never anything into an allow.
      expect(asking).toBeGreaterThanOrEqual(Math.min(before, STRICTNESS.pending))
    })
  })

  it('rules decide the same in one policy and spread over organization, team and agent', () => {
    fc.assert(
      fc.property(document, document, document, asked, (organization, team, own, question) => {
        const all = [organization, team, own]
        const joined = {
          allow: all.flatMap(({ allow }) => allow),
          deny: all.flatMap(({ deny }) => deny),
          require_approval: all.flatMap(({ require_approval }) => require_approval),
        }
        const spread = [
          refOf(compile(own), 'agent'),
          refOf(compile(organization), 'organization'),
          refOf(compile(team), 'team'),
        ]
        expect(decideOver(spread, question).effect).toBe(over(joined, question).effect)
      }),
      { numRuns: 1000 },
    )
  })

  it('explain says more, and decides the same', () => {
    fc.assert(
      fc.property(document, document, asked, (organization, own, question) => {
        const policies = [refOf(compile(organization), 'organization'), refOf(compile(own), 'agent')]
        const plain = decideOver(policies, question)
        const { near_misses, findings, ...explained } = decideOver(policies, question, true)
        expect({ ...explained, findings: plain.findings }).toEqual(plain)
        expect(findings).toEqual(expect.arrayContaining([...plain.findings]))
        expect(near_misses).toBeDefined()
      }),
      { numRuns: 1000 },
    )
  })
})
