import fc from 'fast-check'
import { canonicalize, type Json } from './canonical.js'
import { ColumnLines, EMPTY, SEPARATOR } from './column-lines.js'
import { uuidv7 } from '../ids.js'

const ORG = 'org_a'

/** The line that PostgreSQL makes of columns. */
const lineOf = (columns: readonly (string | number | boolean | null)[]): string =>
  columns.map((column) => (column === null ? EMPTY : String(column))).join(SEPARATOR)

const uuid = fc
  .tuple(fc.integer({ min: 0, max: 2 ** 41 }), fc.uint8Array({ minLength: 10, maxLength: 10 }))
  .map(([ms, random]) => ({ ms, id: uuidv7(ms, random) }))
const word = fc.oneof(fc.constantFrom('read:file', 'agt_1', 'x'), fc.string({ unit: 'grapheme' }))

/** Entries in which anything may stand anywhere, also what looks like a member. */
const decision = fc.record({
  time: uuid,
  key: word,
  raw: word,
  agent_id: word,
  allowed: fc.boolean(),
  reason: fc.oneof(
    word,
    fc.constantFrom(',"id":"', '","log":"x/org_b/e1",', '","ts":"2026-01-01T00:00:00.000Z"'),
  ),
  request_id: fc.option(word, { nil: undefined }),
  resource: fc.option(fc.record({ key: word, raw: word }), { nil: undefined }),
})

type Drawn = typeof decision extends fc.Arbitrary<infer T> ? T : never

const entryOf = ({ time, key, raw, agent_id, allowed, reason, request_id, resource }: Drawn): string =>
  canonicalize({
    v: 1,
    type: 'decision',
    event: 'decision.made',
    id: time.id,
    ts: new Date(time.ms).toISOString(),
    log: `x/${ORG}/e1`,
    action: { key, raw },
    actor: { kind: 'agent', id: agent_id, key_id: 'key_1' },
    subject: { agent_id, environment: 'prod' },
    decision: { effect: allowed ? 'allow' : 'deny', reason },
    ...(request_id !== undefined && { request_id }),
    ...(resource && { resource }),
    payload: { c: 'A'.repeat(43), fields: ['context'] },
  } satisfies Json)

const hasControl = (text: string) => /\p{Cc}/u.test(text)

describe('the line of columns of an entry', () => {
  it('is what the columns say, whether its form was met before or not', () => {
    const met = new ColumnLines(ORG)
    fc.assert(
      fc.property(decision, (drawn) => {
        const { time, key, agent_id, allowed } = drawn
        const text = entryOf(drawn)
        const expected =
          hasControl(key) || hasControl(agent_id)
            ? null
            : lineOf([time.id, time.ms, 'decision', agent_id, key, allowed, null])
        expect(new ColumnLines(ORG).of(text)).toBe(expected)
        expect(met.of(text)).toBe(expected)
      }),
      { numRuns: 2_000 },
    )
  })

  it('is of another organization never, whatever was met before', () => {
    const drawn = fc.sample(decision, { seed: 1, numRuns: 1 })[0] as Drawn
    const ordinary = {
      ...drawn,
      key: 'read:file',
      agent_id: 'agt_1',
      reason: 'r',
      request_id: 'q',
      resource: undefined,
    }
    const lines = new ColumnLines(ORG)
    expect(lines.of(entryOf(ordinary))).not.toBeNull()
    expect(lines.of(entryOf(ordinary).replace(ORG, 'org_b'))).toBeNull()
    expect(new ColumnLines('org_b').of(entryOf(ordinary))).toBeNull()
  })

  it('is not there for what is no entry', () => {
    const lines = new ColumnLines(ORG)
    for (const text of [
      '',
      'null',
      '{}',
      '[1]',
      '{"id":',
      `{"id":"x","log":"x/${ORG}/e1"}`,
      'x'.repeat(1_000),
    ])
      expect(lines.of(text)).toBeNull()
  })

  it('does not take a member of the same name for the entry’s own', () => {
    const [one, two] = [uuidv7(1, new Uint8Array(10)), uuidv7(2, new Uint8Array(10))]
    const text = (inner: string, own: string) =>
      `{"a":{"x":1,"id":"${inner}"},"id":"${own}","log":"x/${ORG}/e1","ts":"1970-01-01T00:00:00.001Z","type":"epoch"}`
    const lines = new ColumnLines(ORG)
    for (const [inner, own] of [
      [one, two],
      [two, one],
      [one, one],
      [one, two],
    ] as const)
      expect(lines.of(text(inner, own))).toBe(lineOf([own, 1, 'epoch', null, null, null, null]))
  })
})
