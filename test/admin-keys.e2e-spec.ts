import { Client as PgClient } from 'pg'
import type { AdminKey, CreatedAdminKey } from '../src/admin-keys/admin-keys.dto.js'
import type { Organization } from '../src/organizations/organizations.dto.js'
import { isWellFormedKey } from '../src/core/keys/key-format.js'
import { authorityOfRoles, mayGrant as mayGrantTo, ROLES } from '../src/core/permissions.js'
import { LedgerService } from '../src/ledger/ledger.service.js'
import { Database } from '../src/platform/database/database.service.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client, withoutNames } from './support/client.js'
import { recorded } from './support/recorded.js'

let app: RunningApp
let root: Client

beforeAll(async () => {
  app = await startApp()
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
})
afterAll(() => app?.close())
afterEach(() => jest.restoreAllMocks())

async function create(role: string, by = root): Promise<CreatedAdminKey> {
  const { status, body } = await by.post<CreatedAdminKey>('/admin-keys', { name: `a ${role}`, role })
  expect(status).toBe(201)
  return body
}

const holderOf = (key: CreatedAdminKey): Client => root.with({ 'X-Admin-Key': key.api_key })
/** How many statements wait for a lock in this database. */
async function waiting(client: PgClient): Promise<number> {
  await client.query('SELECT pg_stat_clear_snapshot()') // or a transaction sees the same activity for ever
  const { rows } = await client.query<{ waiting: number }>(
    `SELECT count(*)::integer AS waiting FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'`,
  )
  return rows[0]?.waiting ?? 0
}

const mayGrant = (role: string, granted: string): boolean =>
  mayGrantTo(authorityOfRoles([role]), authorityOfRoles([granted]))

const tomorrow = (): string => new Date(Date.now() + 86_400_000).toISOString()

describe('creating', () => {
  it('shows the key once; what is kept is its SHA-256', async () => {
    const expires_at = tomorrow()
    const { status, body } = await root.post<CreatedAdminKey>('/admin-keys', {
      name: 'CI',
      role: 'admin',
      expires_at,
    })
    expect(status).toBe(201)
    expect(body).toEqual({
      admin_id: expect.stringMatching(/^adm_[\w-]{16}$/),
      name: 'CI',
      role: 'admin',
      team: null,
      api_key: expect.stringMatching(/^adk_[0-9A-Za-z]{49}$/),
      key_prefix: body.api_key.slice(0, 12),
      expires_at,
      revoked_at: null,
      last_used_at: null,
      created_at: expect.any(String),
      created_by: 'root',
    })
    expect(isWellFormedKey('adk_', body.api_key)).toBe(true)
    expect((await holderOf(body).get('/admin-keys')).status).toBe(200)

    const secret = body.api_key.slice(12)
    const { key_hash } = await app.app
      .get(Database)
      .withOrg({ org_id: 'org_default' }, (tx) =>
        tx.adminKey.findFirstOrThrow({ where: { admin_id: body.admin_id } }),
      )
    expect(key_hash).toMatch(/^[0-9a-f]{64}$/)
    for (const path of ['/admin-keys?include_revoked=true', `/admin-keys/${body.admin_id}`]) {
      const { text } = await root.get(path)
      expect(text).not.toContain(secret)
      expect(text).not.toContain(key_hash)
    }
    const log = JSON.stringify(await recorded(app.app))
    expect(log).toContain(body.admin_id)
    expect(log).not.toContain(secret)
    expect(log).not.toContain(key_hash)
  })

  it('records who made it', async () => {
    const owner = await create('owner')
    const made = await create('developer', holderOf(owner))
    expect(made.created_by).toBe(owner.admin_id)
    expect((await recorded(app.app)).at(-1)).toMatchObject({
      event: 'admin_key.created',
      actor: { kind: 'admin_key', id: owner.admin_id },
      change: { kind: 'admin_key', id: made.admin_id, op: 'created' },
      opened: {
        after: {
          name: 'a developer',
          role: 'developer',
          team: null,
          key_prefix: made.key_prefix,
          expires_at: null,
        },
      },
    })
  })

  it('leaves nothing when its entry cannot be appended', async () => {
    const before = await root.get('/admin-keys')
    jest.spyOn(app.app.get(LedgerService).sealer, 'seal').mockRejectedValue(new Error('no entry today'))
    expect((await root.post('/admin-keys', { name: 'x', role: 'admin' })).status).toBe(500)
    jest.restoreAllMocks()
    expect((await root.get('/admin-keys')).text).toBe(before.text)
  })

  it.each([
    [{ role: 'admin' }, 'name'],
    [{ name: 'x' }, 'role'],
    [{ name: 'x', role: 'root' }, 'role'],
    [{ name: 'x', role: 'Owner' }, 'role'],
    [{ name: 'x', role: ['owner'] }, 'role'],
    [{ name: 'x', role: 'no-such-role' }, 'role'],
    [{ name: 'x', role: 'owner', team: 'research' }, 'team'],
    [{ name: 'x', role: 'admin', team: '' }, 'team'],
    [{ name: 'x', role: 'admin', team: null }, 'team'],
    [{ name: 'x', role: 'admin', own_role: 'admin' }, 'own_role'],
    [{ name: 'x', role: 'admin', expires_at: '2020-01-01T00:00:00Z' }, 'expires_at'],
    [{ name: 'x', role: 'admin', expires_at: '2999-01-01' }, 'expires_at'],
    [{ name: 'x', role: 'admin', expires_at: '2999-01-01T00:00:00' }, 'expires_at'],
    [{ name: 'x', role: 'admin', expires_at: null }, 'expires_at'],
    [{ name: 'x', role: 'admin', api_key: 'adk_mine' }, 'api_key'],
    [{ name: 'x', role: 'admin', created_by: 'somebody' }, 'created_by'],
  ])('refuses %j with the path', async (body, path) => {
    const answer = await root.post('/admin-keys', body)
    expect([answer.status, answer.body.code]).toEqual([422, 'validation_failed'])
    expect(new Set(answer.body.errors?.map((error) => error.path))).toEqual(new Set([path]))
  })
})

