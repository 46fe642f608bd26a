import type { CreatedAdminKey } from '../src/admin-keys/admin-keys.dto.js'
import type { Agent, CreatedAgent } from '../src/agents/agents.dto.js'
import type { Key } from '../src/keys/keys.dto.js'
import type { Organization } from '../src/organizations/organizations.dto.js'
import { isWellFormedKey } from '../src/core/keys/key-format.js'
import { LedgerService } from '../src/ledger/ledger.service.js'
import { Database } from '../src/platform/database/database.service.js'
import { type RunningApp, startApp } from './support/app.js'
import { type Answer, Client, withoutNames } from './support/client.js'
import { recorded, versions } from './support/recorded.js'

const ORG = 'org_default'
let app: RunningApp
let root: Client

beforeAll(async () => {
  app = await startApp()
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
})
afterAll(() => app?.close())
afterEach(() => jest.restoreAllMocks())

async function create(changes: Partial<Record<keyof Agent, unknown>> = {}, by = root): Promise<CreatedAgent> {
  const body = { name: 'bot', owner_team: 'research', environment: 'dev', ...changes }
  const answer = await by.post<CreatedAgent>('/agents', body)
  expect(answer.status).toBe(201)
  return answer.body
}

async function holderOf(role: string, org_id = ORG): Promise<Client> {
  const { body } = await root.post<CreatedAdminKey>(
    '/admin-keys',
    { name: role, role },
    { 'X-Org-ID': org_id },
  )
  return root.with({ 'X-Admin-Key': body.api_key })
}

async function otherOrganization(): Promise<string> {
  return (await root.post<Organization>('/organizations', { name: 'Other' })).body.org_id
}

/** The status that the agent's own key gets: 401 as soon as it may not ask any more. */
const asks = async ({ api_key }: CreatedAgent): Promise<number> =>
  (await root.with({ 'X-Agent-Key': api_key }).get('/agents')).status

const idsOf = ({ body }: Answer<Agent[]>): string[] => body.map(({ agent_id }) => agent_id)

