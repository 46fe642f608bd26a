import type { CreatedAdminKey } from '../src/admin-keys/admin-keys.dto.js'
import type { CreatedAgent } from '../src/agents/agents.dto.js'
import type { CreatedKey, Key } from '../src/keys/keys.dto.js'
import type { Organization } from '../src/organizations/organizations.dto.js'
import { isWellFormedKey } from '../src/core/keys/key-format.js'
import { LedgerService } from '../src/ledger/ledger.service.js'
import { Clock } from '../src/platform/clock/clock.js'
import { Database } from '../src/platform/database/database.service.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client, withoutNames } from './support/client.js'
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

async function makeAgent(by = root): Promise<CreatedAgent> {
  const answer = await by.post<CreatedAgent>('/agents', {
    name: 'bot',
    owner_team: 'ops',
    environment: 'stage',
  })
  expect(answer.status).toBe(201)
  return answer.body
}

async function makeKey(agent_id: string, body: object = {}): Promise<CreatedKey> {
  const answer = await root.post<CreatedKey>(`/agents/${agent_id}/keys`, body)
  expect(answer.status).toBe(201)
  return answer.body
}

const listKeys = async (agent_id: string): Promise<Key[]> =>
  (await root.get<Key[]>(`/agents/${agent_id}/keys`)).body

async function holderOf(role: string, org_id = ORG): Promise<Client> {
  const { body } = await root.post<CreatedAdminKey>(
    '/admin-keys',
    { name: role, role },
    { 'X-Org-ID': org_id },
  )
  return root.with({ 'X-Admin-Key': body.api_key })
}

/** 403 while the key authenticates (agents may not list agents), 401 from when it does not. */
const asks = async ({ api_key }: { api_key: string }): Promise<number> =>
  (await root.with({ 'X-Agent-Key': api_key }).get('/agents')).status

/** As time would do it. */
const expire = (key_id: string): Promise<unknown> =>
  app.app
    .get(Database)
    .withOrg({ org_id: ORG }, (tx) =>
      tx.agentKey.updateMany({ where: { key_id }, data: { expires_at: new Date(Date.now() - 1000) } }),
    )

const inAnHour = (): string => new Date(Date.now() + 3_600_000).toISOString()
const agentVersion = async (agent_id: string): Promise<number> =>
  (await versions(app.app, ORG, agent_id))[1] ?? 0
const entriesOf = async (key_id: string) =>
  (await recorded(app.app)).filter(({ change }) => change.kind === 'key' && change.id === key_id)

