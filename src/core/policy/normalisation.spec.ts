import * as fc from 'fast-check'
import { type ActionReading, readAction } from './action.js'
import { compileAllowAction, compileDenyAction } from './pattern.js'

/** The table of spec/normalisation.md: rule, request, as allow, as deny. */
const TABLE: readonly (readonly [
  rule: string,
  requests: readonly string[],
  allow: boolean,
  deny: boolean,
])[] = [
  ['read:file', ['READ_FILE', 'readFile', 'read : file', '\tread\tfile\t'], true, true],
  ['read:file', ['read file system', 'READFILE', 'rEaD fIlE', 'read'], false, true],
  ['read:*', ['read'], true, true],
  ['read *', ['reading:file'], false, false],
  ['read *', ['readiness'], false, true],
  ['send:external_email', ['send:ExternalEmail', 'send: external-email'], true, true],
  ['send:external_email', ['send external email now'], false, true],
  ['send:external_email', ['send external'], false, false],
  ['delete:*', ['deLete file', 'DELETEFILE'], false, true],
  ['delete:*', ['DELETED ITEMS'], false, false],
  ['* file', ['write file'], true, true],
  ['* file', ['read:profile'], false, false],
  ['call:internal_api', ['call internal api'], true, true],
  ['a:*', ['a:b:c'], true, true],
  ['*', ['read', 'read:file', 'READ_FILE', 'a:b:c', '7', ' x '], true, true],
]

function reading(raw: string): ActionReading {
  const result = readAction(raw)
  if (!result.ok) throw new Error(`${JSON.stringify(raw)}: ${result.errors}`)
  return result.value
}

function matcher(compile: typeof compileAllowAction, rule: string) {
  const result = compile(rule)
  if (!result.ok) throw new Error(`${JSON.stringify(rule)}: ${result.errors}`)
  return result.value
}

describe('the table of normalisation.md', () => {
  const rows = TABLE.flatMap(([rule, requests, allow, deny]) =>
    requests.map((request) => ({ rule, request, allow, deny })),
  )
  it.each(rows)(
    'rule $rule, request $request: allow $allow, deny $deny',
    ({ rule, request, allow, deny }) => {
      const action = reading(request)
      expect(matcher(compileAllowAction, rule).matches(action)).toBe(allow)
      expect(matcher(compileDenyAction, rule).matches(action)).toBe(deny)
    },
  )
})

describe('the six spellings of AG-34, as rule and as request', () => {
  const spellings = [
    'read:file',
    'read file',
    'Read File',
    'read-file',
    'read_file',
    'readFile',
    'Read-File',
    'READ FILE',
  ]
  const three = ['send:external_email', 'send external email', 'Send External Email', 'sendExternalEmail']
  for (const group of [spellings, three]) {
    it.each(group)('%s', (rule) => {
      for (const request of group) {
        expect([rule, request, matcher(compileAllowAction, rule).matches(reading(request))]).toEqual([
          rule,
          request,
          true,
        ])
        expect(matcher(compileDenyAction, rule).matches(reading(request))).toBe(true)
      }
    })
  }
})

/** What one fuzzing case is made of. `pick(n)` gives a whole number below n. */
type Pick = (n: number) => number
const randomFrom = (seed: number): Pick => {
  let state = seed | 0
  return (n) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % n
  }
}
const oneOf = <T>(pick: Pick, [first, ...rest]: readonly [T, ...T[]]): T =>
  rest[pick(rest.length + 1) - 1] ?? first

const word = fc.oneof(
  fc.constantFrom(
    'read',
    'delete',
    'send',
    'file',
    'external',
    'email',
    'pdf',
    'a',
    'b2',
    '7',
    'reading',
    'deleted',
  ),
  fc.string({ unit: fc.constantFrom(...'abcdrefil09'), minLength: 1, maxLength: 5 }),
)
const words = fc.array(word, { minLength: 2, maxLength: 4 })
const keyOf = ([verb = '', ...rest]: readonly string[]): string =>
  rest.length === 0 ? verb : `${verb}:${rest.join('_')}`

/** A rule that denies the action of these words: its first words, or those with one stretch replaced by `*`. */
function ruleFor(action: readonly string[], pick: Pick): string {
  const literal = keyOf(action.slice(0, 1 + pick(action.length)))
  if (pick(2) === 0) return literal
  const start = pick(literal.length + 1)
  const rule = `${literal.slice(0, start)}*${literal.slice(start + pick(literal.length - start + 1))}`
  // A star that swallowed the verb's separator may leave a rule that needs another one: not a rule for this action.
  return matcher(compileDenyAction, rule).matches(reading(keyOf(action))) ? rule : literal
}