describe('creating (row AG-20)', () => {
  it('answers the agent with its key, which is shown this once', async () => {
    const created = await create({ name: '  bot one ' })
    expect(created).toEqual({
      agent_id: expect.stringMatching(/^agt_[\w-]{16}$/),
      name: 'bot one',
      owner_team: 'research',
      environment: 'dev',
      risk_level: null,
      is_active: true,
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      updated_at: created.created_at,
      api_key: expect.stringMatching(/^agk_[0-9A-Za-z]{49}$/),
      key_id: expect.stringMatching(/^key_[\w-]{16}$/),
      key_prefix: created.api_key.slice(0, 12),
    })
    expect(isWellFormedKey('agk_', created.api_key)).toBe(true)

    const secret = created.api_key.slice(12)
    const { key_hash } = await app.app
      .get(Database)
      .withOrg({ org_id: ORG }, (tx) => tx.agentKey.findFirstOrThrow({ where: { key_id: created.key_id } }))
    expect(key_hash).toMatch(/^[0-9a-f]{64}$/)
    const { agent_id } = created
    for (const path of ['/agents?limit=1000', `/agents/${agent_id}`, `/agents/${agent_id}/keys`]) {
      const { text } = await root.get(path)
      expect(text).toContain(agent_id)
      expect(text).not.toContain(secret)
      expect(text).not.toContain(key_hash)
    }
    const log = JSON.stringify(await recorded(app.app))
    expect(log).toContain(created.key_id)
    expect(log).not.toContain(secret)
    expect(log).not.toContain(key_hash)
  })

  it('records the agent and its key with their subject', async () => {
    const { agent_id, key_id } = await create({ name: 'recorded', environment: 'prod' })
    const subject = { agent_id, environment: 'prod', team: 'research' }
    const actor = { kind: 'root', id: 'root' }
    const entries = (await recorded(app.app)).filter((entry) => entry.subject?.agent_id === agent_id)
    expect(entries).toMatchObject([
      {
        event: 'agent.created',
        actor,
        subject,
        change: { kind: 'agent', id: agent_id, op: 'created' },
        opened: { after: { name: 'recorded', owner_team: 'research', environment: 'prod', is_active: true } },
      },
      { event: 'key.created', actor, subject, change: { kind: 'key', id: key_id, op: 'created' } },
    ])
  })

  it.each([
    ['dev', 'dev'],
    ['stage', 'stage'],
    ['prod', 'prod'],
    ['development', 'dev'],
    ['staging', 'stage'],
    ['production', 'prod'],
  ])('takes the environment %s and answers %s (C1)', async (environment, short) => {
    const { agent_id, environment: answered } = await create({ environment })
    expect(answered).toBe(short)
    expect((await root.get<Agent>(`/agents/${agent_id}`)).body.environment).toBe(short)
  })

  const valid = { name: 'a', owner_team: 'b', environment: 'dev' }
  it.each([
    [{ ...valid, name: undefined }, 'name'],
    [{ ...valid, owner_team: undefined }, 'owner_team'],
    [{ ...valid, environment: undefined }, 'environment'],
    [{ ...valid, name: '' }, 'name'],
    [{ ...valid, name: '   ' }, 'name'],
    [{ ...valid, owner_team: 'x'.repeat(256) }, 'owner_team'],
    [{ ...valid, name: 'a\u0007b' }, 'name'],
    [{ ...valid, name: null }, 'name'],
    [{ ...valid, name: { length: 3 } }, 'name'],
    [{ ...valid, owner_team: ['b'] }, 'owner_team'],
    [{ ...valid, environment: 'test' }, 'environment'],
    [{ ...valid, environment: 'PROD' }, 'environment'],
    [{ ...valid, environment: ['dev'] }, 'environment'],
    [{ ...valid, risk_level: 'severe' }, 'risk_level'],
    [{ ...valid, risk_level: '' }, 'risk_level'],
    [{ ...valid, is_active: false }, 'is_active'],
    [{ ...valid, agent_id: 'agt_mine' }, 'agent_id'],
    [{ ...valid, api_key: 'agk_mine' }, 'api_key'],
    [{ ...valid, org_id: 'org_theirs' }, 'org_id'],
  ])('refuses %j with the path', async (body, path) => {
    const answer = await root.post('/agents', body)
    expect([answer.status, answer.body.code]).toEqual([422, 'validation_failed'])
    expect(new Set(answer.body.errors?.map((error) => error.path))).toEqual(new Set([path]))
  })

  it('reports every mistake at once', async () => {
    const answer = await root.post('/agents', { nme: 'x', environment: 'moon' })
    expect(answer.body.errors?.map(({ path }) => path)).toEqual(
      expect.arrayContaining(['environment', 'name', 'nme', 'owner_team']),
    )
  })

  it('takes names of 255 characters in any script', async () => {
    const name = '研究🤖'.repeat(85)
    expect((await create({ name })).name).toBe(name)
  })

  it('takes a new team from several requests at once', async () => {
    const made = await Promise.all(Array.from({ length: 8 }, () => create({ owner_team: 'rush' })))
    expect(new Set(made.map(({ agent_id }) => agent_id)).size).toBe(8)
  })

  it('leaves neither agent nor team nor key when the entry cannot be appended', async () => {
    jest.spyOn(app.app.get(LedgerService).sealer, 'seal').mockRejectedValue(new Error('no entry today'))
    const answer = await root.post('/agents', { name: 'never', owner_team: 'never', environment: 'dev' })
    expect(answer.status).toBe(500)
    jest.restoreAllMocks()
    const rows = await app.app
      .get(Database)
      .withOrg({ org_id: ORG }, async (tx) => [
        await tx.agent.count({ where: { name: 'never' } }),
        await tx.team.count({ where: { team: 'never' } }),
        await tx.agentKey.count({ where: { agent: { name: 'never' } } }),
      ])
    expect(rows).toEqual([0, 0, 0])
    expect((await recorded(app.app)).some(({ subject }) => subject?.team === 'never')).toBe(false)
  })

  it('replays an Idempotency-Key without the secret and makes nothing twice', async () => {
    const headers = { 'Idempotency-Key': 'create-once' }
    const body = { name: 'once', owner_team: 'idempotent', environment: 'dev' }
    const first = await root.post<CreatedAgent>('/agents', body, headers)
    const again = await root.post<CreatedAgent>('/agents', body, headers)
    expect([first.status, again.status]).toEqual([201, 201])
    expect(again.body).toEqual({ ...first.body, api_key: null })
    expect((await root.get<Agent[]>('/agents?name=once')).body).toHaveLength(1)
  })
})