describe('giving and taking', () => {
  it('lets nobody give or revoke more than they hold, and the root key everything', async () => {
    const holders = { owner: await create('owner'), admin: await create('admin') } as const
    for (const role of ['owner', 'admin'] as const) {
      for (const granted of ROLES) {
        const holder = holderOf(holders[role])
        const made = await holder.post('/admin-keys', { name: 'given', role: granted })
        const revoked = await holder.delete(`/admin-keys/${(await create(granted)).admin_id}`)
        const wanted = mayGrant(role, granted) ? [201, 204] : [403, 403]
        expect([role, granted, made.status, revoked.status]).toEqual([role, granted, ...wanted])
      }
    }
    // What the table must say for the loop to prove anything.
    expect([mayGrant('admin', 'owner'), mayGrant('owner', 'owner'), mayGrant('admin', 'admin')]).toEqual([
      false,
      true,
      true,
    ])
  })

  it('says who lacks what in a 403', async () => {
    const admin = holderOf(await create('admin'))
    const answer = await admin.post('/admin-keys', { name: 'x', role: 'owner' })
    expect(answer.body).toMatchObject({
      status: 403,
      code: 'forbidden',
      detail: 'You may not make keys with the role owner: nobody gives or takes more than they hold.',
    })
  })

  it.each(['operator', 'developer', 'auditor', 'approver'])(
    'refuses all of it to the role %s',
    async (role) => {
      const key = await create(role)
      const client = holderOf(key)
      const answers = [
        await client.get('/admin-keys'),
        await client.get(`/admin-keys/${key.admin_id}`),
        await client.post('/admin-keys', { name: 'x', role }),
        await client.delete(`/admin-keys/${key.admin_id}`),
      ]
      expect(answers.map(({ status }) => status)).toEqual([403, 403, 403, 403])
      expect((await client.get('/agents')).status).toBe(200)
    },
  )
})

