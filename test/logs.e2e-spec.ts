import { randomUUID } from 'node:crypto'
import { Client as Postgres } from 'pg'
import type { LogEntry } from '../src/logs/logs.dto.js'
import { type RunningApp, startApp } from './support/app.js'
import { type Answer, Client, type ProblemBody } from './support/client.js'
import { until } from './support/proofs.js'

let app: RunningApp
let admin: Client
let owner: Postgres

beforeAll(async () => {
  app = await startApp()
  admin = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
})

afterAll(async () => {
  await owner?.end()
  await app?.close()
})

async function makeAgent(): Promise<{ agent_id: string; client: Client }> {
  const { body } = await admin.post<{ agent_id: string; api_key: string }>('/agents', {
    name: 'a',
    owner_team: 'ops',
    environment: 'dev',
  })
  await admin.put(`/agents/${body.agent_id}/policy`, { allow: [{ action: 'read:*' }] })
  return { agent_id: body.agent_id, client: admin.with({ 'X-Agent-Key': body.api_key }) }
}

const list = async (client: Client, query = '') => {
  const answer = await client.get<LogEntry[]>(`/logs${query}`)
  expect([answer.status, answer.text]).toEqual([200, answer.text])
  return answer
}

describe('POST /logs (AG-70)', () => {
  it('answers 201 with the documented row, the agent taken from the key', async () => {
    const { agent_id, client } = await makeAgent()
    const request_id = randomUUID()
    const sent = {
      action: 'read file',
      resource: 's3://docs/a',
      allowed: true,
      result: 'success',
      context: { user: 'u1' },
      metadata: { ms: 12 },
      request_id,
    }
    const { status, body } = await client.post<LogEntry>('/logs', sent)
    expect(status).toBe(201)
    expect(body).toMatchObject({
      ...sent,
      agent_id,
      type: 'action',
      event: 'action.reported',
      source: 'agent',
    })
    expect(body.log_id).toMatch(/^[0-9a-f-]{36}$/)
    expect(Date.parse(body.timestamp)).toBeGreaterThan(Date.now() - 60_000)
    const [read] = (await list(client, '?limit=1')).body
    expect(read).toEqual(body)
  })

  it('takes an X-Request-ID where the body names no request', async () => {
    const { client } = await makeAgent()
    const { body } = await client.post<LogEntry>(
      '/logs',
      { action: 'read', allowed: true, result: 'success' },
      { 'X-Request-ID': 'req-of-mine' },
    )
    expect(body).toMatchObject({ request_id: 'req-of-mine', resource: null, context: null, metadata: null })
  })

  it.each([
    ['another result', { action: 'read', allowed: true, result: 'maybe' }, 'result'],
    ['no result', { action: 'read', allowed: true }, 'result'],
    ['allowed as text', { action: 'read', allowed: 'true', result: 'success' }, 'allowed'],
    ['no action', { allowed: true, result: 'success' }, 'action'],
    ['an unreadable action', { action: '--', allowed: true, result: 'success' }, 'action'],
    [
      'an unknown field',
      { action: 'read', allowed: true, result: 'success', agent_id: 'agt_other' },
      'agent_id',
    ],
    [
      'metadata that is a list',
      { action: 'read', allowed: true, result: 'success', metadata: [1] },
      'metadata',
    ],
    [
      'a decision of nobody',
      {
        action: 'read',
        allowed: true,
        result: 'success',
        decision_id: '01900000-0000-7000-8000-000000000000',
      },
      'decision_id',
    ],
  ])('refuses %s with its path', async (_, body, path) => {
    const { client } = await makeAgent()
    const answer = await client.post<ProblemBody>('/logs', body)
    expect(answer.status).toBe(422)
    expect(answer.body.errors?.map((error) => error.path)).toContain(path)
    expect((await list(client)).body).toEqual([])
  })

  it('records a report that contradicts the decision it names as a mismatch (C10)', async () => {
    const { client } = await makeAgent()
    const decision = await client.post<{ decision_id: string; allowed: boolean }>('/enforce', {
      action: 'write:file',
    })
    expect(decision.body.allowed).toBe(false)
    const report = (allowed: boolean) =>
      client.post<LogEntry>('/logs', {
        action: 'write:file',
        allowed,
        result: 'success',
        decision_id: decision.body.decision_id,
      })
    expect((await report(true)).body.mismatch).toBe(true)
    expect((await report(false)).body.mismatch).toBe(false)
    const { body } = await list(client, `?decision_id=${decision.body.decision_id}`)
    expect(body.map((entry) => [entry.type, entry.allowed, entry.mismatch])).toEqual([
      ['action', false, false],
      ['action', true, true],
      ['decision', false, null],
    ])
  })

  it('does not take another agent’s decision', async () => {
    const one = await makeAgent()
    const other = await makeAgent()
    const { body } = await one.client.post<{ decision_id: string }>('/enforce', { action: 'read:file' })
    const answer = await other.client.post('/logs', {
      action: 'read:file',
      allowed: true,
      result: 'success',
      decision_id: body.decision_id,
    })
    expect(answer.status).toBe(422)
  })
})