describe('listing (row AG-22, C27)', () => {
  it('gives active agents, oldest first, in pages with the total, by skip or offset', async () => {
    for (const name of ['p1', 'p2', 'p3', 'p4']) await create({ name, owner_team: 'paged' })
    const all = await root.get<Agent[]>('/agents?owner_team=paged')
    expect(all.body.map(({ name }) => name)).toEqual(['p1', 'p2', 'p3', 'p4'])
    expect(all.headers.get('X-Total-Count')).toBe('4')
    for (const query of ['skip=1', 'offset=1']) {
      const page = await root.get<Agent[]>(`/agents?owner_team=paged&limit=2&${query}`)
      expect(page.body).toEqual(all.body.slice(1, 3))
      expect(page.headers.get('X-Total-Count')).toBe('4')
    }
    expect((await root.get('/agents?owner_team=paged&skip=4')).body).toEqual([])
  })

  it('shows the same fields as getting one', async () => {
    const { api_key: _, key_id: __, key_prefix: ___, ...agent } = await create({ name: 'fields' })
    expect((await root.get('/agents?name=fields')).body).toEqual([agent])
    expect((await root.get(`/agents/${agent.agent_id}`)).body).toEqual(agent)
  })

  it('filters by environment in short and long words, by team, and by exact name', async () => {
    const dev = await create({ owner_team: 'filtered', environment: 'dev' })
    const prod = await create({ owner_team: 'filtered', environment: 'prod', name: 'BOT' })
    for (const environment of ['prod', 'production']) {
      const found = await root.get<Agent[]>(`/agents?owner_team=filtered&environment=${environment}`)
      expect(idsOf(found)).toEqual([prod.agent_id])
    }
    expect(idsOf(await root.get('/agents?owner_team=filtered&environment=development'))).toEqual([
      dev.agent_id,
    ])
    expect(idsOf(await root.get('/agents?owner_team=filtered&name=BOT'))).toEqual([prod.agent_id])
    expect((await root.get('/agents?owner_team=nobody')).body).toEqual([])
  })

  it('filters by risk, and finds what nobody has rated', async () => {
    const rated = await create({ owner_team: 'rated', risk_level: 'critical' })
    const unrated = await create({ owner_team: 'rated', risk_level: null })
    const found = async (risk: string) => idsOf(await root.get(`/agents?owner_team=rated&risk_level=${risk}`))
    expect([await found('critical'), await found('unrated'), await found('low')]).toEqual([
      [rated.agent_id],
      [unrated.agent_id],
      [],
    ])
    expect((await root.patch(`/agents/${rated.agent_id}`, { risk_level: null })).status).toBe(200)
    expect(await found('unrated')).toEqual([rated.agent_id, unrated.agent_id])
    expect((await root.get('/agents?risk_level=severe')).status).toBe(422)
  })

  it('lists inactive agents only when asked (row AG-25)', async () => {
    const { agent_id } = await create({ owner_team: 'hidden' })
    await root.delete(`/agents/${agent_id}`)
    expect((await root.get('/agents?owner_team=hidden')).body).toEqual([])
    expect(idsOf(await root.get('/agents?owner_team=hidden&include_inactive=true'))).toEqual([agent_id])
    expect((await root.get('/agents?owner_team=hidden&include_inactive=false')).body).toEqual([])
  })

  it.each([
    'limit=0',
    'limit=1001',
    'limit=1e2',
    'limit=010',
    'limit=',
    'skip=-1',
    'offset=-1',
    'skip=1&offset=1',
    'environment=test',
    'include_inactive=yes',
    'owner_team=',
    'sort=name',
    'name=a&name=b',
  ])('refuses ?%s', async (query) => {
    const answer = await root.get(`/agents?${query}`)
    expect([answer.status, answer.body.code]).toEqual([422, 'validation_failed'])
  })
})