describe('creating', () => {
  it('shows the key once and works at once, beside the first one', async () => {
    const agent = await makeAgent()
    const expires_at = inAnHour()
    const key = await makeKey(agent.agent_id, { expires_at })
    expect(key).toEqual({
      key_id: expect.stringMatching(/^key_[\w-]{16}$/),
      agent_id: agent.agent_id,
      api_key: expect.stringMatching(/^agk_[0-9A-Za-z]{49}$/),
      key_prefix: key.api_key.slice(0, 12),
      state: 'active',
      expires_at,
      revoked_at: null,
      last_used_at: null,
      created_at: expect.any(String),
      created_by: 'root',
    })
    expect(isWellFormedKey('agk_', key.api_key)).toBe(true)
    expect([await asks(key), await asks(agent)]).toEqual([403, 403])
    const shown = JSON.stringify([await listKeys(agent.agent_id), await recorded(app.app)])
    expect(shown).toContain(key.key_id)
    expect(shown).not.toContain(key.api_key.slice(12))
  })

  it('raises nothing, because an unknown key is looked up', async () => {
    const { agent_id } = await makeAgent()
    const before = await versions(app.app, ORG, agent_id)
    const { key_id, key_prefix } = await makeKey(agent_id)
    expect(await versions(app.app, ORG, agent_id)).toEqual(before)
    expect(await entriesOf(key_id)).toMatchObject([
      {
        event: 'key.created',
        subject: { agent_id, environment: 'stage', team: 'ops' },
        opened: { after: { key_prefix, expires_at: null, revoked_at: null } },
      },
    ])
  })

  it('needs no body', async () => {
    const { agent_id } = await makeAgent()
    expect((await root.call('POST', `/agents/${agent_id}/keys`)).status).toBe(201)
  })

  it('stops at 20 active keys, also for requests at once; revoked and expired ones do not count', async () => {
    const agent = await makeAgent()
    const path = `/agents/${agent.agent_id}/keys`
    const answers = await Promise.all(Array.from({ length: 24 }, () => root.post<CreatedKey>(path, {})))
    const made = answers.filter(({ status }) => status === 201)
    expect(made).toHaveLength(19)
    const refused = await root.post(path, {})
    expect(refused.body).toMatchObject({
      status: 409,
      code: 'conflict',
      detail: `Agent ${agent.agent_id} has 20 active keys, which is the most. Revoke one first.`,
    })
    await root.delete(`${path}/${agent.key_id}`)
    await makeKey(agent.agent_id)
    await expire(made[0]?.body.key_id ?? '')
    await makeKey(agent.agent_id)
    expect((await root.post(path, {})).status).toBe(409)
  })

  it.each([
    [{ expires_at: '2020-01-01T00:00:00Z' }, 'expires_at'],
    [{ expires_at: 'tomorrow' }, 'expires_at'],
    [{ expires_at: '2999-02-30T00:00:00Z' }, 'expires_at'],
    [{ expires_at: 32503680000 }, 'expires_at'],
    [{ expires_at: null }, 'expires_at'],
    [{ api_key: 'agk_mine' }, 'api_key'],
    [{ overlap_seconds: 1 }, 'overlap_seconds'],
  ])('refuses %j with the path', async (body, path) => {
    const { agent_id } = await makeAgent()
    const answer = await root.post(`/agents/${agent_id}/keys`, body)
    expect([answer.status, answer.body.code]).toEqual([422, 'validation_failed'])
    expect(new Set(answer.body.errors?.map((error) => error.path))).toEqual(new Set([path]))
  })

  it('answers an unknown or inactive agent with 404', async () => {
    const { agent_id } = await makeAgent()
    await root.patch(`/agents/${agent_id}`, { is_active: false })
    for (const id of [agent_id, 'agt_unknown']) {
      expect((await root.post(`/agents/${id}/keys`, {})).body).toMatchObject({
        status: 404,
        code: 'agent_not_found',
        detail: `Agent ${id} not found`,
      })
    }
    expect(await listKeys(agent_id)).toHaveLength(1)
  })

  it('leaves nothing when the entry cannot be appended', async () => {
    const { agent_id } = await makeAgent()
    jest.spyOn(app.app.get(LedgerService).sealer, 'seal').mockRejectedValue(new Error('no entry today'))
    expect((await root.post(`/agents/${agent_id}/keys`, {})).status).toBe(500)
    jest.restoreAllMocks()
    expect(await listKeys(agent_id)).toHaveLength(1)
  })
})

describe('listing', () => {
  it('tells the state of every key, newest first, in pages with the total', async () => {
    const agent = await makeAgent()
    const { agent_id } = agent
    const [revoked, expired] = [await makeKey(agent_id), await makeKey(agent_id)]
    await root.delete(`/agents/${agent_id}/keys/${revoked.key_id}`)
    await expire(expired.key_id)
    const all = await root.get<Key[]>(`/agents/${agent_id}/keys`)
    expect(all.body.map(({ key_id, state }) => [key_id, state])).toEqual([
      [expired.key_id, 'expired'],
      [revoked.key_id, 'revoked'],
      [agent.key_id, 'active'],
    ])
    expect(all.headers.get('X-Total-Count')).toBe('3')
    const page = await root.get<Key[]>(`/agents/${agent_id}/keys?limit=1&offset=1`)
    expect([page.body, page.headers.get('X-Total-Count')]).toEqual([all.body.slice(1, 2), '3'])
  })

  it('answers an unknown agent with 404', async () => {
    expect((await root.get('/agents/agt_unknown/keys')).body).toMatchObject({
      status: 404,
      code: 'agent_not_found',
    })
  })
})