describe('GET /logs (AG-71, AG-72)', () => {
  it('shows the service’s own decisions beside the agent’s word, newest first, as a bare array', async () => {
    const { client, agent_id } = await makeAgent()
    await client.post('/enforce', { action: 'read:file', arguments: { a: 1 }, context: { b: 2 } })
    await client.post('/logs', { action: 'read:file', allowed: true, result: 'success' })
    const { body, headers } = await list(client)
    expect(body.map((entry) => [entry.type, entry.source])).toEqual([
      ['action', 'agent'],
      ['decision', 'service'],
    ])
    expect(body[1]).toMatchObject({
      agent_id,
      action: 'read:file',
      status: 'allowed',
      code: 'allow_rule',
      reason: 'Matched allow rule: read:* on *',
      arguments: { a: 1 },
      context: { b: 2 },
      redacted: false,
    })
    expect([headers.get('X-Total-Count'), headers.get('X-Total-Count-Relation')]).toEqual(['2', 'eq'])
  })

  it('shows an agent its own entries only, whatever it asks for', async () => {
    const one = await makeAgent()
    const other = await makeAgent()
    await one.client.post('/enforce', { action: 'read:file' })
    await other.client.post('/enforce', { action: 'read:file' })
    const { body } = await list(one.client, `?agent_id=${other.agent_id}`)
    expect(new Set(body.map((entry) => entry.agent_id))).toEqual(new Set([one.agent_id]))
    expect((await list(admin, `?agent_id=${other.agent_id}`)).body).toHaveLength(1)
  })

  it('filters by any spelling of an action, by pattern, verdict, type and time', async () => {
    const { client, agent_id } = await makeAgent()
    for (const action of ['send:external_email', 'sendExternalEmail', 'read:file', 'read', 'reading:list']) {
      await client.post('/enforce', { action })
    }
    const count = async (query: string) => (await list(admin, `?agent_id=${agent_id}&${query}`)).body.length
    expect(await count('action=Send+External+Email')).toBe(2)
    expect(await count('action=read:*')).toBe(2)
    expect(await count('action=read')).toBe(1)
    expect(await count('action=*:file')).toBe(1)
    expect(await count('allowed=true')).toBe(2)
    expect(await count('allowed=false')).toBe(3)
    expect(await count('type=action')).toBe(0)
    expect(await count('type=decision,action')).toBe(5)
    const [middle] = (await list(admin, `?agent_id=${agent_id}&limit=1&offset=2`)).body
    const at = encodeURIComponent(middle?.timestamp ?? '')
    expect(await count(`start_time=${at}&end_time=${at}`)).toBeGreaterThanOrEqual(1)
    expect(await count('end_time=2020-01-01T00:00:00Z')).toBe(0)
    expect(await count('start_time=2020-01-01T00:00:00%2B02:00')).toBe(5)
  })

  it('pages by cursor without skipping or repeating while entries are added', async () => {
    const { client } = await makeAgent()
    for (let i = 0; i < 25; i++) await client.post('/enforce', { action: `read:file_${i}` })
    const before = (await list(client)).body.map((entry) => entry.index)
    const seen: number[] = []
    let next: string | null = '/logs?limit=7'
    while (next) {
      const page: Awaited<ReturnType<typeof list>> = await client.get<LogEntry[]>(next)
      seen.push(...page.body.map((entry) => entry.index))
      await client.post('/enforce', { action: 'read:late' })
      next = /^<(.+)>; rel="next"$/.exec(page.headers.get('Link') ?? '')?.[1] ?? null
    }
    expect(seen).toEqual(before)
    // Control: paging by offset does repeat under the same writes.
    const first = (await list(client, '?limit=7')).body.map((entry) => entry.index)
    await client.post('/enforce', { action: 'read:late' })
    const second = (await list(client, '?limit=7&offset=7')).body.map((entry) => entry.index)
    expect(second).toContain(first.at(-1))
  })

  it('counts exactly to 10,000 and says so beyond', async () => {
    const { agent_id, client } = await makeAgent()
    await client.post('/enforce', { action: 'read:file' })
    const copies = (from: number, to: number) =>
      owner.query(
        `INSERT INTO ledger.ledger_entry (org_id, index, id, retention_days, ts, type, agent_id, action_key, allowed, entry)
         SELECT org_id, 1000000 + i, (left(id::text, 24) || lpad(to_hex(i), 12, '0'))::uuid, retention_days, ts, type,
                agent_id, action_key, allowed, entry
         FROM (SELECT * FROM ledger.ledger_entry WHERE agent_id = $1 AND type = 'decision' LIMIT 1) AS one,
              generate_series($2::integer, $3::integer) AS i`,
        [agent_id, from, to],
      )
    const totals = async () => {
      const { headers } = await list(admin, `?agent_id=${agent_id}&limit=1&offset=9999`)
      return [headers.get('X-Total-Count'), headers.get('X-Total-Count-Relation')]
    }
    await copies(1, 9_999)
    expect(await totals()).toEqual(['10000', 'eq'])
    await copies(10_000, 10_000)
    expect(await totals()).toEqual(['10000', 'gte'])
  })

  it('finds what was denied without walking over what was allowed', async () => {
    const { client } = await makeAgent()
    await client.post('/enforce', { action: 'delete:file' })
    await owner.query('ANALYZE ledger.ledger_entry') // many allows by now: the test before this one
    const scans = async () => {
      const { rows } = await owner.query<{ scans: number }>(
        `SELECT sum(s.idx_scan)::integer AS scans FROM pg_stat_all_indexes s
         JOIN pg_indexes i ON i.schemaname = s.schemaname AND i.indexname = s.indexrelname
         WHERE s.schemaname = 'ledger' AND i.indexdef LIKE '%WHERE (NOT allowed)'`,
      )
      return rows[0]?.scans ?? 0
    }
    const before = await scans()
    const { body } = await list(admin, '?allowed=false&limit=1')
    expect(body[0]).toMatchObject({ action: 'delete:file', allowed: false })
    // PostgreSQL counts scans a moment later.
    await until(async () => ((await scans()) > before ? true : null), 10_000)
  })

  it.each([
    ['limit=0', 'limit'],
    ['limit=1001', 'limit'],
    ['limit=ten', 'limit'],
    ['offset=-1', 'offset'],
    ['offset=10001', 'offset'],
    ['allowed=yes', 'allowed'],
    ['start_time=yesterday', 'start_time'],
    ['start_time=2026-01-01T00:00:00', 'start_time'],
    ['type=secrets', 'type'],
    ['action=%5B', 'action'],
    ['cursor=abc', 'cursor'],
    ['cursor=djE6NQ&offset=1', 'cursor'],
    ['unknown=1', 'unknown'],
  ])('refuses ?%s with its path', async (query, path) => {
    const { status, body } = await admin.get(`/logs?${query}`)
    expect(status).toBe(422)
    expect(body.errors?.map((error) => error.path)).toContain(path)
  })

  it('lists configuration entries only when asked, and only to who may see them (C40)', async () => {
    const { agent_id, client } = await makeAgent()
    expect((await list(admin)).body.every((entry) => entry.type !== 'config')).toBe(true)
    const { body } = await list(admin, `?type=config&agent_id=${agent_id}`)
    expect(body.map((entry) => entry.event)).toEqual(['policy.updated', 'key.created', 'agent.created'])
    expect(body[0]).toMatchObject({
      actor: { kind: 'root' },
      change: { kind: 'policy', op: 'updated', version: 1 },
    })
    expect((await client.get('/logs?type=config')).status).toBe(403)
    const operator = await admin.post<{ api_key: string }>('/admin-keys', { name: 'op', role: 'operator' })
    const asOperator = admin.with({ 'X-Admin-Key': operator.body.api_key })
    expect((await asOperator.get('/logs')).status).toBe(200)
    expect((await asOperator.get('/logs?type=config')).status).toBe(403)
  })

  it('finds one entry by its id, of whatever type, for who may read that type', async () => {
    const { agent_id, client } = await makeAgent()
    await client.post('/enforce', { action: 'read:file' })
    const [made] = (await list(admin, `?type=config&agent_id=${agent_id}`)).body
    const [decision] = (await list(admin, `?agent_id=${agent_id}`)).body
    const one = async (by: Client, log_id?: string) => (await list(by, `?log_id=${log_id}`)).body
    expect(await one(admin, made?.log_id)).toEqual([made])
    expect(await one(admin, decision?.log_id)).toEqual([decision])
    expect(await one(client, decision?.log_id)).toEqual([decision])
    const operator = await admin.post<{ api_key: string }>('/admin-keys', { name: 'op', role: 'operator' })
    const asOperator = admin.with({ 'X-Admin-Key': operator.body.api_key })
    expect(await one(asOperator, decision?.log_id)).toEqual([decision])
    // Not to be read looks like not there: of another type, agent, team or organization.
    const { client: stranger } = await makeAgent()
    const team = await admin.post<{ api_key: string }>('/admin-keys', {
      name: 't',
      role: 'admin',
      team: 'else',
    })
    const asTeam = admin.with({ 'X-Admin-Key': team.body.api_key })
    const org = await admin.post<{ org_id: string }>('/organizations', { name: 'other' })
    const abroad = admin.with({ ...admin.headers, 'X-Org-ID': org.body.org_id })
    expect(await one(asOperator, made?.log_id)).toEqual([])
    for (const who of [stranger, asTeam, abroad]) expect(await one(who, decision?.log_id)).toEqual([])
    expect((await admin.get('/logs?log_id=nonsense')).status).toBe(422)
  })

  it('needs a valid key: AG-3', async () => {
    const none = new Client(app.url)
    const absent = await none.get('/logs')
    expect([absent.status, absent.body.detail]).toEqual([
      401,
      'Authentication required. Provide X-Admin-Key or X-Agent-Key header.',
    ])
    const { client } = await makeAgent()
    const wrongAdmin = client.with({ ...client.headers, 'X-Admin-Key': 'wrong' })
    expect((await wrongAdmin.get('/logs')).status).toBe(200) // the agent key is tried second
    expect((await none.with({ 'X-Admin-Key': 'wrong' }).get('/logs')).status).toBe(401)
  })
})

describe('a page of large entries', () => {
  it('ends after 4 MB of payloads, and the next one goes on where it ended', async () => {
    const { client } = await makeAgent()
    const metadata = { text: 'x'.repeat(60_000) }
    const count = 80
    for (let i = 0; i < count; i++) {
      const { status } = await client.post('/logs', {
        action: `read:${i}`,
        allowed: true,
        result: 'success',
        metadata,
      })
      expect(status).toBe(201)
    }
    const seen: (string | null)[] = []
    let pages = 0
    for (let url: string | undefined = '/logs?limit=1000'; url; pages++) {
      const { status, body, text, headers }: Answer<LogEntry[]> = await client.get<LogEntry[]>(url)
      expect(status).toBe(200)
      expect(text.length).toBeLessThan(5_000_000)
      expect(body.every((entry) => JSON.stringify(entry.metadata) === JSON.stringify(metadata))).toBe(true)
      seen.push(...body.map(({ action }) => action))
      url = /<(\/v1)?([^>]+)>/.exec(headers.get('link') ?? '')?.[2]
    }
    expect(pages).toBe(2)
    expect(seen).toEqual(Array.from({ length: count }, (_, i) => `read:${count - 1 - i}`))
  })
})
