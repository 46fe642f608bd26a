import type { Agent } from '../src/agents/agents.dto.js'
import type { LogEntry } from '../src/logs/logs.dto.js'
import type { Team } from '../src/teams/teams.dto.js'
import { type Answer, Client, withoutNames } from './support/client.js'
import { type ProvenApp, startProvenApp, until } from './support/proofs.js'

/** Administrators who are held to a team (row AG-18). Red is theirs; blue is another team of the organization. */
let proven: ProvenApp
let root: Client
let red: Client
let whole: Client
let red_agent: Made
let blue_agent: Made

interface Made {
  readonly agent_id: string
  readonly key_id: string
  readonly log_id: string
}

const NOBODY = { agent_id: 'agt_0000000000000000', key_id: 'key_0000000000000000' }

async function keyOf(body: object, by: Client): Promise<Client> {
  const { status, body: made } = await by.post<{ api_key: string }>('/admin-keys', { name: 'key', ...body })
  expect(status).toBe(201)
  return new Client(by.url, { 'X-Admin-Key': made.api_key })
}

async function makeAgent(owner_team: string): Promise<Made> {
  const body = { name: `bot of ${owner_team}`, owner_team, environment: 'dev' }
  const made = await root.post<{ agent_id: string; key_id: string; api_key: string }>('/agents', body)
  const { agent_id, key_id, api_key } = made.body
  await root.put(`/agents/${agent_id}/policy`, { allow: [{ action: 'read' }] })
  const asked = { action: 'read', resource: `secret of ${owner_team}` }
  const agent = new Client(root.url, { 'X-Agent-Key': api_key })
  const log_id = (await agent.post<{ decision_id: string }>('/enforce', asked)).body.decision_id
  return { agent_id, key_id, log_id }
}

beforeAll(async () => {
  proven = await startProvenApp()
  root = proven.root
  red_agent = await makeAgent('red')
  blue_agent = await makeAgent('blue')
  await root.put('/teams/blue/policy', { deny: [{ action: 'delete:*' }] })
  whole = await keyOf({ role: 'admin' }, root)
  red = await keyOf({ role: 'admin', team: 'red' }, root)
})
afterAll(() => proven?.close())

/** Equal but for the names that the caller sent. */
function expectSame(theirs: Answer<unknown>, nobodys: Answer<unknown>, names: readonly string[]): void {
  expect(withoutNames(theirs, ...names)).toEqual(withoutNames(nobodys, ...names))
}