describe('revoking', () => {
  it('is a 401 by the very next request, raises the agent, and leaves the other keys', async () => {
    const agent = await makeAgent()
    const key = await makeKey(agent.agent_id)
    const version = await agentVersion(agent.agent_id)
    expect(await asks(key)).toBe(403)
    const revoked = await root.delete(`/agents/${agent.agent_id}/keys/${key.key_id}`)
    expect([revoked.status, revoked.text]).toEqual([204, ''])
    expect([await asks(key), await asks(agent)]).toEqual([401, 403])
    expect(await agentVersion(agent.agent_id)).toBe(version + 1)
    expect((await entriesOf(key.key_id)).at(-1)).toMatchObject({
      event: 'key.revoked',
      subject: { agent_id: agent.agent_id },
      change: { kind: 'key', id: key.key_id, op: 'revoked' },
      config: { agent: version + 1 },
      opened: { before: { revoked_at: null }, after: { revoked_at: expect.any(String) } },
    })
  })

  it('changes nothing the second time', async () => {
    const agent = await makeAgent()
    const path = `/agents/${agent.agent_id}/keys/${agent.key_id}`
    await root.delete(path)
    const before = [await agentVersion(agent.agent_id), await listKeys(agent.agent_id)]
    expect((await root.delete(path)).status).toBe(204)
    expect([await agentVersion(agent.agent_id), await listKeys(agent.agent_id)]).toEqual(before)
    expect(await entriesOf(agent.key_id)).toHaveLength(2)
  })

  it('answers an unknown key, and a key of another agent, with the same 404', async () => {
    const [one, two] = [await makeAgent(), await makeAgent()]
    const others = await root.delete(`/agents/${one.agent_id}/keys/${two.key_id}`)
    const nobodys = await root.delete(`/agents/${one.agent_id}/keys/key_unknown`)
    expect(others.body).toMatchObject({
      status: 404,
      code: 'key_not_found',
      detail: `Key ${two.key_id} not found`,
    })
    expect(withoutNames(others, two.key_id)).toEqual(withoutNames(nobodys, 'key_unknown'))
    expect(await asks(two)).toBe(403)
  })

  it('leaves the key at work when the entry cannot be appended', async () => {
    const agent = await makeAgent()
    jest.spyOn(app.app.get(LedgerService).sealer, 'seal').mockRejectedValue(new Error('no entry today'))
    expect((await root.delete(`/agents/${agent.agent_id}/keys/${agent.key_id}`)).status).toBe(500)
    jest.restoreAllMocks()
    expect(await asks(agent)).toBe(403)
  })
})