describe('getting (row AG-23)', () => {
  it('answers an unknown agent with 404 and its name', async () => {
    expect((await root.get('/agents/agt_unknown')).body).toMatchObject({
      status: 404,
      code: 'agent_not_found',
      detail: 'Agent agt_unknown not found',
    })
  })
})

describe('changing', () => {
  it('changes what is given, raises the agent, and records before and after', async () => {
    const { agent_id } = await create({ name: 'old', owner_team: 'left', environment: 'dev' })
    const [, version = 0] = await versions(app.app, ORG, agent_id)
    const changes = { name: 'new', owner_team: 'joined', environment: 'production', risk_level: 'high' }
    const { status, body } = await root.patch<Agent>(`/agents/${agent_id}`, changes)
    expect(status).toBe(200)
    expect(body).toMatchObject({
      agent_id,
      name: 'new',
      owner_team: 'joined',
      environment: 'prod',
      risk_level: 'high',
      is_active: true,
    })
    expect(String(body.updated_at) > String(body.created_at)).toBe(true)
    expect((await root.get(`/agents/${agent_id}`)).body).toEqual(body)
    expect(await versions(app.app, ORG, agent_id)).toEqual([expect.any(Number), version + 1])
    expect((await recorded(app.app)).at(-1)).toMatchObject({
      event: 'agent.updated',
      subject: { agent_id, environment: 'prod', team: 'joined' },
      change: { kind: 'agent', id: agent_id, op: 'updated' },
      config: { agent: version + 1 },
      opened: {
        before: { name: 'old', owner_team: 'left', environment: 'dev', risk_level: null, is_active: true },
        after: {
          name: 'new',
          owner_team: 'joined',
          environment: 'prod',
          risk_level: 'high',
          is_active: true,
        },
      },
    })
  })

  it('records and raises nothing when nothing changes', async () => {
    const { agent_id, name, updated_at } = await create()
    const before = [await versions(app.app, ORG, agent_id), (await recorded(app.app)).length]
    for (const body of [{}, { name, is_active: true }]) {
      const same = await root.patch<Agent>(`/agents/${agent_id}`, body)
      expect([same.status, same.body.updated_at]).toEqual([200, updated_at])
    }
    expect([await versions(app.app, ORG, agent_id), (await recorded(app.app)).length]).toEqual(before)
  })

  it('stops an agent at its very next request, and lets it on with the same key', async () => {
    const agent = await create()
    expect(await asks(agent)).toBe(403)
    await root.patch(`/agents/${agent.agent_id}`, { is_active: false })
    expect(await asks(agent)).toBe(401)
    await root.patch(`/agents/${agent.agent_id}`, { is_active: true })
    expect(await asks(agent)).toBe(403)
  })

  it('keeps every one of many changes at once in order', async () => {
    const { agent_id } = await create({ name: 'n' })
    const names = Array.from({ length: 8 }, (_, n) => `n${n}`)
    await Promise.all(names.map((name) => root.patch(`/agents/${agent_id}`, { name })))
    const entries = (await recorded(app.app)).filter(
      ({ event, change }) => event === 'agent.updated' && change.id === agent_id,
    )
    const steps = entries.map(({ opened }) => opened as { before: Agent; after: Agent })
    expect(steps.map(({ after }) => after.name).sort()).toEqual(names)
    expect(steps.map(({ before }) => before.name)).toEqual([
      'n',
      ...steps.slice(0, -1).map(({ after }) => after.name),
    ])
  })

  it.each([
    [{ name: '' }, 'name'],
    [{ name: null }, 'name'],
    [{ owner_team: 7 }, 'owner_team'],
    [{ environment: 'moon' }, 'environment'],
    [{ risk_level: 'unrated' }, 'risk_level'],
    [{ is_active: 'true' }, 'is_active'],
    [{ is_active: null }, 'is_active'],
    [{ agent_id: 'agt_other' }, 'agent_id'],
    [{ created_at: '2020-01-01T00:00:00Z' }, 'created_at'],
  ])('refuses %j with the path', async (body, path) => {
    const { agent_id } = await create()
    const answer = await root.patch(`/agents/${agent_id}`, body)
    expect(answer.status).toBe(422)
    expect(new Set(answer.body.errors?.map((error) => error.path))).toEqual(new Set([path]))
  })

  it('leaves nothing when the entry cannot be appended', async () => {
    const { agent_id } = await create({ name: 'kept' })
    const before = await versions(app.app, ORG, agent_id)
    jest.spyOn(app.app.get(LedgerService).sealer, 'seal').mockRejectedValue(new Error('no entry today'))
    expect((await root.patch(`/agents/${agent_id}`, { name: 'lost' })).status).toBe(500)
    jest.restoreAllMocks()
    expect((await root.get<Agent>(`/agents/${agent_id}`)).body.name).toBe('kept')
    expect(await versions(app.app, ORG, agent_id)).toEqual(before)
  })
})