describe('agents, their keys and policies', () => {
  it('are the team’s in lists, and the whole organization’s for whom it may see', async () => {
    const shown = (answer: Answer<Agent[]>) => new Set(answer.body.map(({ owner_team }) => owner_team))
    const all = await whole.get<Agent[]>('/agents')
    expect([...shown(all)]).toEqual(expect.arrayContaining(['red', 'blue']))
    const own = await red.get<Agent[]>('/agents')
    expect([...shown(own), own.headers.get('X-Total-Count')]).toEqual(['red', '1'])
    expect((await red.get<Agent[]>('/agents?owner_team=blue')).text).toBe('[]')
    expect((await red.get<Agent>(`/agents/${red_agent.agent_id}`)).status).toBe(200)
  })

  it('of another team are missing, byte for byte', async () => {
    const { agent_id, key_id } = blue_agent
    const requests: [string, (of: typeof NOBODY) => string, unknown?][] = [
      ['GET', (of) => `/agents/${of.agent_id}`],
      ['PATCH', (of) => `/agents/${of.agent_id}`, { name: 'taken' }],
      ['PATCH', (of) => `/agents/${of.agent_id}`, { owner_team: 'red' }],
      ['DELETE', (of) => `/agents/${of.agent_id}`],
      ['GET', (of) => `/agents/${of.agent_id}/keys`],
      ['POST', (of) => `/agents/${of.agent_id}/keys`, {}],
      ['DELETE', (of) => `/agents/${of.agent_id}/keys/${of.key_id}`],
      ['POST', (of) => `/agents/${of.agent_id}/keys/${of.key_id}/rotate`, {}],
      ['GET', (of) => `/agents/${of.agent_id}/policy`],
      ['PUT', (of) => `/agents/${of.agent_id}/policy`, { allow: [{ action: '*' }] }],
      ['GET', (of) => `/agents/${of.agent_id}/policy/versions`],
      ['GET', (of) => `/agents/${of.agent_id}/policy/versions/1`],
      ['POST', (of) => `/agents/${of.agent_id}/policy/rollback`, { version: 1 }],
      ['GET', (of) => `/logs/verify?agent_id=${of.agent_id}`],
    ]
    for (const [method, path, body] of requests) {
      const theirs = await red.call(method, path({ agent_id, key_id }), { body })
      const nobodys = await red.call(method, path(NOBODY), { body })
      expect([method, path(NOBODY), theirs.status]).toEqual([method, path(NOBODY), 404])
      expectSame(theirs, nobodys, [agent_id, key_id, NOBODY.agent_id, NOBODY.key_id])
      // The control: the same is no secret to who may see it.
      if (method === 'GET') expect((await whole.call(method, path({ agent_id, key_id }))).status).toBe(200)
    }
    expect((await whole.get<Agent>(`/agents/${agent_id}`)).body).toMatchObject({
      name: 'bot of blue',
      owner_team: 'blue',
      is_active: true,
    })
  })

  it('are made and moved only within the team; moving between teams needs both', async () => {
    const body = { name: 'new', owner_team: 'red', environment: 'dev' }
    const made = await red.post<Agent>('/agents', body)
    expect(made.status).toBe(201)
    expect((await red.post('/agents', { ...body, owner_team: 'blue' })).body).toMatchObject({
      status: 403,
      detail: 'You are held to the team red; this reaches beyond it.',
    })
    const path = `/agents/${made.body.agent_id}`
    expect((await red.patch(path, { owner_team: 'blue' })).status).toBe(403)
    expect((await red.patch(path, { name: 'renamed' })).status).toBe(200)
    expect((await whole.patch(path, { owner_team: 'blue' })).status).toBe(200)
    expect((await red.get(path)).status).toBe(404)
    expect((await whole.patch(path, { owner_team: 'red' })).status).toBe(200)
    expect((await red.delete(path)).status).toBe(204)
  })
})

describe('teams and the organization', () => {
  it('are one team to who is held to it', async () => {
    const all = (await whole.get<Team[]>('/teams')).body
    expect(all.find(({ team }) => team === 'blue')).toMatchObject({
      agents: 1,
      admin_keys: 0,
      policy_version: 1,
    })
    expect((await red.get<Team[]>('/teams')).body.map(({ team }) => team)).toEqual(['red'])
    expect((await red.put('/teams/red/policy', { deny: [{ action: 'drop:*' }] })).status).toBe(200)
    expect((await red.get('/teams/red/policy')).status).toBe(200)
    for (const [method, rest, body] of [
      ['GET', ''],
      ['PUT', '', { allow: [{ action: '*' }] }],
      ['GET', '/versions'],
      ['GET', '/versions/1'],
      ['POST', '/rollback', { version: 1 }],
    ] as const) {
      const theirs = await red.call(method, `/teams/blue/policy${rest}`, { body })
      const nobodys = await red.call(method, `/teams/none/policy${rest}`, { body })
      expect([method, rest, theirs.status]).toEqual([method, rest, 404])
      expectSame(theirs, nobodys, ['blue', 'none'])
    }
  })

  it('refuses what concerns the whole organization', async () => {
    const answers = [
      await red.get('/roles'),
      await red.post('/roles', { role: 'mine', permissions: ['logs:read'] }),
      await red.get('/organization/policy'),
      await red.put('/organization/policy', {}),
      await red.post('/ledger/epochs', { reason: 'x' }),
      await red.get('/metrics'),
    ]
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 403))
  })

  it('makes a team of a name only', async () => {
    for (const name of ['%20red', 'a%0Ab', 'x'.repeat(256)]) {
      const { status } = await whole.put(`/teams/${name}/policy`, {})
      expect([name, status]).toEqual([name, 422])
    }
  })
})