const SEPARATORS = [
  ' ',
  ' ',
  '-',
  '_',
  ':',
  '.',
  '/',
  '\t',
  '  ',
  ' : ',
  '\u00a0',
  '\u3000',
  '：',
  '__',
  '->',
  '@',
] as const
const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)
const noisy = (text: string, pick: Pick): string =>
  Array.from(text, (char) => (pick(2) === 0 ? char : char.toUpperCase())).join('')
const wide = (text: string): string =>
  Array.from(text, (char) =>
    /[a-z0-9]/i.test(char) ? String.fromCharCode(char.charCodeAt(0) + 0xfee0) : char,
  ).join('')

/**
 * Another spelling of an action in which every division can be seen: by a separator, by a capital beside it in
 * mixed-case text, or, with all run together, nowhere at all.
 */
function respell(action: readonly string[], pick: Pick): string {
  const run = action.join('')
  switch (pick(8)) {
    case 0:
      return oneOf(pick, [run, run.toUpperCase(), capital(run)])
    case 1:
      return run.length > 1 && /^[a-z]+$/.test(run) ? camel(action, pick) : keyOf(action)
    default: {
      const parts = action.map((part) => {
        const cut = pick(6) === 0 ? pick(part.length) : 0 // a division inside a word
        const split = cut > 0 ? part.slice(0, cut) + oneOf(pick, SEPARATORS) + part.slice(cut) : part
        return oneOf(pick, [split, split.toUpperCase(), capital(split), noisy(split, pick)])
      })
      let text = oneOf(pick, ['', '', ' ', '-'])
      for (const [i, part] of parts.entries()) text += (i > 0 ? oneOf(pick, SEPARATORS) : '') + part
      return pick(10) === 0 ? wide(text) : text
    }
  }
}
/** Divided by capitals only, with more capitals inside the words: a lower-case letter, then a capital. */
const camel = ([first = '', ...rest]: readonly string[], pick: Pick): string =>
  noisy(first, pick).slice(0, -1) +
  first.slice(-1) +
  rest.map((part) => capital(noisy(part, pick).slice(0, -1) + part.slice(-1))).join('')

/** The earlier normaliser, section 1.1.4 of agentguard.md: it keeps two words. */
function earlierKey(raw: string): string {
  const trimmed = raw.trim()
  if (trimmed.includes(':')) return trimmed.toLowerCase()
  const parts = trimmed
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .replace(/[-_]/g, ' ')
    .split(/\s+/)
    .filter(Boolean)
  return parts.length > 1 ? `${parts[0]}:${parts[1]}` : (parts[0] ?? '')
}
function earlierDenies(rule: string, request: string): boolean {
  const [pattern, key] = [earlierKey(rule), earlierKey(request)]
  const glob = (text: string) =>
    new RegExp(`^${text.replace(/[.+^${}()|\\/@]/g, '\\$&').replaceAll('*', '.*')}$`, 's')
  return (
    glob(pattern).test(key) ||
    (!key.includes(':') && pattern.includes(':') && glob(pattern.split(':')[0] ?? '').test(key))
  )
}

const RESPELLINGS = 20
/** 10,000 cases of 20 respellings each. */
const FUZZ = { numRuns: 10_000 }

