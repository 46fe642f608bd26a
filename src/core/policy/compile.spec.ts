import fc from 'fast-check'
import { canonicalize } from '../ledger/canonical.js'
import { canonicalDocument, compilePolicy, MAX_RULES } from './compile.js'
import type { CompileError } from './stage.js'

const env = { isZone: (name: string) => ['Europe/Berlin', 'Asia/Tokyo', 'Etc/UTC'].includes(name) }

function errorsOf(document: unknown): readonly CompileError[] {
  const compiled = compilePolicy(document, env)
  return compiled.ok ? [] : compiled.errors
}

const pathsOf = (document: unknown): string[] => errorsOf(document).map(({ path }) => path)
const allow = (rule: unknown): unknown => ({ allow: [rule] })
const when = (conditions: unknown): unknown => allow({ action: 'read:file', conditions })

describe('compiling a policy', () => {
  it('reports everything that is wrong at once, in document order, each with its path', () => {
    const document = {
      deny: [
        { action: '' },
        { action: 'read:file', resource: 7, colour: 'red' },
        'read:file',
        {
          action: 'rêad:file',
          conditions: {
            env: ['dev', 'production', 'moon'],
            time_range: { start: '9:00', end: '24:00', tz: 'Mars/Olympus', zone: 'UTC' },
            day_of_week: ['Mon', 'Noday', 3],
            weather: 'fair',
          },
        },
      ],
      allow: [
        { action: 'read:file' },
        { action: 'read:[file', resource: 'x[' },
        {},
        { action: 'read:file', conditions: { time_range: { start: '09:00', end: '17:00', tz: 'Nowhere' } } },
      ],
      require_approval: { action: 'read:file' },
      rules: [],
    }
    expect(pathsOf(document)).toEqual([
      'rules',
      'allow[1].action',
      'allow[1].resource',
      'allow[2].action',
      'allow[3].conditions.time_range.tz',
      'deny[0].action',
      'deny[1].colour',
      'deny[1].resource',
      'deny[2]',
      'deny[3].conditions.weather',
      'deny[3].conditions.env[2]',
      'deny[3].conditions.time_range.zone',
      'deny[3].conditions.time_range.start',
      'deny[3].conditions.time_range.end',
      'deny[3].conditions.time_range.tz',
      'deny[3].conditions.day_of_week[1]',
      'deny[3].conditions.day_of_week[2]',
      'deny[3].action',
      'require_approval',
    ])
    for (const { message } of errorsOf(document)) expect(message.length).toBeGreaterThan(10)
  })

  it.each<[string, unknown, string[]]>([
    ['no object', 'allow', ['']],
    ['null', null, ['']],
    ['nothing', undefined, ['']],
    ['a list', [], ['']],
    ['lists that are null', { allow: null }, ['allow']],
    ['__proto__ as a member', JSON.parse('{"__proto__":{"allow":[]}}'), ['__proto__']],
    ['__proto__ in a rule', JSON.parse('{"allow":[{"action":"a","__proto__":{}}]}'), ['allow[0].__proto__']],
    ['constructor as a member', { constructor: 1 }, ['constructor']],
    ['a rule that is a list', allow([]), ['allow[0]']],
    ['a rule that is null', allow(null), ['allow[0]']],
    ['an action of white space', allow({ action: ' \t' }), ['allow[0].action']],
    ['an action that is null', allow({ action: null }), ['allow[0].action']],
    ['an action of punctuation', allow({ action: ':' }), ['allow[0].action']],
    ['an action of 257 characters', allow({ action: 'a'.repeat(257) }), ['allow[0].action']],
    [
      'a resource of 2,049 characters',
      allow({ action: 'a', resource: 'a'.repeat(2049) }),
      ['allow[0].resource'],
    ],
    ['conditions that are null', when(null), ['allow[0].conditions']],
    ['conditions that are a list', when([]), ['allow[0].conditions']],
    ['an empty list of environments', when({ env: [] }), ['allow[0].conditions.env']],
    ['an environment in capitals', when({ env: 'PROD' }), ['allow[0].conditions.env']],
    ['an environment named like a method', when({ env: 'toString' }), ['allow[0].conditions.env']],
    ['an empty list of days', when({ day_of_week: [] }), ['allow[0].conditions.day_of_week']],
    ['a day of two letters', when({ day_of_week: 'Mo' }), ['allow[0].conditions.day_of_week']],
    ['a day of four letters', when({ day_of_week: ['Tues'] }), ['allow[0].conditions.day_of_week[0]']],
    ['a time range that is text', when({ time_range: '9-17' }), ['allow[0].conditions.time_range']],
    [
      'a time range without end',
      when({ time_range: { start: '09:00' } }),
      ['allow[0].conditions.time_range.end'],
    ],
    [
      'times with seconds or blanks',
      when({ time_range: { start: '09:00:00', end: ' 17:00' } }),
      ['allow[0].conditions.time_range.start', 'allow[0].conditions.time_range.end'],
    ],
    [
      'a zone that is null',
      when({ time_range: { start: '09:00', end: '17:00', tz: null } }),
      ['allow[0].conditions.time_range.tz'],
    ],
    [
      'an empty zone',
      when({ time_range: { start: '09:00', end: '17:00', tz: '' } }),
      ['allow[0].conditions.time_range.tz'],
    ],
  ])('refuses %s', (_, document, paths) => {
    expect(pathsOf(document)).toEqual(paths)
  })

  it('reads own members only: what a prototype says is no rule', () => {
    const inherited: unknown = Object.create({ allow: [{ action: '*' }] })
    const compiled = compilePolicy(inherited, env)
    expect(compiled.ok && compiled.value.rules.lists.allow.rules.length).toBe(0)
  })

  it('takes members that are undefined, as objects made by programs have them, for absent', () => {
    expect(
      errorsOf({ allow: undefined, deny: [{ action: 'a', resource: undefined, conditions: undefined }] }),
    ).toEqual([])
  })

  it(`takes ${MAX_RULES} rules in all, and not one more`, () => {
    const rules = (count: number): { action: string }[] =>
      Array.from({ length: count }, (_, i) => ({ action: `read:file_${i}` }))
    expect(errorsOf({ allow: rules(MAX_RULES - 1), deny: rules(1) })).toEqual([])
    expect(pathsOf({ allow: rules(MAX_RULES - 1), require_approval: rules(2) })).toEqual([''])
  })

  it('shows no more of an unknown member than helps', () => {
    expect(pathsOf({ ['x'.repeat(10_000)]: 1 })[0]?.length).toBeLessThan(100)
  })

  it('never throws on JSON', () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary' }),
      fc.constantFrom('*', '[', 'read:[!a]', '__proto__'),
    )
    const value = fc.oneof(fc.jsonValue(), text)
    const condition = fc.oneof(
      value,
      fc.record({
        env: value,
        time_range: fc.oneof(value, fc.record({ start: value, end: value, tz: value })),
        day_of_week: value,
      }),
    )
    const rule = fc.oneof(
      value,
      fc.record({ action: value, resource: value, conditions: condition }, { requiredKeys: [] }),
    )
    const list = fc.oneof(value, fc.array(rule))
    const document = fc.oneof(fc.jsonValue(), fc.record({ allow: list, deny: list, require_approval: list }))
    fc.assert(
      fc.property(document, (source) => {
        const compiled = compilePolicy(source, env)
        if (!compiled.ok) expect(compiled.errors.length).toBeGreaterThan(0)
        else expect(canonicalDocument(source)).toBeDefined()
      }),
      { numRuns: 3000 },
    )
  })
})