describe('administrator keys', () => {
  it('are given, seen and revoked only within the team', async () => {
    for (const beyond of [{}, { team: 'blue' }]) {
      expect((await red.post('/admin-keys', { name: 'x', role: 'viewer', ...beyond })).status).toBe(403)
    }
    const own = await red.post<{ admin_id: string; team: string }>('/admin-keys', {
      name: 'x',
      role: 'viewer',
      team: 'red',
    })
    expect([own.status, own.body.team]).toEqual([201, 'red'])
    const other = await whole.post<{ admin_id: string }>('/admin-keys', { name: 'x', role: 'viewer' })
    const listed = await red.get<{ team: string | null }[]>('/admin-keys')
    expect(new Set(listed.body.map(({ team }) => team))).toEqual(new Set(['red']))
    for (const method of ['GET', 'DELETE']) {
      const theirs = await red.call(method, `/admin-keys/${other.body.admin_id}`)
      const nobodys = await red.call(method, '/admin-keys/adm_0000000000000000')
      expect(theirs.status).toBe(404)
      expectSame(theirs, nobodys, [other.body.admin_id, 'adm_0000000000000000'])
    }
    expect((await red.delete(`/admin-keys/${own.body.admin_id}`)).status).toBe(204)
  })
})

describe('the log', () => {
  it('shows the entries about the team’s agents, whatever is asked for', async () => {
    const types = 'type=decision,action,config,kill,approval,redaction,epoch'
    for (const query of [types, 'limit=1000', `agent_id=${blue_agent.agent_id}&${types}`]) {
      const answer = await red.get<LogEntry[]>(`/logs?${query}`)
      expect(answer.status).toBe(200)
      expect(answer.text).not.toMatch(/of blue/)
      expect(answer.text).not.toContain(blue_agent.agent_id)
      const everybody = await whole.get<LogEntry[]>(`/logs?${query}`)
      expect(everybody.text).toMatch(/of blue/) // the control
    }
    const named = await red.get<LogEntry[]>(`/logs?decision_id=${blue_agent.log_id}`)
    expect([named.text, named.headers.get('X-Total-Count')]).toEqual(['[]', '0'])
    expect(
      (await red.get<LogEntry[]>('/logs')).body.some(({ resource }) => resource === 'secret of red'),
    ).toBe(true)
  })

  it('is exported as the same part of it, and never as a bundle', async () => {
    for (const format of ['csv', 'json']) {
      const answer = await red.get(`/logs/export?format=${format}`)
      expect([answer.status, answer.text.includes('secret of red')]).toEqual([200, true])
      expect(answer.text).not.toMatch(/of blue/)
      expect((await whole.get(`/logs/export?format=${format}`)).text).toMatch(/secret of blue/)
    }
    expect((await red.get('/logs/export?format=ndjson')).status).toBe(403)
    expect((await whole.get('/logs/export?format=ndjson')).status).toBe(200)
  })

  it('proves the team’s entries, and no other’s', async () => {
    await proven.signed()
    await until(async () => ((await red.get(`/logs/${red_agent.log_id}/proof`)).status === 200 ? true : null))
    const random = '01980000-0000-7000-8000-000000000000'
    const theirs = await red.get(`/logs/${blue_agent.log_id}/proof`)
    expect(theirs.status).toBe(404)
    expectSame(theirs, await red.get(`/logs/${random}/proof`), [blue_agent.log_id, random])
    expect((await whole.get(`/logs/${blue_agent.log_id}/proof`)).status).toBe(200)
    expect((await red.get('/ledger/tile/entries/000.p/1')).status).toBe(403)
    expect((await red.get('/ledger/tile/0/000.p/1')).status).toBe(200)
    expect((await red.get('/ledger/checkpoint')).status).toBe(200)
    expect((await red.get('/logs/verify')).status).toBe(403)
    expect((await red.get(`/logs/verify?agent_id=${red_agent.agent_id}`)).status).toBe(200)
  })
})
