import { createLocalJWKSet, compactVerify, type JSONWebKeySet } from 'jose'
import { createHash } from 'node:crypto'
import type { Lease, Manifest } from '../src/core/policy/local.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'

interface Bot {
  agent_id: string
  key_id: string
  api_key: string
}
interface Bundle {
  manifest: string
  policies: { sha256: string; document: string }[]
}

let app: RunningApp
let root: Client
let keys: ReturnType<typeof createLocalJWKSet>

beforeAll(async () => {
  app = await startApp()
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  keys = createLocalJWKSet((await root.get<JSONWebKeySet>('/.well-known/jwks.json')).body)
})
afterAll(async () => {
  await app?.close()
})

const as = ({ api_key }: Bot) => new Client(app.url, { 'X-Agent-Key': api_key })

async function bot(owner_team = 'ops', admin = root): Promise<Bot> {
  const made = await admin.post<Bot>('/agents', { name: 'bot', owner_team, environment: 'prod' })
  await admin.put(`/agents/${made.body.agent_id}/policy`, { allow: [{ action: 'read:*' }] })
  return made.body
}

async function opened<T>(jws: string, typ: string): Promise<T> {
  const { payload, protectedHeader } = await compactVerify(jws, keys)
  expect(protectedHeader).toMatchObject({ alg: 'EdDSA', typ })
  return JSON.parse(Buffer.from(payload).toString()) as T
}
const manifestOf = (jws: string) => opened<Manifest>(jws, 'agentguard-bundle+jws')
const leaseOf = (jws: string | null) => opened<Lease>(jws ?? '', 'agentguard-lease+jws')
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

describe('GET /agents/{id}/bundle', () => {
  it('gives an agent what it is decided from, signed, with its documents', async () => {
    const one = await bot('bundled')
    await root.put('/teams/bundled/policy', { deny: [{ action: 'drop' }] })
    await root.put('/organization/policy', { require_online: ['send:*'] })
    const answer = await as(one).get<Bundle>(`/agents/${one.agent_id}/bundle`)
    expect(answer.status).toBe(200)
    const manifest = await manifestOf(answer.body.manifest)
    expect(manifest).toMatchObject({
      v: 1,
      org_id: 'org_default',
      agent: { agent_id: one.agent_id, environment: 'prod', team: 'bundled', key_id: one.key_id },
      engine: { semantics: 1 },
      kill: [],
    })
    expect(manifest.policies.map(({ scope }) => scope)).toEqual(['organization', 'team', 'agent'])
    const documents = new Map(answer.body.policies.map((policy) => [policy.sha256, policy.document]))
    for (const { sha256: digest } of manifest.policies)
      expect(sha256(documents.get(digest) ?? '')).toBe(digest)
    const lease = await leaseOf(answer.headers.get('AgentGuard-Lease'))
    expect(lease.manifest).toBe(sha256(answer.body.manifest))
    expect(lease.lease_until - lease.issued_at).toBe(5_000)
    expect(Math.abs(lease.issued_at - Date.now())).toBeLessThan(5_000)
  })

  it('answers 304 with a new lease while nothing has changed, and the new bundle as soon as something has', async () => {
    const one = await bot()
    const url = `/agents/${one.agent_id}/bundle`
    const first = await as(one).get<Bundle>(url)
    const etag = first.headers.get('ETag') ?? ''
    const again = () => as(one).get<Bundle>(url, { 'If-None-Match': etag })
    const same = await again()
    expect([same.status, same.text, same.headers.get('ETag')]).toEqual([304, '', etag])
    const lease = await leaseOf(same.headers.get('AgentGuard-Lease'))
    expect(lease.manifest).toBe(sha256(first.body.manifest))

    await root.put(`/agents/${one.agent_id}/policy`, { allow: [{ action: 'write:*' }] })
    const changed = await again()
    expect(changed.status).toBe(200)
    expect((await manifestOf(changed.body.manifest)).policies.at(-1)).toMatchObject({ version: 2 })

    await root.post('/kill-switch/activate', { scope: 'agent', target: one.agent_id, reason: 'test' })
    const killed = await manifestOf((await again()).body.manifest)
    expect(killed.kill).toEqual([expect.objectContaining({ scope: 'agent', target: one.agent_id })])
  })

  it('is of the agent itself alone: another’s looks like none, and an inactive one has none', async () => {
    const [one, two] = [await bot(), await bot()]
    const foreign = await as(one).get<{ code: string }>(`/agents/${two.agent_id}/bundle`)
    expect([foreign.status, foreign.body.code]).toEqual([404, 'agent_not_found'])
    const none = await as(one).get<{ code: string }>('/agents/agt_0000000000000000/bundle')
    expect([none.status, none.body.code]).toEqual([404, 'agent_not_found'])
    await root.delete(`/agents/${one.agent_id}`)
    expect((await as(one).get(`/agents/${one.agent_id}/bundle`)).status).toBe(401)
    expect((await root.get(`/agents/${one.agent_id}/bundle`)).status).toBe(404)
  })

  it('holds nothing of another agent, team or organization', async () => {
    const [one, two] = [await bot('red'), await bot('blue')]
    await root.put('/teams/blue/policy', { deny: [{ action: 'canary-of-blue' }] })
    await root.put(`/agents/${two.agent_id}/policy`, { allow: [{ action: 'canary-of-two' }] })
    await root.post('/kill-switch/activate', { scope: 'team', target: 'blue', reason: 'canary' })
    const { text, body } = await as(one).get<Bundle>(`/agents/${one.agent_id}/bundle`)
    const all = text + JSON.stringify(await manifestOf(body.manifest))
    for (const canary of ['canary', 'blue', two.agent_id]) expect(all).not.toContain(canary)
  })

  it('shows it to an administrator, without a lease; not to one of another team', async () => {
    const one = await bot('shown')
    const answer = await root.get<Bundle>(`/agents/${one.agent_id}/bundle`)
    expect([answer.status, answer.headers.get('AgentGuard-Lease')]).toEqual([200, null])
    expect((await manifestOf(answer.body.manifest)).agent).toEqual({
      agent_id: one.agent_id,
      environment: 'prod',
      team: 'shown',
    })
    const { body } = await root.post<{ api_key: string }>('/admin-keys', {
      name: 'elsewhere',
      role: 'admin',
      team: 'elsewhere',
    })
    const elsewhere = new Client(app.url, { 'X-Admin-Key': body.api_key })
    expect((await elsewhere.get(`/agents/${one.agent_id}/bundle`)).status).toBe(404)
  })
})

describe('LOCAL_LEASE_MS=0', () => {
  it('lets no agent decide by itself', async () => {
    const off = await startApp({
      database: app.database,
      settings: { ledger_kek: app.settings.ledger_kek, local_lease_ms: 0 },
    })
    try {
      const one = await bot()
      const client = new Client(off.url, { 'X-Agent-Key': one.api_key })
      expect((await client.get(`/agents/${one.agent_id}/bundle`)).status).toBe(403)
    } finally {
      await off.close()
    }
  })
})
