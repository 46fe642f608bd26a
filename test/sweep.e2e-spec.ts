import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Client as Postgres } from 'pg'
import { buildDocument } from '../src/openapi-document.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client, withoutNames } from './support/client.js'
import { type Operation, PUBLIC, RANDOM, readOperations, send } from './support/operations.js'
import { until } from './support/proofs.js'
import { makeTenant, type Tenant } from './support/tenant.js'

/** Errors of these are text, as their standard wants; everybody else's are problem documents. */
const TEXT_ERRORS = /^\/access\//

/** Parameters that name a place in the caller's own log, whoever calls: nothing of another organization. */
const OWN_PLACES = new Set(['path', 'team', 'version', 'workflow'])

const CANARY = 'canary-of-the-other-organization'

let app: RunningApp
let signer_dir: string
let owner: Postgres
let operations: Operation[]
let a: Tenant
let b: Tenant

/** Everything organization B has, but what its own use changes by itself. */
async function stateOf(org_id: string): Promise<string> {
  const state: unknown[] = []
  for (const table of [
    'organizations',
    'admin_keys',
    'teams',
    'agents',
    'agent_config',
    'agent_keys',
    'policies',
    'policy_versions',
    'members',
    'member_passwords',
    'sessions',
    'invitations',
    'setup_links',
    'webhooks',
    'webhook_secrets',
    'notification_settings',
    'single_sign_on',
    'revoked_tokens',
    'kill_switches',
    'kill_switch_settings',
    'approvals',
    'approval_events',
    'workflows',
  ]) {
    const { rows } = await owner.query(
      `SELECT to_jsonb(t) - 'last_used_at' AS row FROM ${table} AS t WHERE org_id = $1 ORDER BY 1`,
      [org_id],
    )
    state.push(table, rows)
  }
  const { rows } = await owner.query(
    "SELECT index, encode(entry, 'hex') FROM ledger.ledger_entry WHERE org_id = $1 ORDER BY index",
    [org_id],
  )
  return JSON.stringify([...state, rows])
}

beforeAll(async () => {
  signer_dir = mkdtempSync(path.join(tmpdir(), 'agentguard-sweep-'))
  app = await startApp({ settings: { ledger_signer_dir: signer_dir } })
  owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
  operations = readOperations(buildDocument(app.app))
  a = await makeTenant(app, 'organization-a')
  b = await makeTenant(app, CANARY)
})

afterAll(async () => {
  await owner?.end()
  await app?.close()
  rmSync(signer_dir, { recursive: true, force: true })
})