describe('rotating', () => {
  const rotate = (agent: CreatedAgent, body: object = {}, key_id = agent.key_id) =>
    root.post<CreatedKey>(`/agents/${agent.agent_id}/keys/${key_id}/rotate`, body)

  it.each([{}, { overlap_seconds: 0 }])('with %j replaces the key at once', async (body) => {
    const agent = await makeAgent()
    const version = await agentVersion(agent.agent_id)
    const fresh = await rotate(agent, body)
    expect([fresh.status, fresh.body.state, fresh.body.expires_at]).toEqual([201, 'active', null])
    expect([await asks(agent), await asks(fresh.body)]).toEqual([401, 403])
    expect(await agentVersion(agent.agent_id)).toBe(version + 1)
    expect((await listKeys(agent.agent_id)).map(({ state }) => state)).toEqual(['active', 'revoked'])
  })

  it('with an overlap lets both work, the old one exactly that long by the database clock', async () => {
    const agent = await makeAgent()
    const now = app.app.get(Clock).now()
    jest.spyOn(app.app.get(Clock), 'now').mockReturnValue(now)
    const fresh = await rotate(agent, { overlap_seconds: 3600, expires_at: inAnHour() })
    expect(fresh.status).toBe(201)
    const old = async () => (await listKeys(agent.agent_id)).find(({ key_id }) => key_id === agent.key_id)
    expect(await old()).toMatchObject({
      state: 'active',
      expires_at: new Date(now + 3_600_000).toISOString(),
      revoked_at: null,
    })
    expect([await asks(agent), await asks(fresh.body)]).toEqual([403, 403])
    jest.spyOn(app.app.get(Clock), 'now').mockReturnValue(now + 3_599_999)
    expect((await old())?.state).toBe('active')
    jest.spyOn(app.app.get(Clock), 'now').mockReturnValue(now + 3_600_000)
    expect((await old())?.state).toBe('expired')
    jest.restoreAllMocks()

    await expire(agent.key_id)
    expect([await asks(agent), await asks(fresh.body)]).toEqual([401, 403])
  })

  it('never makes an old key live longer', async () => {
    const agent = await makeAgent()
    const expires_at = inAnHour()
    const { key_id } = await makeKey(agent.agent_id, { expires_at })
    expect((await rotate(agent, { overlap_seconds: 604_800 }, key_id)).status).toBe(201)
    const old = (await listKeys(agent.agent_id)).find((key) => key.key_id === key_id)
    expect(old?.expires_at).toBe(expires_at)
  })

  it('records the new key and what became of the old one', async () => {
    const agent = await makeAgent()
    const fresh = await rotate(agent, { overlap_seconds: 60 })
    const [, rotated] = await entriesOf(agent.key_id)
    expect(rotated).toMatchObject({
      event: 'key.rotated',
      subject: { agent_id: agent.agent_id },
      change: { kind: 'key', id: agent.key_id, op: 'rotated' },
      opened: {
        before: { expires_at: null },
        after: { expires_at: expect.any(String), revoked_at: null, replaced_by: fresh.body.key_id },
      },
    })
    const [created] = await entriesOf(fresh.body.key_id)
    expect([created?.event, created?.index]).toEqual(['key.created', (rotated?.index ?? 0) - 1])
    expect(JSON.stringify(await recorded(app.app))).not.toContain(fresh.body.api_key.slice(12))
  })

  it('says in the log that a key without overlap is revoked, so that the log alone tells when it ended', async () => {
    const agent = await makeAgent()
    await rotate(agent)
    const events = (await entriesOf(agent.key_id)).map(({ event }) => event)
    expect(events).toEqual(['key.created', 'key.rotated', 'key.revoked'])
  })

  it('refuses a key that is revoked or expired with 409', async () => {
    const agent = await makeAgent()
    await rotate(agent)
    expect((await rotate(agent)).body).toMatchObject({
      status: 409,
      code: 'conflict',
      detail: `Key ${agent.key_id} is revoked; make a new key instead.`,
    })
    const { key_id } = await makeKey(agent.agent_id)
    await expire(key_id)
    expect((await rotate(agent, {}, key_id)).body).toMatchObject({
      status: 409,
      detail: `Key ${key_id} is expired; make a new key instead.`,
    })
  })

  it('happens once when several rotate the same key at once', async () => {
    const agent = await makeAgent()
    const answers = await Promise.all(Array.from({ length: 4 }, () => rotate(agent)))
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409])
    expect(await listKeys(agent.agent_id)).toHaveLength(2)
  })

  it.each([
    [{ overlap_seconds: -1 }, 'overlap_seconds'],
    [{ overlap_seconds: 604_801 }, 'overlap_seconds'],
    [{ overlap_seconds: 1.5 }, 'overlap_seconds'],
    [{ overlap_seconds: '60' }, 'overlap_seconds'],
    [{ overlap_seconds: null }, 'overlap_seconds'],
    [{ expires_at: '2020-01-01T00:00:00Z' }, 'expires_at'],
    [{ overlap: 60 }, 'overlap'],
  ])('refuses %j with the path, and the old key stays', async (body, path) => {
    const agent = await makeAgent()
    const answer = await root.post(`/agents/${agent.agent_id}/keys/${agent.key_id}/rotate`, body)
    expect(answer.status).toBe(422)
    expect(new Set(answer.body.errors?.map((error) => error.path))).toEqual(new Set([path]))
    expect(await asks(agent)).toBe(403)
    expect(await listKeys(agent.agent_id)).toHaveLength(1)
  })

  it('answers unknown agents and keys with 404', async () => {
    const agent = await makeAgent()
    expect((await rotate(agent, {}, 'key_unknown')).body).toMatchObject({
      status: 404,
      code: 'key_not_found',
    })
    expect((await root.post(`/agents/agt_unknown/keys/${agent.key_id}/rotate`, {})).body).toMatchObject({
      status: 404,
      code: 'agent_not_found',
    })
  })

  it('leaves the old key alone at work when the entry cannot be appended', async () => {
    const agent = await makeAgent()
    jest.spyOn(app.app.get(LedgerService).sealer, 'seal').mockRejectedValue(new Error('no entry today'))
    expect((await rotate(agent)).status).toBe(500)
    jest.restoreAllMocks()
    expect(await listKeys(agent.agent_id)).toHaveLength(1)
    expect(await asks(agent)).toBe(403)
  })
})