describe('the properties of normalisation.md', () => {
  /** Throws for a respelling of a denied action that `denies` does not meet. */
  const noEscape = (denies: (rule: string) => (request: string) => boolean) =>
    fc.property(words, fc.integer(), (action, seed) => {
      const pick = randomFrom(seed)
      const rule = ruleFor(action, pick)
      const denied = denies(rule)
      for (let i = 0; i < RESPELLINGS; i++) {
        const request = respell(action, pick)
        if (!denied(request)) throw new Error(`${JSON.stringify(request)} escapes the deny ${rule}`)
      }
    })

  it('no respelling of a denied action escapes a literal or one-* deny', () => {
    const denies = (rule: string) => {
      const { matches } = matcher(compileDenyAction, rule)
      return (request: string) => matches(reading(request))
    }
    fc.assert(noEscape(denies), FUZZ)
  })

  it('control: the earlier two-word normaliser lets respellings escape', () => {
    const outcome = fc.check(
      noEscape((rule) => (request) => earlierDenies(rule, request)),
      { numRuns: 1_000 },
    )
    expect(outcome.failed).toBe(true)
    // Not only through what it never claimed to read: two plain sentences are enough.
    expect(earlierDenies('send:external_email', 'send:external_email')).toBe(true)
    expect(earlierDenies('send:external_email', 'send external email')).toBe(false)
  })

  it('no division of the letters of a literal deny escapes it, the bare verb included', () => {
    fc.assert(
      fc.property(words, fc.integer(), (action, seed) => {
        const pick = randomFrom(seed)
        const rule = keyOf(action)
        const { matches } = matcher(compileDenyAction, rule)
        for (const letters of [action.join(''), action[0] ?? '']) {
          for (let i = 0; i < RESPELLINGS / 2; i++) {
            const request = Array.from(
              letters,
              (char) => (pick(4) === 0 ? ' ' : '') + noisy(char, pick),
            ).join('')
            if (!matches(reading(request)))
              throw new Error(`${JSON.stringify(request)} escapes the deny ${rule}`)
          }
        }
      }),
      FUZZ,
    )
  })

  it('no respelling widens a literal allow: it matches the same words and no others', () => {
    let matched = 0
    fc.assert(
      fc.property(
        words,
        fc.array(word, { minLength: 1, maxLength: 4 }),
        fc.integer(),
        (allowed, other, seed) => {
          const pick = randomFrom(seed)
          const rule = matcher(compileAllowAction, respell(allowed, pick))
          const [whole = ''] = rule.hint.kind === 'key' ? [rule.hint.key] : []
          for (let i = 0; i < RESPELLINGS; i++) {
            const near = [allowed, [...allowed, 'x'], allowed.slice(0, -1), other] as const
            const request = respell(oneOf(pick, near), pick)
            const same = plainKey(request) === whole
            if (rule.matches(reading(request)) !== same)
              throw new Error(`${JSON.stringify(request)} and the allow ${whole}`)
            if (same) matched++
          }
        },
      ),
      FUZZ,
    )
    expect(matched).toBeGreaterThan(10_000)
  })

  it('whatever an allow rule matches, a deny rule of the same text matches', () => {
    const piece = fc.constantFrom(
      ...'aabbAB**??  :_-1',
      '[ab]',
      '[!a]',
      '[ -]',
      '[!:]',
      '[a-b]',
      '[0-z]',
      '[!_]',
      '[:]',
    )
    const rules = fc.string({ unit: piece, minLength: 1, maxLength: 9 })
    let matched = 0
    fc.assert(
      fc.property(rules, fc.integer(), (rule, seed) => {
        const allow = compileAllowAction(rule)
        const deny = compileDenyAction(rule)
        if (allow.ok !== deny.ok) throw new Error(`${rule} compiles in one list only`)
        if (!allow.ok || !deny.ok) return
        const pick = randomFrom(seed)
        for (let i = 0; i < RESPELLINGS; i++) {
          const request = Array.from({ length: 1 + pick(7) }, () => 'aabbAB1  :_'[pick(11)]).join('')
          const action = readAction(request)
          if (!action.ok || !allow.value.matches(action.value)) continue
          matched++
          if (!deny.value.matches(action.value))
            throw new Error(`${JSON.stringify(request)}: allowed, not denied by ${rule}`)
        }
      }),
      { numRuns: 20_000 },
    )
    expect(matched).toBeGreaterThan(20_000)
  })

  it('reading is idempotent on keys', () => {
    const text = fc.string({ unit: fc.constantFrom(...'abzABZ09 _:-.ｆＦ\t'), minLength: 1, maxLength: 24 })
    fc.assert(
      fc.property(text, (raw) => {
        const first = readAction(raw)
        if (first.ok && reading(first.value.key).key !== first.value.key) throw new Error(first.value.key)
      }),
      { numRuns: 100_000 },
    )
  })
})

/** The reading of normalisation.md once more, in regular expressions. */
function plainKey(raw: string): string {
  const text = raw.normalize('NFKC')
  const split = text.replace(/([a-z])([A-Z])/g, '$1 $2').replace(/([A-Z])([A-Z][a-z])/g, '$1 $2')
  return keyOf(
    split
      .toLowerCase()
      .split(/[^a-z0-9]+/)
      .filter(Boolean),
  )
}