describe('the canonical document', () => {
  it('has its lists, leaves an absent or null resource out and keeps text as typed', () => {
    const conditions = {
      day_of_week: 'MON',
      env: ['Production'.toLowerCase()],
      time_range: { end: '06:00', start: '22:00' },
    }
    expect(
      canonicalDocument({
        deny: [{ action: 'Delete *', resource: null }],
        allow: [
          { action: ' Read-File ', resource: '' },
          { action: 'b', resource: '*', conditions: {} },
          { action: 'c', conditions },
        ],
      }),
    ).toEqual({
      allow: [
        { action: ' Read-File ', resource: '' },
        { action: 'b', resource: '*' },
        { action: 'c', conditions },
      ],
      deny: [{ action: 'Delete *' }],
      require_approval: [],
    })
  })

  it('does not depend on the order of members, nor on how absence is written', () => {
    const a = canonicalDocument({ allow: [{ action: 'a', conditions: { env: 'dev' } }], deny: [] })
    const b = canonicalDocument({
      deny: undefined,
      allow: [{ conditions: { env: 'dev' }, resource: null, action: 'a' }],
    })
    expect(canonicalize(a)).toBe(canonicalize(b))
  })

  it('is its own canonical document, and compiles to the same rules', () => {
    const source = { allow: [{ action: 'a', resource: null }], deny: [{ action: 'b', conditions: {} }] }
    expect(canonicalDocument(canonicalDocument(source))).toEqual(canonicalDocument(source))
    expect(errorsOf(canonicalDocument(source))).toEqual([])
  })

  it('is refused for what does not compile', () => {
    expect(() => canonicalDocument({ allow: [{}] })).toThrow(TypeError)
  })
})
