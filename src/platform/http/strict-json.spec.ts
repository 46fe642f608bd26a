import fc from 'fast-check'
import { Problem } from '../../core/problems.js'
import { MAX_DEPTH, parseStrictJson } from './strict-json.js'

const bytes = (text: string): Uint8Array => Buffer.from(text)
const parse = (text: string): unknown => parseStrictJson(bytes(text))

function refusal(text: string): Problem {
  try {
    parse(text)
  } catch (error) {
    if (error instanceof Problem) return error
    throw error
  }
  throw new Error(`nothing was wrong with ${text}`)
}

/** Values that every rule allows: any keys but the three, whole strings without NUL, at most 20 deep. */
const text = fc.string({ unit: 'grapheme' }).filter((value) => !value.includes('\0'))
const key = text.filter((name) => !['__proto__', 'constructor', 'prototype'].includes(name))
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(null, true, false),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    text,
    fc.array(tie('any'), { maxLength: 5 }),
    fc.dictionary(key, tie('any'), { maxKeys: 5, noNullPrototype: true }),
  ),
})).any

/** The same value in other spellings: white space, and every letter as an escape. */
const spelled = fc
  .tuple(value, fc.constantFrom(undefined, 1, '\t'), fc.boolean())
  .map(([json, indent, escaped]) => (escaped ? allEscapes(json) : JSON.stringify(json, null, indent)))

/** JSON whose strings and keys are nothing but `\\uXXXX`. */
function allEscapes(json: unknown): string {
  if (typeof json === 'string') return `"${units(json)}"`
  if (Array.isArray(json)) return `[${json.map(allEscapes).join()}]`
  if (json === null || typeof json !== 'object') return JSON.stringify(json)
  return `{${Object.entries(json)
    .map(([name, item]) => `${allEscapes(name)}:${allEscapes(item)}`)
    .join()}}`
}

const units = (plain: string): string =>
  plain
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('')

it('reads valid JSON exactly as JSON.parse does', () => {
  fc.assert(
    fc.property(spelled, (json) => {
      expect(parse(json)).toEqual(JSON.parse(json))
    }),
    { numRuns: 2_000 },
  )
})

it('finds a duplicate key wherever it is, in whatever spelling', () => {
  const scene = fc.tuple(
    fc.array(fc.tuple(key, value), { maxLength: 4 }),
    key,
    value,
    value,
    fc.boolean(),
    fc.nat(10),
  )
  fc.assert(
    fc.property(scene, ([others, twice, first, second, escaped, nesting]) => {
      const name = escaped ? allEscapes(twice) : JSON.stringify(twice)
      const members = [
        `${JSON.stringify(twice)}:${JSON.stringify(first)}`,
        ...others.map(([other, json]) => `${JSON.stringify(other)}:${JSON.stringify(json)}`),
        `${name}:${JSON.stringify(second)}`,
      ]
      const json = `${'[{"x":'.repeat(nesting)}{${members.join(',')}}${'}]'.repeat(nesting)}`
      fc.pre(depth(json) <= MAX_DEPTH)
      expect(() => JSON.parse(json)).not.toThrow()
      expect(refusal(json).detail).toMatch(/twice in one object, at position \d+/)
    }),
    { numRuns: 2_000 },
  )
})

it('says the position of the second key', () => {
  expect(refusal('{"a":1,"b":{"c":1,"c":2}}').detail).toContain('at position 18')
})

it('does not take a key in a string, or in a sibling object, for a duplicate', () => {
  const json = '{"a":"\\"a\\":1","b":[{"c":1},{"c":{"c":2}}],"d:":":{"}'
  expect(parse(json)).toEqual(JSON.parse(json))
})

it.each(['__proto__', 'constructor', 'prototype', '\\u005f_proto__'])(
  'refuses the key %s and says its path',
  (name) => {
    const problem = refusal(`{"a":[{"${name}":{}}]}`)
    expect(problem.code).toBe('malformed_json')
    expect(problem.errors?.[0]?.path).toMatch(/^a\[0\]\.(__proto__|constructor|prototype)$/)
  },
)

it('takes 32 levels and refuses 33, of arrays and objects alike', () => {
  for (const [open, close] of [
    ['[', ']'],
    ['{"a":', '}'],
  ] as const) {
    expect(() => parse(`${open.repeat(32)}1${close.repeat(32)}`)).not.toThrow()
    expect(refusal(`${open.repeat(33)}1${close.repeat(33)}`).detail).toContain('deeper than 32')
  }
})

it('never throws anything but a Problem, whatever the bytes', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.string({ unit: 'binary' }).map(bytes)),
      (input) => {
        try {
          parseStrictJson(input)
        } catch (error) {
          expect(error).toBeInstanceOf(Problem)
        }
      },
    ),
    { numRuns: 5_000 },
  )
})

it('is linear: a megabyte of quotes, braces or escapes takes well under a second', () => {
  for (const unit of ['"', '{"a":', '\\"', '","', '{"a":1,"a":2},', '[]']) {
    const start = performance.now()
    try {
      parse(unit.repeat(1_000_000 / unit.length))
    } catch {
      // Only the time counts.
    }
    expect(performance.now() - start).toBeLessThan(1_000)
  }
})

function depth(json: string): number {
  let now = 0
  let most = 0
  const plain = json.replace(/"(?:[^"\\]|\\.)*"/gsu, '')
  for (const c of plain) {
    if (c === '{' || c === '[') most = Math.max(most, ++now)
    if (c === '}' || c === ']') now--
  }
  return most
}
