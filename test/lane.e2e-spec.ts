import { gzipSync } from 'node:zlib'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { Client } from 'pg'
import { makeKey } from '../src/core/keys/key-format.js'
import type { DecisionEntry } from '../src/core/ledger/entry.js'
import { EnforceLane } from '../src/enforce/enforce.lane.js'
import { LedgerService } from '../src/ledger/ledger.service.js'
import { LaneExchanges } from '../src/platform/http/lane.exchanges.js'
import { Shutdown } from '../src/platform/http/shutdown.js'
import { Metrics } from '../src/platform/metrics/metrics.js'
import { rateLimits } from '../src/platform/throttling/limits.js'
import { type RunningApp, startApp } from './support/app.js'
import { type RawAnswer, type RawRequest, sendRaw } from './support/raw-http.js'

/**
 * Two processes' worth of the same service over one database, with and without the lane: whatever is sent to both
 * is answered, measured and recorded alike.
 */
interface Pair {
  readonly lane: RunningApp
  readonly express: RunningApp
}

let free: Pair
let limited: Pair
let limited_batches: Pair
let owner: Client
const keys: Record<string, string> = {}

async function startPair(
  settings: Parameters<typeof startApp>[0] & object,
  database?: RunningApp['database'],
): Promise<Pair> {
  const lane = await startApp({ ...settings, ...(database ? { database } : {}) })
  const express = await startApp({
    settings: { ...settings.settings, enforce_lane: false },
    database: lane.database,
  })
  return { lane, express }
}

const startLimited = (hourly: number, two_hourly: number): Promise<Pair> =>
  startPair(
    {
      settings: {
        rate_limit_enabled: true,
        cors_origins: ['*'],
        rate_limits: rateLimits({
          enforce: [
            { name: 'enforce', limit: hourly, seconds: 3600 },
            { name: 'enforce-7200s', limit: two_hourly, seconds: 7200 },
          ],
        }),
      },
    },
    free.lane.database,
  )

beforeAll(async () => {
  free = await startPair({})
  limited = await startLimited(40, 30)
  limited_batches = await startLimited(120, 90)
  owner = new Client({ connectionString: free.lane.database.owner_url })
  await owner.connect()
  await prepareKeys()
})

afterAll(async () => {
  await owner?.end()
  for (const pair of [limited, limited_batches]) {
    await pair?.lane.close()
    await pair?.express.close()
  }
  await free?.express.close()
  await free?.lane.close()
})

async function prepareKeys(): Promise<void> {
  for (const name of ['allow', 'deny', 'none', 'revoked', 'expired', 'inactive']) {
    const agent = await json(
      await free.lane.send('POST', '/agents', { name, owner_team: 't', environment: 'dev' }),
    )
    const route = `/agents/${String(agent.agent_id)}`
    if (name === 'allow') {
      const policy = {
        allow: [
          { action: 'read:file', resource: 'docs/*' },
          { action: 'tell', resource: '"ü"*' },
        ],
        deny: [{ action: 'delete:*' }],
        require_approval: [{ action: 'send:email' }],
      }
      expect((await free.lane.send('PUT', `${route}/policy`, policy)).status).toBe(200)
    }
    if (name === 'deny') await free.lane.send('PUT', `${route}/policy`, { deny: [{ action: '*' }] })
    if (name === 'revoked') await free.lane.send('DELETE', `${route}/keys/${String(agent.key_id)}`)
    if (name === 'inactive') await free.lane.send('PATCH', route, { is_active: false })
    if (name === 'expired') {
      await owner.query(`UPDATE agent_keys SET expires_at = now() - interval '1 minute' WHERE key_id = $1`, [
        agent.key_id,
      ])
    }
    keys[name] = String(agent.api_key)
  }
  keys.unknown = makeKey('agk_', randomBytes(32))
  keys.malformed = 'agk_nothing'
  keys.root = free.lane.admin_key
  const admin = await json(await free.lane.send('POST', '/admin-keys', { name: 'lane', role: 'auditor' }))
  expect(admin.api_key).toMatch(/^adk_/)
  keys.admin = String(admin.api_key)
}

const json = async (response: Response) => (await response.json()) as Record<string, unknown>

