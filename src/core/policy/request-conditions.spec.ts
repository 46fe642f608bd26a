import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { canonicalDocument, compilePolicy } from './compile.js'
import { type Decision, decide, NO_FACTS, pendingRules, type PolicyRef } from './decide.js'
import { readRequest } from './request.js'
import type { AgentFacts, CanonicalRequest } from './stage.js'
import { compileRequest, requestHolds, type RequestConditions } from './stages/request-conditions.js'
import { MAX_POLICY_VALUES, MAX_REQUEST_TESTS, MAX_REQUEST_VALUES } from './stages/request-document.js'
import { foldName, foldText, type Scalar } from './stages/request-view.js'

const AGENT: AgentFacts = { agent_id: 'agt_1', environment: 'prod', team: 'ops' }
const env = { isZone: () => true }

const when = (request: unknown, list = 'allow') => ({ [list]: [{ action: 'act', conditions: { request } }] })

function ref(document: unknown): PolicyRef {
  const compiled = compilePolicy(document, env)
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.errors))
  return { scope: 'agent', id: 'pol_1', version: 1, sha256: '', compiled: compiled.value }
}

function asked(args: unknown, context?: unknown): CanonicalRequest {
  const read = readRequest({ action: 'act', arguments: args, context })
  if (!read.ok) throw new Error(JSON.stringify(read.errors))
  return read.value
}

/** What the rules of a document say of these arguments. */
const decided = (document: unknown, args: unknown, explain = false): Decision =>
  decide([ref(document)], asked(args), AGENT, 0, NO_FACTS, { explain })
const allows = (request: unknown, args: unknown): boolean => decided(when(request), args).effect === 'allow'
const denies = (request: unknown, args: unknown): boolean =>
  decided(when(request, 'deny'), args).code === 'deny_rule'

function mistakes(request: unknown): string[] {
  const compiled = compilePolicy(when(request), env)
  return compiled.ok
    ? []
    : compiled.errors.map(({ path }) => path.replace('allow[0].conditions.request', '~'))
}

const NAMES = ['a', 'A', 'user_id', 'userId', 'b', '0', 'toString', '']
const TEXTS = [
  'x',
  'X',
  'x ',
  'archived',
  'Archived',
  'arch-ived',
  '7',
  'true',
  '',
  '*',
  '1.0',
  '10',
  'ß',
  'SS',
]
const scalar = fc.oneof(
  fc.constantFrom(...TEXTS),
  fc.constantFrom(0, -0, 7, 10, -3.5, 1e300),
  fc.boolean(),
  fc.constant(null),
)
const name = fc.constantFrom(...NAMES)
const payload = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    scalar,
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(name, tie('value'), { maxKeys: 4 }),
  ),
}))
const args = fc.dictionary(name, payload.value, { maxKeys: 4 })
const values = fc.oneof(
  ...[fc.constantFrom(...TEXTS), fc.constantFrom(0, 7, 10, -3.5), fc.boolean()].map((one) =>
    fc
      .tuple(
        fc.array(one as fc.Arbitrary<string | number | boolean>, { minLength: 1, maxLength: 3 }),
        fc.boolean(),
      )
      .map(([list, isNull]) => (isNull ? [...list, null] : list)),
  ),
  fc.constant([null]),
)
const range = fc
  .tuple(fc.option(fc.integer({ min: -5, max: 8 }), { nil: undefined }), fc.integer({ min: 8, max: 12 }))
  .map(([min, max]) => (min === undefined ? { max } : { min, max }))
const test = fc.oneof(
  values,
  values.map((not_in) => ({ not_in })),
  range,
)
const pointer = fc
  .array(fc.constantFrom(...NAMES.filter((text) => text !== '')), { minLength: 1, maxLength: 3 })
  .map((names) => `/arguments/${names.join('/')}`)
const conditions = fc.dictionary(pointer, test, { minKeys: 1, maxKeys: 3 })

const parts = fc
  .record(
    { in: fc.constantFrom<Scalar[]>([7, 10], [0, null]), min: fc.integer({ min: 0, max: 8 }) },
    { requiredKeys: [] },
  )
  .filter((made) => Object.keys(made).length > 0)

