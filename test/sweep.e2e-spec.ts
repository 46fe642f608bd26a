import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Client as Postgres } from 'pg'
import { buildDocument } from '../src/openapi-document.js'
import { type RunningApp, startApp } from './support/app.js'
import { settled, stateOf } from './support/belongings.js'
import { Client, withoutNames } from './support/client.js'
import { type Operation, PUBLIC, RANDOM, readOperations, send } from './support/operations.js'
import { makeTenant, type Tenant } from './support/tenant.js'

/** Errors of these are text, as their standard wants; everybody else's are problem documents. */
const TEXT_ERRORS = /^\/access\/v1\/evaluations?$/

const CANARY = 'canary-of-the-other-organization'

let app: RunningApp
let signer_dir: string
let owner: Postgres
let operations: Operation[]
let a: Tenant
let b: Tenant

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
      const refusals = await Promise.all(
        wrong.flatMap((key) =>
          ['X-Admin-Key', 'X-Agent-Key'].map(
            async (header) => [key, await send(none.with({ [header]: key }), operation, a.ids)] as const,
          ),
        ),
      )
      for (const [key, refused] of refusals) {
        expect([operation.id, key, refused.status]).toEqual([operation.id, key, 401])
        if (key === '') continue
        if (text) texts.add(refused.text)
        else bodies.add(JSON.stringify({ ...refused.body, request_id: '' }))
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

  it('never shows organization A anything of B in its lists', async () => {
    await settled(owner, b.org_id)
    const before = await stateOf(owner, b.org_id)
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
    expect(await stateOf(owner, b.org_id)).toEqual(before)
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