describe('what is compared', () => {
  const CHANGING = /^(date|x-response-time|x-ratelimit-reset)$/i

  /** Without what names this very request, and without its times. */
  function plain(request: RawRequest, { status, headers, text }: RawAnswer): unknown {
    const sent = new Set(request.headers.map(([, value]) => value))
    const body = text
      .replace(/"decision_id":"[0-9a-f-]{36}"/g, '"decision_id":"·"')
      .replace(/"log":\{"index":\d+\}/g, '"log":{"index":·}')
      .replace(/"request_id":"(req_[^"]*)"/, (whole, id: string) =>
        sent.has(id) ? whole : '"request_id":"·"',
      )
      .replace(/again in \d+ s\./, 'again in · s.')
    return {
      status,
      headers: headers.map(([name, value]) => {
        if (CHANGING.test(name)) return [name, '·']
        if (/^x-request-id$/i.test(name)) return [name, sent.has(value) ? value : '·']
        if (/^content-length$/i.test(name)) return [name, String(Number(value) - (text.length - body.length))]
        if (/^retry-after$/i.test(name)) return [name, Number(value) > 10 ? '·' : value]
        return [name, value.replace(/t=\d+/g, 't=·')]
      }),
      body,
    }
  }

  type Counts = Map<string, number>

  async function counts(app: RunningApp): Promise<Counts> {
    const found: Counts = new Map()
    for (const { name, values } of await app.app.get(Metrics).registry.getMetricsAsJSON()) {
      if (!name.startsWith('agentguard_') || name === 'agentguard_database_connections') continue
      for (const { labels, value, ...rest } of values) {
        const metric = 'metricName' in rest ? String(rest.metricName) : name
        // How long it took is the one thing that may differ.
        if (/_bucket$|_sum$/.test(metric)) continue
        found.set(`${metric} ${JSON.stringify(Object.entries(labels).sort())}`, value)
      }
    }
    return found
  }

  function difference(before: Counts, after: Counts): Record<string, number> {
    const changed: Record<string, number> = {}
    for (const [name, value] of after) {
      const delta = value - (before.get(name) ?? 0)
      if (delta !== 0) changed[name] = delta
    }
    return changed
  }

  /** Counted when the answer has left, which the client may see a moment earlier. */
  async function settled(app: RunningApp, before: Counts, tries: number): Promise<Record<string, number>> {
    for (let left = tries; ; left--) {
      const after = difference(before, await counts(app))
      const done =
        Object.keys(after).some((name) => name.startsWith('agentguard_http_requests_total')) &&
        !Object.keys(after).some((name) => name.startsWith('agentguard_requests_inprogress'))
      if (done || left === 0) return after
      await sleep(1)
    }
  }

  async function observe(app: RunningApp, request: RawRequest): Promise<unknown> {
    const before = await counts(app)
    const answer = await sendRaw(app.url, request)
    return {
      ...(plain(request, answer) as object),
      // What Node's parser refuses is counted nowhere.
      metrics: await settled(app, before, request.method === 'post' ? 5 : 1_000),
      entries: await entriesOf(answer, request),
    }
  }

  async function entriesOf(answer: RawAnswer, request: RawRequest): Promise<unknown[]> {
    const ids = [...answer.text.matchAll(/"decision_id":"([0-9a-f-]{36})"/g)]
    const entries = []
    for (const [, id] of ids) entries.push(await entryOf(id ?? '', request))
    return entries
  }

  /** The entry of a decision and its payload, without what names the request. */
  async function entryOf(id: string, request: RawRequest): Promise<unknown> {
    const { rows } = await owner.query<{ entry: Buffer; nonce: Buffer | null; body: Buffer; dek_id: string }>(
      `SELECT e.entry, p.nonce, p.body, p.dek_id FROM ledger.ledger_entry e LEFT JOIN ledger.ledger_payload p USING (org_id, index)
       WHERE e.id = $1`,
      [id],
    )
    const row = rows[0]
    if (!row) throw new Error('an answer without its entry')
    const entry = JSON.parse(row.entry.toString()) as DecisionEntry
    const opened = row.nonce
      ? await free.lane.app
          .get(LedgerService)
          .sealer.open('org_default', entry.log, entry.id, Date.parse(entry.ts), { ...row, nonce: row.nonce })
      : null
    const sent = request.headers.some(([, value]) => value === entry.request_id)
    return {
      ...entry,
      id: '·',
      ts: '·',
      request_id: sent ? entry.request_id : '·',
      payload: entry.payload && entry.payload.fields,
      opened,
    }
  }

  async function compare(pair: Pair, request: RawRequest): Promise<void> {
    const [lane, express] = [await observe(pair.lane, request), await observe(pair.express, request)]
    expect(lane).toEqual(express)
  }

  const ordinary = (
    key = 'allow',
    body: unknown = { action: 'read:file', resource: 'docs/a' },
  ): RawRequest => {
    const bytes = Buffer.from(JSON.stringify(body))
    return {
      method: 'POST',
      target: '/enforce',
      headers: [
        ['Host', 'here'],
        ['Content-Type', 'application/json'],
        ['X-Agent-Key', keys[key] ?? ''],
        ['Content-Length', String(bytes.length)],
      ],
      body: bytes,
    }
  }

  /** Until both processes have the key in memory: that the first request takes the long way is no difference. */
  const warm = async (pair: Pair, ...names: string[]) => {
    for (const name of names) {
      await sendRaw(pair.lane.url, ordinary(name))
      await sendRaw(pair.express.url, ordinary(name))
    }
  }

  const often = <T>(common: T, ...rare: T[]) =>
    fc.oneof(
      { weight: 12, arbitrary: fc.constant(common) },
      { weight: 1, arbitrary: fc.constantFrom(...rare) },
    )

  const text = fc.oneof(
    fc.constantFrom(
      'read:file',
      'Read File',
      'delete:file',
      'send:email',
      'write',
      'tell',
      '',
      'é',
      '\ud800',
      'a\0b',
    ),
    fc.string({ unit: 'grapheme', maxLength: 20 }),
  )
  const free_form = fc.oneof(
    { weight: 3, arbitrary: fc.constant(undefined) },
    {
      weight: 3,
      arbitrary: fc.dictionary(fc.string({ maxLength: 6 }), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 4 }),
    },
    { weight: 1, arbitrary: fc.constantFrom<unknown>(null, [], 'x', 1, { a: 'y'.repeat(20_000) }) },
  )
  const body = fc.oneof(
    { weight: 8, arbitrary: fc.constant('{"action":"read:file","resource":"docs/a"}') },
    {
      weight: 8,
      arbitrary: fc
        .record({
          action: text,
          resource: fc.oneof(
            fc.constantFrom('docs/a', 'docs/../x', '"ü"\\', 'S3://B/%2e%2e/c', undefined, ''),
            text,
          ),
          arguments: free_form,
          context: free_form,
        })
        .map((value) => JSON.stringify(value)),
    },
    {
      weight: 2,
      arbitrary: fc.constantFrom(
        '{"action":"read:file","action":"write"}',
        '{"action":"read:file","other":1}',
        '{"action":1}',
        '{"action":"read:file","resource":null}',
        '{"action":"read:file","arguments":null}',
        '{"action":"read:file","context":[]}',
        '{"action":"read:file","__proto__":{}}',
        '{"action":"read:file","arguments":{"constructor":1}}',
        '{"action":"read:file","arguments":{"toString":1,"then":2,"length":3}}',
        '{"action":"read:file","arguments":{"0":1e400}}',
        `{"action":"read:file","arguments":${'{"a":'.repeat(33)}1${'}'.repeat(33)}}`,
        ' {"action" : "read:file" } ',
        '{"action":"\\u0000"}',
        '{"action":"read:file"',
        '[]',
        'null',
        '"x"',
        '{}',
        ' ',
        '',
        '\ufeff{"action":"read:file"}',
      ),
    },
  )
  const batch = fc.oneof(
    {
      weight: 8,
      arbitrary: fc
        .array(body, { minLength: 1, maxLength: 4 })
        .map((items) => `{"requests":[${items.join()}]}`),
    },
    {
      weight: 2,
      arbitrary: fc.constantFrom(
        '{"requests":[]}',
        '{"requests":null}',
        '{"requests":{"0":{"action":"read:file"}}}',
        '{"requests":["read:file"]}',
        '{"requests":[{"action":"read:file"},null]}',
        '{"requests":[{"action":"read:file"},[]]}',
        '{"requests":[{"action":"read:file"}],"more":1}',
        '{"requests":[{"action":"read:file"}],"requests":[]}',
        '{"action":"read:file"}',
        JSON.stringify({ requests: Array.from({ length: 100 }, () => ({ action: 'read:file' })) }),
        JSON.stringify({ requests: Array.from({ length: 101 }, () => ({ action: 'read:file' })) }),
        JSON.stringify({
          requests: Array.from({ length: 9 }, () => ({ action: 'x', context: { a: 'y'.repeat(60_000) } })),
        }),
        JSON.stringify({
          requests: Array.from({ length: 20 }, () => ({ action: 'x', context: { a: 'y'.repeat(60_000) } })),
        }),
      ),
    },
  )
  const headers = fc.record({
    key_header: often('X-Agent-Key', 'x-agent-key', 'X-AGENT-KEY'),
    key: fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom('allow', 'deny', 'none') },
      {
        weight: 2,
        arbitrary: fc.constantFrom(
          'revoked',
          'expired',
          'inactive',
          'unknown',
          'malformed',
          'root',
          'admin',
          'absent',
          'empty',
        ),
      },
    ),
    type: often<string | null>(
      'application/json',
      'application/json; charset=utf-8',
      'application/json;charset=UTF-8',
      'Application/JSON',
      'application/json; charset=latin1',
      'text/plain',
      null,
    ),
    framing: often<'length' | 'chunked' | 'gzip' | 'identity' | 'padded'>(
      'length',
      'chunked',
      'gzip',
      'identity',
      'padded',
    ),
    request_id: often<string | null>(null, 'mine-1', 'not sane', 'x'.repeat(129), ''),
    more: fc.array(
      fc.constantFrom<readonly [string, string]>(
        ['Origin', 'http://localhost:3000'],
        ['Origin', 'https://evil.example'],
        ['Expect', '100-continue'],
        ['Expect', 'nothing'],
        ['Idempotency-Key', 'once'],
        ['Prefer', 'wait=1'],
        ['X-Admin-Key', 'wrong'],
        ['X-Org-ID', 'org_default'],
        ['X-Org-ID', 'org_other'],
        ['Accept', 'text/html'],
        ['Connection', 'close'],
        ['Connection', 'keep-alive'],
        ['X-Forwarded-For', '1.2.3.4'],
        ['X-HTTP-Method-Override', 'DELETE'],
        ['X-Request-ID', 'second'],
        ['X-Agent-Key', 'second'],
        ['Content-Type', 'text/plain'],
        ['Cookie', 'a=b'],
        ['Upgrade', 'h2c'],
      ),
      { maxLength: 1 },
    ),
    more_weight: fc.nat(2),
  })

  const requestOf = (targets: string[], document: fc.Arbitrary<string>): fc.Arbitrary<RawRequest> =>
    fc
      .record({
        method: often('POST', 'GET', 'PUT', 'OPTIONS', 'post', 'DELETE'),
        target: fc.oneof(
          { weight: 8, arbitrary: fc.constantFrom(...targets) },
          {
            weight: 2,
            arbitrary: fc.constantFrom(
              '/enforce/',
              '/Enforce',
              '/enforce?a=1',
              '/enforce?',
              'http://here/enforce',
              '/%65nforce',
              '/v1//enforce',
              '/enforce/x',
              '/v2/enforce',
              '/enforce/batch/',
              '/v1/enforce//batch',
            ),
          },
        ),
        headers,
        body: document,
        late: fc.boolean(),
      })
      .map(({ method, target, headers: chosen, body: document, late }) => {
        let bytes = Buffer.from(document)
        const list: [string, string][] = [['Host', 'here']]
        const key = keys[chosen.key]
        if (chosen.key === 'empty') list.push([chosen.key_header, ''])
        else if (key !== undefined) list.push([chosen.key_header, key])
        if (chosen.type !== null) list.push(['Content-Type', chosen.type])
        if (chosen.request_id !== null) list.push(['X-Request-ID', chosen.request_id])
        // Who is refused and closed while still sending gets a reset, perhaps before the answer: nothing to compare.
        const large = bytes.length > 65_536
        if (chosen.more_weight === 0)
          for (const [name, value] of chosen.more) if (!(large && value === 'close')) list.push([name, value])
        if (chosen.framing === 'gzip') {
          bytes = gzipSync(bytes)
          list.push(['Content-Encoding', 'gzip'])
        }
        if (chosen.framing === 'identity') list.push(['Content-Encoding', 'identity'])
        if (chosen.framing === 'chunked') {
          list.push(['Transfer-Encoding', 'chunked'])
          const size =
            bytes.length === 0 ? '' : `${bytes.length.toString(16)}\r\n${bytes.toString('latin1')}\r\n`
          bytes = Buffer.from(`${size}0\r\n\r\n`, 'latin1')
        } else list.push(['Content-Length', `${chosen.framing === 'padded' ? '00' : ''}${bytes.length}`])
        return { method, target, headers: list, body: bytes, late: late && !large }
      })

  const single = requestOf(['/enforce', '/v1/enforce'], body)
  const batched = requestOf(['/enforce/batch', '/v1/enforce/batch'], batch)

  it.each([
    ['without limits', () => free, single, 400],
    ['with limits that are used up on the way', () => limited, single, 300],
    ['batches without limits', () => free, batched, 200],
    ['batches with limits that are used up on the way', () => limited_batches, batched, 150],
  ])('finds no difference between the lane and Express, %s', async (_, pair, request, numRuns) => {
    await warm(pair(), 'allow', 'deny', 'none')
    const taken = jest.spyOn(EnforceLane.prototype, 'take')
    const answered = jest.spyOn(LaneExchanges.prototype, 'answer')
    const failed = jest.spyOn(LaneExchanges.prototype, 'fail')
    const left = jest.spyOn(LaneExchanges.prototype, 'leave')
    await fc.assert(
      fc.asyncProperty(request, async (one) => compare(pair(), one)),
      { numRuns, endOnFailure: true },
    )
    // Control: the lane was really there, and went every way that it has. How often is chance: a dozen where least.
    expect(taken.mock.calls.length).toBeGreaterThanOrEqual(numRuns * 0.9)
    for (const way of [answered, failed, left]) expect(way.mock.calls.length).toBeGreaterThanOrEqual(2)
    jest.restoreAllMocks()
  })

  describe('control: a lane that differs is found', () => {
    const exchanges = () => free.lane.app.get<{ head: string[] }>(LaneExchanges)
    afterEach(() => jest.restoreAllMocks())

    it('by a header that is missing', async () => {
      await warm(free, 'allow')
      await compare(free, ordinary())
      const { head } = exchanges()
      exchanges().head = head.slice(0, -2)
      await expect(compare(free, ordinary())).rejects.toThrow()
      exchanges().head = head
      await compare(free, ordinary())
    })

    it('by a counter that is not fed', async () => {
      const silent = jest.spyOn(free.lane.app.get(Metrics), 'policyEvaluated').mockImplementation()
      await expect(compare(free, ordinary())).rejects.toThrow()
      silent.mockRestore()
    })

    it('by a body that says more', async () => {
      const { answer } = LaneExchanges.prototype
      jest.spyOn(LaneExchanges.prototype, 'answer').mockImplementation(function (
        this: LaneExchanges,
        exchange,
        document,
      ) {
        answer.call(this, exchange, document.replace('"allowed":true', '"allowed":true,"lane":true'))
      })
      await expect(compare(free, ordinary())).rejects.toThrow()
    })
  })

  it('agrees on what goes wrong after the request was read', async () => {
    await warm(free, 'allow')
    const submits = [free.lane, free.express].map((app) => jest.spyOn(app.app.get(LedgerService), 'submit'))
    for (const kind of ['stale', 'expired', 'no_log'] as const) {
      for (const submit of submits) submit.mockResolvedValue({ kind })
      await compare(free, ordinary())
      await warm(free, 'allow')
    }
    for (const submit of submits) submit.mockRejectedValue(new Error('nobody foresaw this'))
    await compare(free, ordinary())
    jest.restoreAllMocks()
    await compare(free, ordinary('allow', { action: 'read', arguments: { half: 'x'.repeat(15_000) } }))
  })

  it('agrees on a ledger that does not answer: 503 within the deadline', async () => {
    await warm(free, 'allow')
    await owner.query('BEGIN')
    await owner.query(`SELECT FROM ledger.ledger_head WHERE org_id = 'org_default' FOR UPDATE`)
    const start = performance.now()
    await Promise.all([
      sendRaw(free.lane.url, ordinary()).then((answer) => expect(answer.status).toBe(503)),
      sendRaw(free.express.url, ordinary()).then((answer) => expect(answer.status).toBe(503)),
    ])
    // Nobody lets go of it: without a deadline there would be no answer at all. 2 s, and what a loaded machine adds.
    expect(performance.now() - start).toBeLessThan(10_000)
    await owner.query('ROLLBACK')
    await compare(free, ordinary())
  })

  it('agrees on connections that are to end while the service drains', async () => {
    await warm(free, 'allow')
    const draining = [free.lane, free.express].map((app) =>
      jest.spyOn(app.app.get(Shutdown), 'isDraining', 'get').mockReturnValue(true),
    )
    const answer = await sendRaw(free.lane.url, ordinary())
    expect(answer.headers).toContainEqual(['Connection', 'close'])
    await compare(free, ordinary())
    for (const spy of draining) spy.mockRestore()
  })
})