/** Everything at a place, step by step over the request itself: nothing shared with the code but the folding of text. */
function everything(names: readonly string[], sent: unknown) {
  let here: unknown[] = [sent]
  let isUnclear = false
  let isOnlyWay = true
  for (const [step, name] of [...names.entries(), [names.length, ''] as const]) {
    let one = here
    while (one.some(Array.isArray))
      one = one.flatMap((value: unknown) => (Array.isArray(value) ? (value as unknown[]) : [value]))
    const isOnly: boolean = isOnlyWay && here.length === 1 && !Array.isArray(here[0])
    if (step === names.length) return { values: one, isUnclear, isOnlyWay, isOnly }
    isOnlyWay = isOnly
    isUnclear ||= one.some((value) => value !== null && typeof value !== 'object')
    here = one.flatMap((value) =>
      Object.entries(Object(value) as object)
        .filter(([key]) => typeof value === 'object' && foldName(key) === foldName(name))
        .map(([, member]) => member as unknown),
    )
  }
  throw new Error('unreachable')
}

function exactly(names: readonly string[], sent: unknown): unknown {
  let value = sent
  for (const name of names) {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, name))
      return undefined
    value = (value as Record<string, unknown>)[name]
  }
  return value
}

/** docs/policies.md as it stands there. */
function plainly(given: unknown, names: readonly string[], sent: unknown, wide: boolean): boolean {
  const { values: there, isUnclear, isOnlyWay, isOnly } = everything(names, sent)
  const exact = isOnly ? exactly(names, sent) : undefined
  const present = there.filter((value) => value !== null)
  const isOneOf = (list: readonly unknown[], widely: boolean): boolean => {
    if (!widely) return (exact === null || typeof exact !== 'object') && list.some((value) => value === exact)
    const missing =
      isUnclear ||
      !isOnlyWay ||
      (exactly(names, sent) ?? null) === null ||
      present.length === 0 ||
      there.includes(null)
    if (list.includes(null) && missing) return true
    const known = list.filter((value) => value !== null)
    if (known.length === 0) return false
    const folded = (value: unknown) => (typeof value === 'string' ? foldText(value) : value)
    return (
      isUnclear ||
      present.some(
        (value) => typeof value !== typeof known[0] || known.some((one) => folded(one) === folded(value)),
      )
    )
  }
  const isBetween = ({ min = -Infinity, max = Infinity }): boolean => {
    const inside = (value: unknown) => typeof value === 'number' && value >= min && value <= max
    if (!wide) return inside(exact)
    return isUnclear || present.some((value) => typeof value !== 'number' || inside(value))
  }
  if (Array.isArray(given)) return isOneOf(given, wide)
  const {
    in: within,
    not_in,
    ...range
  } = given as { in?: Scalar[]; not_in?: Scalar[]; min?: number; max?: number }
  if (within && !isOneOf(within, wide)) return false
  if (not_in && isOneOf(not_in, !wide)) return false
  return Object.keys(range).length === 0 || isBetween(range)
}