describe('deleting (row AG-24, C2)', () => {
  it('is soft: 204, still there but inactive, every key revoked, its log kept', async () => {
    const agent = await create({ name: 'gone' })
    const { agent_id } = agent
    const second = await root.post<Key>(`/agents/${agent_id}/keys`, {})
    const [, version = 0] = await versions(app.app, ORG, agent_id)
    const deleted = await root.delete(`/agents/${agent_id}`)
    expect([deleted.status, deleted.text]).toEqual([204, ''])
    expect(await asks(agent)).toBe(401)

    const after = await root.get<Agent>(`/agents/${agent_id}`)
    expect([after.status, after.body.is_active, after.body.name]).toEqual([200, false, 'gone'])
    const keys = await root.get<Key[]>(`/agents/${agent_id}/keys`)
    expect(keys.body.map(({ state }) => state)).toEqual(['revoked', 'revoked'])
    expect(await versions(app.app, ORG, agent_id)).toEqual([expect.any(Number), version + 1])
    expect((await recorded(app.app)).at(-1)).toMatchObject({
      event: 'agent.deleted',
      subject: { agent_id },
      change: { kind: 'agent', id: agent_id, op: 'deleted' },
      opened: {
        before: { is_active: true },
        after: { is_active: false, keys_revoked: [agent.key_id, second.body.key_id].sort() },
      },
    })
    const ended = (await recorded(app.app)).slice(-3, -1).map(({ event, change }) => [event, change.id])
    expect(ended).toEqual([agent.key_id, second.body.key_id].sort().map((id) => ['key.revoked', id]))
  })

  it('changes nothing the second time', async () => {
    const { agent_id } = await create()
    await root.delete(`/agents/${agent_id}`)
    const before = (await recorded(app.app)).length
    expect((await root.delete(`/agents/${agent_id}`)).status).toBe(204)
    expect(await recorded(app.app)).toHaveLength(before)
  })

  it('revokes the keys of an agent that was only stopped', async () => {
    const agent = await create()
    await root.patch(`/agents/${agent.agent_id}`, { is_active: false })
    await root.delete(`/agents/${agent.agent_id}`)
    await root.patch(`/agents/${agent.agent_id}`, { is_active: true })
    expect(await asks(agent)).toBe(401)
  })

  it('does not revive keys when the agent is activated again', async () => {
    const agent = await create()
    await root.delete(`/agents/${agent.agent_id}`)
    expect((await root.patch<Agent>(`/agents/${agent.agent_id}`, { is_active: true })).body.is_active).toBe(
      true,
    )
    expect(await asks(agent)).toBe(401)
    const fresh = await root.post<CreatedAgent>(`/agents/${agent.agent_id}/keys`, {})
    expect(await asks(fresh.body)).toBe(403)
  })

  it('answers an unknown agent with 404', async () => {
    expect((await root.delete('/agents/agt_unknown')).body).toMatchObject({
      status: 404,
      code: 'agent_not_found',
      detail: 'Agent agt_unknown not found',
    })
  })

  it('leaves agent and keys at work when the entry cannot be appended', async () => {
    const agent = await create()
    jest.spyOn(app.app.get(LedgerService).sealer, 'seal').mockRejectedValue(new Error('no entry today'))
    expect((await root.delete(`/agents/${agent.agent_id}`)).status).toBe(500)
    jest.restoreAllMocks()
    expect((await root.get<Agent>(`/agents/${agent.agent_id}`)).body.is_active).toBe(true)
    expect(await asks(agent)).toBe(403)
  })
})