describe('who may', () => {
  it('answers agents and keys of another organization exactly as if they did not exist', async () => {
    const { body: other } = await root.post<Organization>('/organizations', { name: 'Other' })
    const foreign = await makeAgent(await holderOf('owner', other.org_id))
    const random = { agent_id: 'agt_AAAAAAAAAAAAAAAA', key_id: 'key_AAAAAAAAAAAAAAAA' }
    const mine = await makeAgent()
    const routes = [
      ['GET', (id: typeof random) => `/agents/${id.agent_id}/keys`],
      ['POST', (id: typeof random) => `/agents/${id.agent_id}/keys`],
      ['DELETE', (id: typeof random) => `/agents/${id.agent_id}/keys/${id.key_id}`],
      ['POST', (id: typeof random) => `/agents/${id.agent_id}/keys/${id.key_id}/rotate`],
      ['DELETE', (id: typeof random) => `/agents/${mine.agent_id}/keys/${id.key_id}`],
      ['POST', (id: typeof random) => `/agents/${mine.agent_id}/keys/${id.key_id}/rotate`],
    ] as const
    for (const [method, path] of routes) {
      const theirs = await root.call(method, path(foreign))
      const nobodys = await root.call(method, path(random))
      expect(theirs.status).toBe(404)
      expect(withoutNames(theirs, foreign.agent_id, foreign.key_id)).toEqual(
        withoutNames(nobodys, random.agent_id, random.key_id),
      )
    }
    expect(await asks(foreign)).toBe(403)
  })

  it('lets developers write; operators and approvers read only', async () => {
    const { agent_id, key_id } = await makeAgent()
    const path = `/agents/${agent_id}/keys`
    expect((await (await holderOf('developer')).post(path, {})).status).toBe(201)
    for (const role of ['operator', 'approver']) {
      const client = await holderOf(role)
      expect((await client.get(path)).status).toBe(200)
      const answers = [
        await client.post(path, {}),
        await client.delete(`${path}/${key_id}`),
        await client.post(`${path}/${key_id}/rotate`, {}),
      ]
      expect(answers.map(({ body }) => [body.status, body.code])).toEqual(Array(3).fill([403, 'forbidden']))
    }
    expect((await listKeys(agent_id)).map(({ state }) => state)).toEqual(['active', 'active'])
  })
})