describe('what an allow rule reads narrowly and a deny rule widely', () => {
  it('never holds for an allow rule where it does not for a deny or an approval rule', () => {
    let both = 0
    let wideOnly = 0
    fc.assert(
      fc.property(conditions, args, (request, given) => {
        const [narrow, wide] = [allows(request, given), denies(request, given)]
        if (narrow) expect(wide).toBe(true)
        expect(decided(when(request, 'require_approval'), given).effect === 'pending').toBe(wide)
        both += Number(narrow)
        wideOnly += Number(wide && !narrow)
      }),
      { numRuns: 5000 },
    )
    // A control: the property is not held by rules that never hold, or by two readings that are the same.
    expect([both > 100, wideOnly > 100]).toEqual([true, true])
  })

  it('holds where the plain reading of docs/policies.md says so', () => {
    const outcomes = { allow: [0, 0], deny: [0, 0] }
    fc.assert(
      fc.property(pointer, fc.oneof(test, parts), args, (where, given, sent) => {
        const names = where.split('/').slice(2)
        for (const list of ['allow', 'deny'] as const) {
          const holds = plainly(given, names, sent, list === 'deny')
          expect(list === 'deny' ? denies({ [where]: given }, sent) : allows({ [where]: given }, sent)).toBe(
            holds,
          )
          outcomes[list][Number(holds)]! += 1
        }
      }),
      { numRuns: 5000 },
    )
    expect(Math.min(...outcomes.allow, ...outcomes.deny)).toBeGreaterThan(200)
  })

  it('not_in is the opposite of in as the other reading has it', () => {
    fc.assert(
      fc.property(pointer, values, args, (where, list, given) => {
        expect(allows({ [where]: { not_in: list } }, given)).toBe(!denies({ [where]: list }, given))
        expect(denies({ [where]: { not_in: list } }, given)).toBe(!allows({ [where]: list }, given))
      }),
      { numRuns: 3000 },
    )
  })

  const cased = (text: string, upper: readonly boolean[]): string =>
    Array.from(text, (char, i) => (upper[i % upper.length] ? char.toUpperCase() : char)).join('')
  const wrapped = (value: unknown, shape: number): unknown =>
    [value, [value], ['other', value], [[value]], { value }][shape]
  const respelled = fc
    .record({
      upper: fc.array(fc.boolean(), { minLength: 1, maxLength: 8 }),
      divider: fc.constantFrom('', ' ', '-', '_', '.', '\u200b', '\u00ad', '\t'),
      at: fc.nat(7),
      full: fc.boolean(),
      shape: fc.nat(4),
      inner: fc.boolean(),
    })
    .map(({ upper, divider, at, full, shape, inner }) => {
      const text = cased('archived', upper)
      const divided = `${text.slice(0, at)}${divider}${text.slice(at)}`
      const value = full
        ? divided.replace(/[a-z]/g, (c) => String.fromCharCode(c.charCodeAt(0) + 0xfee0))
        : divided
      const record = { [cased('status_code', upper)]: wrapped(value, shape) }
      return { record: inner ? [record] : record }
    })

  it('no respelling of what is sent escapes a deny; read narrowly it would, which is the control', () => {
    const request: RequestConditions = { '/arguments/record/status_code': ['archived'] }
    const tests = compileRequest(request) ?? []
    let escapes = 0
    fc.assert(
      fc.property(respelled, (given) => {
        expect(denies(request, given)).toBe(true)
        expect(allows({ '/arguments/record/status_code': { not_in: 'archived' } }, given)).toBe(false)
        if (!requestHolds(tests, asked(given), false)) escapes++
      }),
      { numRuns: 2000 },
    )
    expect(escapes).toBeGreaterThan(1000)
  })

  it('no second spelling beside the member makes an allow hold, whatever the tool would take', () => {
    for (const given of [
      { role: 'admin', Role: 'user' },
      { Role: 'user', role: 'admin' },
      { ROLE: null, role: 'admin' },
    ])
      expect([
        allows({ '/arguments/role': 'admin' }, given),
        allows({ '/arguments/role': 'admin' }, { role: 'admin' }),
      ]).toEqual([false, true])
    expect(allows({ '/arguments/a/role': 'admin' }, { a: { role: 'admin' }, A: {} })).toBe(false)
  })

  it('never throws, whatever is sent or asked for, and however deep', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (request, given) => {
        const compiled = compilePolicy(when(request), env)
        if (compiled.ok) expect(canonicalDocument(when(request))).toBeDefined()
        const read = readRequest({ action: 'act', arguments: given })
        if (read.ok) {
          const names = Object.keys(Object(given) as object).filter((text) => text !== '')
          const where = `/arguments/${(names[0] ?? 'x').replaceAll('~', '~0').replaceAll('/', '~1')}`
          for (const list of ['allow', 'deny'])
            expect(decided(when({ [where.slice(0, 256)]: 'x' }, list), given).code).not.toBe('stage_error')
        }
      }),
      { numRuns: 2000 },
    )
    // Deeper than any request that is read: nobody looks there, so a deny takes it for the worst.
    let deep: unknown = 'x'
    for (let i = 0; i < 100_000; i++) deep = [deep]
    const request = { ...asked(null), arguments: { a: deep } } as CanonicalRequest
    const holds = (wide: boolean) =>
      requestHolds(compileRequest({ '/arguments/a': 'y' }) ?? [], request, wide)
    expect([holds(true), holds(false)]).toEqual([true, false])
  })

  it('reads own members alone', () => {
    const inherited = Object.assign(Object.create({ status: 'open' }) as object, { other: 1 })
    expect(allows({ '/arguments/status': 'open' }, inherited)).toBe(false)
    const own = JSON.parse('{"__proto__": {"status": "open"}}') as object
    expect(allows({ '/arguments/__proto__/status': 'open' }, own)).toBe(true)
    expect(denies({ '/arguments/status': 'open' }, own)).toBe(false)
  })

  it('folds what nobody sees and what stands for the same letters', () => {
    expect(['Straße', 'STRASSE', 'ﬀ', 'ＦＦ', 'ΑΣ', 'ας', 'e\u0301', 'é'].map(foldText)).toEqual([
      'strasse',
      'strasse',
      'ff',
      'ff',
      'ας',
      'ας',
      'é',
      'é',
    ])
    expect(['user_id', 'userId', 'User-ID', ' user id'].map(foldName)).toEqual(Array(4).fill('userid'))
    expect(['_id', '@id', 'id'].map(foldName)).toEqual(['_id', '@id', 'id'])
  })
})