describe('revoking', () => {
  it('is a 401 by the very next request, and a 404 the second time', async () => {
    const key = await create('admin')
    const client = holderOf(key)
    expect((await client.get('/admin-keys')).status).toBe(200)
    const revoked = await root.delete(`/admin-keys/${key.admin_id}`)
    expect([revoked.status, revoked.text]).toEqual([204, ''])
    expect((await client.get('/admin-keys')).body).toMatchObject({ status: 401, code: 'invalid_credentials' })
    expect((await root.delete(`/admin-keys/${key.admin_id}`)).body).toMatchObject({
      status: 404,
      code: 'admin_key_not_found',
      detail: `Administrator key ${key.admin_id} not found`,
    })
    const entries = (await recorded(app.app)).filter(({ change }) => change.id === key.admin_id)
    expect(entries.map(({ event }) => event)).toEqual(['admin_key.created', 'admin_key.revoked'])
  })

  it('happens once when several revoke at the same time', async () => {
    const key = await create('admin')
    const holder = new PgClient({ connectionString: app.database.owner_url })
    await holder.connect()
    try {
      // Held until all three have found the key and wait to write it.
      await holder.query('BEGIN')
      await holder.query('SELECT FROM admin_keys WHERE admin_id = $1 FOR UPDATE', [key.admin_id])
      const answers = Array.from({ length: 3 }, () => root.delete(`/admin-keys/${key.admin_id}`))
      while ((await waiting(holder)) < answers.length);
      await holder.query('COMMIT')
      expect((await Promise.all(answers)).map(({ status }) => status).sort()).toEqual([204, 404, 404])
    } finally {
      await holder.end()
    }
    const entries = (await recorded(app.app)).filter(({ change }) => change.id === key.admin_id)
    expect(entries.map(({ event }) => event)).toEqual(['admin_key.created', 'admin_key.revoked'])
  })

  it('lets a key revoke itself, also the last owner: the root key remains', async () => {
    const owner = await create('owner')
    expect((await holderOf(owner).delete(`/admin-keys/${owner.admin_id}`)).status).toBe(204)
    expect((await holderOf(owner).get('/admin-keys')).status).toBe(401)
    expect((await root.get('/admin-keys')).status).toBe(200)
  })

  it('leaves the key at work when its entry cannot be appended', async () => {
    const key = await create('admin')
    jest.spyOn(app.app.get(LedgerService).sealer, 'seal').mockRejectedValue(new Error('no entry today'))
    expect((await root.delete(`/admin-keys/${key.admin_id}`)).status).toBe(500)
    jest.restoreAllMocks()
    expect((await holderOf(key).get('/admin-keys')).status).toBe(200)
  })
})

describe('listing', () => {
  it('gives keys oldest first in pages with the total, revoked ones only when asked', async () => {
    const kept = await create('auditor')
    const gone = await create('auditor')
    await root.delete(`/admin-keys/${gone.admin_id}`)
    const active = await root.get<AdminKey[]>('/admin-keys')
    const ids = active.body.map(({ admin_id }) => admin_id)
    expect(ids).toContain(kept.admin_id)
    expect(ids).not.toContain(gone.admin_id)
    expect(active.headers.get('X-Total-Count')).toBe(String(active.body.length))

    const all = await root.get<AdminKey[]>('/admin-keys?include_revoked=true')
    expect(all.body.find(({ admin_id }) => admin_id === gone.admin_id)?.revoked_at).toEqual(
      expect.any(String),
    )
    const times = all.body.map(({ created_at }) => String(created_at))
    expect(times).toEqual([...times].sort())
    const page = await root.get<AdminKey[]>('/admin-keys?include_revoked=true&limit=2&offset=1')
    expect(page.body).toEqual(all.body.slice(1, 3))
    expect(page.headers.get('X-Total-Count')).toBe(String(all.body.length))

    const { api_key: _, ...shown } = kept
    expect((await root.get(`/admin-keys/${kept.admin_id}`)).body).toEqual(shown)
    expect((await root.get<AdminKey>(`/admin-keys/${gone.admin_id}`)).body.revoked_at).not.toBeNull()
  })

  it.each(['limit=0', 'limit=1001', 'offset=-1', 'include_revoked=yes', 'role=admin'])(
    'refuses ?%s',
    async (query) => expect((await root.get(`/admin-keys?${query}`)).status).toBe(422),
  )
})

it('answers a key of another organization exactly as if it did not exist', async () => {
  const other = await root.post<Organization>('/organizations', { name: 'Other' })
  const headers = { 'X-Org-ID': other.body.org_id }
  const foreign = await root.post<CreatedAdminKey>('/admin-keys', { name: 'theirs', role: 'admin' }, headers)
  const random = 'adm_AAAAAAAAAAAAAAAA'
  for (const method of ['GET', 'DELETE']) {
    const theirs = await root.call(method, `/admin-keys/${foreign.body.admin_id}`)
    const nobodys = await root.call(method, `/admin-keys/${random}`)
    expect(theirs.status).toBe(404)
    expect(withoutNames(theirs, foreign.body.admin_id)).toEqual(withoutNames(nobodys, random))
  }
  expect((await root.get('/admin-keys?include_revoked=true')).text).not.toContain(foreign.body.admin_id)
  expect((await root.get(`/admin-keys/${foreign.body.admin_id}`, headers)).status).toBe(200)
})
