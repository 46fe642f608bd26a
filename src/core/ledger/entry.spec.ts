import fc from 'fast-check'
import { canonicalize, type Json } from './canonical.js'
import { decisionEncoder } from './decision-entry.js'
import { type DecisionEntry, encodeDecision, encodeEntry } from './entry.js'

describe('canonical JSON', () => {
  it('writes the example of RFC 8785 3.2.3 (sorting by UTF-16 code units)', () => {
    const value = {
      '\u20ac': 'Euro Sign',
      '\r': 'Carriage Return',
      '\ufb33': 'Hebrew Letter Dalet With Dagesh',
      '1': 'One',
      '\ud83d\ude00': 'Emoji: Grinning Face',
      '\u0080': 'Control',
      '\u00f6': 'Latin Small Letter O With Diaeresis',
    }
    expect(Object.values(JSON.parse(canonicalize(value)) as object)).toEqual([
      'One', // an integer-like key comes first in a parsed object as well
      'Carriage Return',
      'Control',
      'Latin Small Letter O With Diaeresis',
      'Euro Sign',
      'Emoji: Grinning Face',
      'Hebrew Letter Dalet With Dagesh',
    ])
    expect(canonicalize([333333333.33333329, 1e30, 4.5, 2e-3, 1e-27, -0])).toBe(
      '[333333333.3333333,1e+30,4.5,0.002,1e-27,0]',
    )
  })

  it('does not depend on the order of members and parses back to the same value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        let text: string
        try {
          text = canonicalize(value)
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError) // lone surrogates
          return
        }
        expect(canonicalize(JSON.parse(text) as Json)).toBe(text)
        expect(canonicalize(reversed(value) as Json)).toBe(text)
      }),
    )
  })

  it('refuses what it cannot express', () => {
    for (const bad of [NaN, Infinity, '\ud800', { '\udc00': 1 }])
      expect(() => canonicalize(bad as Json)).toThrow(RangeError)
  })
})

const reversed = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(reversed)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, member]) => [key, reversed(member)]),
  )
}

const text = fc.string({ unit: 'grapheme', maxLength: 40 })
const effect = fc.constantFrom('allow' as const, 'deny' as const, 'pending' as const)
const reading = fc.record({ raw: text, key: text })
const entry: fc.Arbitrary<DecisionEntry> = fc.record(
  {
    v: fc.constant(1 as const),
    log: text,
    id: fc.uuid({ version: 7 }),
    ts: fc.date({ min: new Date(0), max: new Date(4e12), noInvalidDate: true }).map((at) => at.toISOString()),
    type: fc.constant('decision' as const),
    event: fc.constant('decision.made' as const),
    actor: fc.record({ kind: fc.constant('agent' as const), id: text, key_id: text }),
    subject: fc.record({ agent_id: text, environment: text, team: text }),
    config: fc.record({ installation: fc.nat(), organization: fc.nat(), agent: fc.nat() }),
    engine: fc.record({ semantics: fc.nat(), stages: fc.dictionary(text, fc.nat()) }),
    action: reading,
    resource: reading,
    decision: fc.record({
      effect,
      code: text,
      reason: text,
      findings: fc.array(
        fc.record(
          { stage: text, effect, code: text, policy: fc.nat(), rule: text },
          { requiredKeys: ['stage', 'effect', 'code'] },
        ),
      ),
    }),
    policies: fc.array(fc.record({ scope: text, id: text, version: fc.nat(), sha256: text })),
    facts: fc.dictionary(text, fc.jsonValue() as fc.Arbitrary<Json>),
    request_id: text,
    payload: fc.record({ c: text, fields: fc.array(text) }),
  },
  {
    requiredKeys: [
      ...(['v', 'log', 'id', 'ts', 'type', 'event', 'actor', 'subject', 'config'] as const),
      ...(['engine', 'action', 'decision', 'policies'] as const),
    ],
  },
)

describe('entries', () => {
  it('writes a decision by template exactly as canonical JSON does', () => {
    fc.assert(
      fc.property(entry, (made) => {
        expect(encodeDecision(made)).toBe(encodeEntry(made))
        expect(decisionEncoder(made)(made)).toBe(encodeEntry(made))
      }),
      { numRuns: 2_000 },
    )
  })
})