describe('conditions on the request that cannot be used', () => {
  it.each<[string, unknown, string[]]>([
    ['no object', 'x', ['~']],
    ['null', null, ['~']],
    ['a list', [], ['~']],
    ['nothing', {}, ['~']],
    [
      'too many places',
      Object.fromEntries(Array.from({ length: MAX_REQUEST_TESTS + 1 }, (_, i) => [`/arguments/a${i}`, 1])),
      ['~'],
    ],
    ['dots instead of slashes', { 'arguments.status': 1 }, ['~.arguments.status']],
    ['all arguments', { '/arguments': 1 }, ['~./arguments']],
    ['an empty name', { '/arguments/': 1, '/arguments//a': 1 }, ['~./arguments/', '~./arguments//a']],
    ['another part', { '/action/name': 1, '/Arguments/a': 1 }, ['~./action/name', '~./Arguments/a']],
    [
      'an escape that is none',
      { '/arguments/a~2': 1, '/arguments/a~': 1 },
      ['~./arguments/a~2', '~./arguments/a~'],
    ],
    ['half a character', { '/arguments/\ud800': 1 }, ['~./arguments/\ud800']],
    ['a long place', { [`/arguments/${'a'.repeat(250)}`]: 1 }, [`~./arguments/${'a'.repeat(53)}`]],
    [
      'the trace',
      { '/context/trace/id': 1, '/context/Trace': 1 },
      ['~./context/trace/id', '~./context/Trace'],
    ],
    ['__proto__', JSON.parse('{"__proto__": 1}'), ['~.__proto__']],
    ['an object of values', { '/arguments/a': { is: 1 } }, ['~./arguments/a.is', '~./arguments/a']],
    ['an empty test', { '/arguments/a': {} }, ['~./arguments/a']],
    [
      'an empty list',
      { '/arguments/a': [], '/arguments/b': { not_in: [] } },
      ['~./arguments/a', '~./arguments/b.not_in'],
    ],
    [
      'a long list',
      { '/arguments/a': Array.from({ length: MAX_REQUEST_VALUES + 1 }, () => 1) },
      ['~./arguments/a'],
    ],
    ['lists in lists', { '/arguments/a': [['x'], {}] }, ['~./arguments/a[0]', '~./arguments/a[1]']],
    ['long text', { '/arguments/a': 'x'.repeat(1_025) }, ['~./arguments/a']],
    ['text with half a character', { '/arguments/a': ['\udc00'] }, ['~./arguments/a[0]']],
    [
      'numbers that are read as others',
      { '/arguments/a': 2 ** 53, '/arguments/b': { max: -(2 ** 53) } },
      ['~./arguments/a', '~./arguments/b.max'],
    ],
    ['no number', { '/arguments/a': { min: '1', max: null } }, ['~./arguments/a.min', '~./arguments/a.max']],
    ['min above max', { '/arguments/a': { min: 2, max: 1 } }, ['~./arguments/a.max']],
    [
      'several types',
      { '/arguments/a': [1, '1', true], '/arguments/b': { in: 'x', min: 1 } },
      ['~./arguments/a', '~./arguments/b'],
    ],
    [
      'more than an entry of the log can repeat',
      Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`/arguments/a${i}`, 'x'.repeat(1_000)])),
      ['~'],
    ],
  ])('refuses %s', (_, request, paths) => {
    expect(mistakes(request)).toEqual(paths)
  })

  it(`lets the rules of a policy compare ${MAX_POLICY_VALUES} values together, and not one more`, () => {
    const list = Array.from({ length: MAX_REQUEST_VALUES }, (_, i) => i)
    const rule = (test: unknown) => ({ action: 'act', conditions: { request: { '/arguments/a': test } } })
    const rules = Array.from({ length: MAX_POLICY_VALUES / MAX_REQUEST_VALUES }, () => rule(list))
    expect(compilePolicy({ allow: rules }, env).ok).toBe(true)
    const more = compilePolicy({ allow: rules, deny: [rule({ min: 1 })] }, env)
    expect(more).toMatchObject({ ok: false, errors: [{ path: '' }] })
  })

  it('keeps them as typed in the canonical document, and leaves what is undefined out', () => {
    const request = { '/context/b': { not_in: ['x', null] }, '/arguments/a': 1, '/arguments/c': undefined }
    expect(canonicalDocument(when(request))).toEqual({
      allow: [
        {
          action: 'act',
          conditions: { request: { '/context/b': { not_in: ['x', null] }, '/arguments/a': 1 } },
        },
      ],
      deny: [],
      require_approval: [],
    })
    const given = { '/arguments/a': { min: 1, max: undefined } }
    expect(canonicalDocument(when(given))).toMatchObject({
      allow: [{ conditions: { request: { '/arguments/a': { min: 1 } } } }],
    })
  })
})

