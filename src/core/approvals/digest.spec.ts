import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { readRequest } from '../policy/request.js'
import type { CanonicalRequest } from '../policy/stage.js'
import { boundRequest, digestInput } from './digest.js'

const UTF8 = { utf8: (text: string) => new Uint8Array(Buffer.from(text)) }
const ASKER = { org_id: 'org_1', agent_id: 'agt_1' }

const digestOf = (salt: string, bound: string): string =>
  createHash('sha256')
    .update(digestInput(UTF8, salt, bound))
    .digest('base64url')

function read(text: string): CanonicalRequest | null {
  try {
    const body = JSON.parse(text) as { action: string }
    const reading = typeof body === 'object' && body !== null ? readRequest(body) : null
    return reading?.ok ? reading.value : null
  } catch {
    return null
  }
}

/** What of a request a person decides about, written without the code under test. Through JSON: -0 is 0 there. */
const meaningOf = ({ action, resource, arguments: args, context }: CanonicalRequest): unknown => {
  const kept = Object.fromEntries(Object.entries(context ?? {}).filter(([name]) => name !== 'trace'))
  const only_trace = Object.keys(kept).length === 0 && context !== null && Object.keys(context).length > 0
  return JSON.parse(
    JSON.stringify([
      action.key,
      resource?.canonical ?? null,
      args,
      context === null || only_trace ? null : kept,
    ]),
  )
}

const json = fc.jsonValue({ maxDepth: 3 })
const members = fc.dictionary(fc.string({ maxLength: 6 }), json, { maxKeys: 4 })
const requests = fc.record(
  {
    action: fc.constantFrom('send:email', 'read:file', 'drop table users'),
    resource: fc.constantFrom('s3://docs/a', 'mail://customer', '/etc/passwd'),
    arguments: members,
    context: members,
  },
  { requiredKeys: ['action'] },
)

describe('what an approval is bound to', () => {
  it('reads back as exactly what was asked: two requests that differ cannot look the same', () => {
    fc.assert(
      fc.property(requests, (source) => {
        const request = read(JSON.stringify(source))
        fc.pre(request !== null)
        const bound = JSON.parse(boundRequest(ASKER, request)) as Record<string, unknown>
        const { organization, agent, action, resource, arguments: args, context } = bound
        expect([organization, agent]).toEqual(['org_1', 'agt_1'])
        expect([action, resource, args, context]).toEqual(meaningOf(request))
      }),
    )
  })

  it('is another one after a change of any byte, unless the request means the same', () => {
    let same = 0
    let other = 0
    fc.assert(
      fc.property(requests, fc.nat(), fc.integer({ min: 0, max: 255 }), (source, at, byte) => {
        const bytes = Buffer.from(JSON.stringify(source))
        const before = read(bytes.toString())
        const changed = Buffer.from(bytes)
        changed[at % bytes.length] = byte
        const after = read(changed.toString())
        // What cannot be read is not decided at all.
        if (!before || !after) return
        const equal = JSON.stringify(sorted(meaningOf(before))) === JSON.stringify(sorted(meaningOf(after)))
        if (equal) same++
        else other++
        const digests = [before, after].map((request) => digestOf('salt', boundRequest(ASKER, request)))
        expect(digests[0] === digests[1]).toBe(equal)
      }),
      { numRuns: 3000 },
    )
    // The property has seen both.
    expect([same > 0, other > 100]).toEqual([true, true])
  })

  it('is another one for another organization, another agent and another salt', () => {
    const request = read('{"action":"send:email","arguments":{"to":"a"}}')
    if (!request) throw new Error('cannot be read')
    const digests = [
      digestOf('salt', boundRequest(ASKER, request)),
      digestOf('salt', boundRequest({ ...ASKER, org_id: 'org_2' }, request)),
      digestOf('salt', boundRequest({ ...ASKER, agent_id: 'agt_2' }, request)),
      digestOf('tlas', boundRequest(ASKER, request)),
    ]
    expect(new Set(digests).size).toBe(digests.length)
  })

  it('does not heed the trace, which differs from call to call', () => {
    const bound = (context: object | undefined) => {
      const request = read(JSON.stringify({ action: 'send:email', context }))
      if (!request) throw new Error('cannot be read')
      return boundRequest(ASKER, request)
    }
    expect(bound({ run: 7, trace: 'a' })).toBe(bound({ trace: { id: 'b' }, run: 7 }))
    expect(bound({ trace: 'a' })).toBe(bound(undefined))
    expect(bound({ run: 7, inner: { trace: 'a' } })).not.toBe(bound({ run: 7, inner: { trace: 'b' } }))
  })
})

/** Names in one order, so that texts can be compared. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return entries.map(([name, member]) => [name, sorted(member)])
}