describe('who may', () => {
  it('answers an agent of another organization exactly as if it did not exist', async () => {
    const foreign = await create({ name: 'theirs' }, await holderOf('owner', await otherOrganization()))
    const random = 'agt_AAAAAAAAAAAAAAAA'
    const requests = [
      ['GET', undefined],
      ['PATCH', { name: 'mine' }],
      ['DELETE', undefined],
    ] as const
    for (const [method, body] of requests) {
      const theirs = await root.call(method, `/agents/${foreign.agent_id}`, { body })
      const nobodys = await root.call(method, `/agents/${random}`, { body })
      expect(theirs.status).toBe(404)
      expect(withoutNames(theirs, foreign.agent_id)).toEqual(withoutNames(nobodys, random))
    }
    expect((await root.get('/agents?include_inactive=true&limit=1000')).text).not.toContain(foreign.agent_id)
    expect(await asks(foreign)).toBe(403)
  })

  it('lets developers write; operators and auditors read only', async () => {
    const { agent_id } = await create({ name: 'guarded' })
    const developer = await holderOf('developer')
    expect((await create({}, developer)).is_active).toBe(true)
    for (const role of ['operator', 'auditor']) {
      const client = await holderOf(role)
      expect((await client.get('/agents')).status).toBe(200)
      const answers = [
        await client.post('/agents', { name: 'x', owner_team: 'x', environment: 'dev' }),
        await client.patch(`/agents/${agent_id}`, { name: 'x' }),
        await client.delete(`/agents/${agent_id}`),
      ]
      expect(answers.map(({ body }) => [body.status, body.code])).toEqual(Array(3).fill([403, 'forbidden']))
    }
    expect((await root.get<Agent>(`/agents/${agent_id}`)).body).toMatchObject({
      name: 'guarded',
      is_active: true,
    })
  })

  it('answers 401 without credentials', async () => {
    const nobody = root.with({})
    expect((await nobody.get('/agents')).status).toBe(401)
    expect((await nobody.post('/agents', {})).status).toBe(401)
  })
})

describe('the operator’s numbers (rows AG-93, AG-95)', () => {
  it('count the agents of every organization, also as a gauge', async () => {
    const { rows } = await app.app
      .get(Database)
      .hot.query(
        'SELECT count(*)::integer AS total, count(*) FILTER (WHERE is_active)::integer AS active FROM agents',
      )
    const stats = await root.get<{ agents: unknown }>('/health/stats')
    expect(stats.body.agents).toEqual(rows[0])
    const metrics = await root.get('/metrics')
    expect(metrics.text).toContain(
      `agentguard_active_agents ${String((rows[0] as { active: number }).active)}\n`,
    )
    expect(metrics.text).toMatch(/agentguard_database_connections [1-9]/)
  })
})