it.each(['policies.md', 'authzen.md', 'local-decisions.md'])(
  'the policies that docs/%s shows compile',
  (file) => {
    const text = readFileSync(join(__dirname, '../../../docs', file), 'utf8')
    const blocks = Array.from(text.matchAll(/```json\n(.*?)```/gs), ([, block = '']) => block)
    const shown = blocks.filter((block) => block.includes('"allow"'))
    expect(shown.length).toBeGreaterThan(0)
    for (const block of shown) expect(compilePolicy(JSON.parse(block), env)).toMatchObject({ ok: true })
  },
)

describe('beside the rest of a rule', () => {
  it('explain names the places that did not hold', () => {
    const request = { '/arguments/a': 1, '/context/b~1c': { not_in: null }, '/arguments/d': { max: 5 } }
    const { near_misses } = decided(when(request), { a: 1, d: 6 }, true)
    expect(near_misses).toMatchObject([
      { rule: 'allow/0', missed: ['conditions.request/context/b~1c', 'conditions.request/arguments/d'] },
    ])
  })

  it('a zone that is not known does not matter where the request already says no', () => {
    const tz = { start: '09:00', end: '17:00', tz: 'Europe/Berlin' }
    const rule = { action: 'act', conditions: { time_range: tz, request: { '/arguments/a': 1 } } }
    const document = { allow: [{ action: '*' }], deny: [rule] }
    expect(decided(document, { a: 2 }).code).toBe('allow_rule')
    expect(decided(document, { a: 1 }).code).toBe('fact_missing')
  })

  it('an approval names the conditions of the rule that asked: a wider grant lifts no other rule', () => {
    const rule = (min: number) => ({
      action: 'act',
      conditions: { request: { '/arguments/amount': { min } } },
    })
    const policies = [ref({ allow: [{ action: '*' }], require_approval: [rule(1_000), rule(1_000_000)] })]
    const small = asked({ amount: 5_000 })
    const lifts = pendingRules(policies, decide(policies, small, AGENT, 0, NO_FACTS))
    expect(lifts).toEqual([
      {
        policy: 'pol_1',
        action: 'act',
        resource: null,
        workflow: null,
        request: '{"/arguments/amount":{"min":1000}}',
      },
    ])
    const approval = { id: 'apr_1', digest: 'd', use: 1, lifts, scope: { action: 'act', resource: null } }
    const by = (amount: unknown) => decide(policies, asked({ amount }), AGENT, 0, { kill: [], approval }).code
    expect([by(5_000), by(6_000), by(2_000_000), by('2e6')]).toEqual([
      'approval_granted',
      'approval_granted',
      'approval_outdated',
      'approval_outdated',
    ])
  })
})