describe('every operation of openapi.json', () => {
  it('is there, under /v1, with an id of its own', () => {
    expect(operations.length).toBeGreaterThan(25)
    expect(new Set(operations.map(({ id }) => id)).size).toBe(operations.length)
    expect(operations.filter(({ path }) => !/^\/(v1|\.well-known|access)\//.test(path))).toEqual([
      expect.objectContaining({ id: 'Index_get', path: '/v1' }),
    ])
  })

  it('answers 401 without credentials, and with ones that are not valid, always with the same bytes', async () => {
    const none = new Client(app.url)
    const wrong = ['nonsense', `adk_${'x'.repeat(49)}`, `agk_${'0'.repeat(49)}`, '']
    const bodies = new Set<string>()
    const texts = new Set<string>()
    for (const operation of operations) {
      if (PUBLIC.has(operation.id)) continue
      const text = TEXT_ERRORS.test(operation.path)
      const answer = await send(none, operation, a.ids)
      expect([operation.id, answer.status]).toEqual([operation.id, 401])
      if (!text) expect([operation.id, answer.body.code]).toEqual([operation.id, 'unauthenticated'])
      for (const key of wrong) {
        for (const header of ['X-Admin-Key', 'X-Agent-Key']) {
          const refused = await send(none.with({ [header]: key }), operation, a.ids)
          expect([operation.id, key, refused.status]).toEqual([operation.id, key, 401])
          if (key === '') continue
          if (text) texts.add(refused.text)
          else bodies.add(JSON.stringify({ ...refused.body, request_id: '' }))
        }
      }
    }
    expect([bodies.size, texts.size]).toEqual([1, 1])
  })

  it('is served under its bare path as well', async () => {
    for (const operation of operations) {
      if (PUBLIC.has(operation.id)) continue
      const bare = { ...operation, path: operation.path.replace(/^\/v1/, '') }
      expect([operation.id, (await send(new Client(app.url), bare, a.ids)).status]).toEqual([
        operation.id,
        401,
      ])
    }
  })

  it('answers for another organization’s thing exactly as for one that does not exist', async () => {
    const before = await stateOf(b.org_id)
    const compared: string[] = []
    for (const operation of operations) {
      if (operation.parameters.every((name) => OWN_PLACES.has(name))) continue
      for (const client of [a.admin, a.agent]) {
        const foreign = await send(client, operation, b.ids)
        const missing = await send(client, operation, RANDOM)
        expect([operation.id, foreign.status]).toEqual([
          operation.id,
          client === a.admin ? foreign.status : operation.forAgents ? 404 : 403,
        ])
        expect(foreign.status).toBeGreaterThanOrEqual(403)
        expect(withoutNames(foreign, ...Object.values(b.ids).filter((id) => id !== '1'))).toEqual(
          withoutNames(missing, ...Object.values(RANDOM).filter((id) => id !== '1')),
        )
        expect(foreign.text).not.toContain(CANARY)
      }
      if (operation.parameters.includes('key_id')) {
        // A key of B below A's own agent must not be reachable either.
        const mixed = await send(a.admin, operation, { ...b.ids, agent_id: a.ids.agent_id ?? '' })
        expect([operation.id, mixed.status]).toEqual([operation.id, 404])
      }
      compared.push(operation.id)
    }
    expect(compared.length).toBeGreaterThan(12)
    expect(await stateOf(b.org_id)).toBe(before)
  })

  it('control: the same operations do succeed on the organization’s own things', async () => {
    const own: Record<string, number> = {}
    await until(async () =>
      (await a.admin.get(`/logs/${a.ids.log_id ?? ''}/proof`)).status === 200 ? true : null,
    )
    for (const operation of operations) {
      if (operation.parameters.length === 0 || operation.method !== 'GET') continue
      const client = operation.forAgents && !operation.forAdmins ? a.agent : a.admin
      own[operation.id] = (await send(client, operation, a.ids)).status
    }
    const { Organizations_get: organization, ...rest } = own
    expect(organization).toBe(403) // organizations are the root key's
    expect(new Set(Object.values(rest))).toEqual(new Set([200]))
  })

  it('never shows organization A anything of B in its lists', async () => {
    const before = await stateOf(b.org_id)
    for (const operation of operations) {
      if (operation.parameters.length > 0 || operation.streams) continue
      for (const client of [a.admin, a.agent]) {
        const answer = await send(client, operation, {})
        expect([operation.id, answer.text.includes(CANARY)]).toEqual([operation.id, false])
        expect(answer.text).not.toContain(b.org_id)
      }
    }
    const named = await a.admin.get(`/logs?agent_id=${b.ids.agent_id ?? ''}&type=decision,action,config`)
    expect([named.status, named.text]).toEqual([200, '[]'])
    const entered = await a.admin.get('/agents', { 'X-Org-ID': b.org_id })
    const invented = await a.admin.get('/agents', { 'X-Org-ID': RANDOM.org_id ?? '' })
    expect(entered.status).toBe(404)
    expect(withoutNames(entered, b.org_id)).toEqual(withoutNames(invented, RANDOM.org_id ?? ''))
    expect(await stateOf(b.org_id)).toBe(before)
  })

  it('answers 401 to every key of an organization that is suspended', async () => {
    const root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
    expect((await b.agent.post('/enforce', { action: 'read' })).status).toBe(200)
    await root.patch(`/organizations/${b.org_id}`, { is_active: false })
    for (const operation of operations) {
      if (PUBLIC.has(operation.id)) continue
      for (const client of [b.admin, b.agent]) {
        expect([operation.id, (await send(client, operation, b.ids)).status]).toEqual([operation.id, 401])
      }
    }
    await root.patch(`/organizations/${b.org_id}`, { is_active: true })
    expect((await b.agent.post('/enforce', { action: 'read' })).status).toBe(200)
  })
})
