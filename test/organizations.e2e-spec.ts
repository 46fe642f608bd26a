import type { AdminKey, CreatedAdminKey } from '../src/admin-keys/admin-keys.dto.js'
import type { Organization } from '../src/organizations/organizations.dto.js'
import { LedgerService } from '../src/ledger/ledger.service.js'
import { Clock } from '../src/platform/clock/clock.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client, withoutNames } from './support/client.js'
import { createTestDatabase } from './support/postgres.js'
import { recorded, versions } from './support/recorded.js'

let app: RunningApp
let root: Client

beforeAll(async () => {
  app = await startApp()
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
})
afterAll(() => app?.close())
afterEach(() => jest.restoreAllMocks())

const create = async (name: string): Promise<Organization> => {
  const { status, body } = await root.post<Organization>('/organizations', { name })
  expect(status).toBe(201)
  return body
}

/** An administrator of the organization. */
async function administrator(org_id: string, role = 'owner'): Promise<Client> {
  const { body } = await root.post<CreatedAdminKey>(
    '/admin-keys',
    { name: 'test', role },
    { 'X-Org-ID': org_id },
  )
  return root.with({ 'X-Admin-Key': body.api_key })
}

describe('the default organization', () => {
  it('is there after the first start, with an entry by the service itself in its own log', async () => {
    const { status, body } = await root.get<Organization>('/organizations/org_default')
    expect([status, body.name, body.is_active]).toEqual([200, 'Default', true])
    const [first] = await recorded(app.app)
    expect(first).toMatchObject({
      index: 0,
      event: 'organization.created',
      actor: { kind: 'system', id: 'system' },
      change: { kind: 'organization', id: 'org_default', op: 'created' },
      opened: { after: { name: 'Default', is_active: true } },
    })
  })

  it('is made once when several replicas meet an empty database', async () => {
    const database = await createTestDatabase()
    const replicas = await Promise.all(Array.from({ length: 3 }, () => startApp({ database })))
    try {
      for (const replica of replicas) expect(await recorded(replica.app)).toHaveLength(1)
    } finally {
      await Promise.all(replicas.map((replica) => replica.close()))
      await database.drop()
    }
  })

  it("is made though the clock is a minute ahead until it is compared with the database's", async () => {
    const clock = new Clock()
    clock.correct(60_000) // wrong until it is measured
    const ahead = await startApp({ clock })
    try {
      const [first] = await recorded(ahead.app)
      expect(Math.abs(Date.parse(first?.ts ?? '') - Date.now())).toBeLessThan(10_000)
    } finally {
      await ahead.close()
    }
  })

  it('cannot be suspended', async () => {
    const answer = await root.patch('/organizations/org_default', { is_active: false })
    expect(answer.body).toMatchObject({
      status: 409,
      code: 'conflict',
      detail: 'The default organization cannot be suspended.',
    })
    expect((await root.get('/agents')).status).toBe(200)
  })
})

describe('creating', () => {
  it('answers the organization and opens its log with an entry by who asked', async () => {
    const organization = await create('  Acme  ')
    expect(organization).toEqual({
      org_id: expect.stringMatching(/^org_[\w-]{16}$/),
      name: 'Acme',
      is_active: true,
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      updated_at: organization.created_at,
    })
    const entries = await recorded(app.app, organization.org_id)
    expect(entries).toHaveLength(1)
    expect(entries[0]).toMatchObject({
      index: 0,
      event: 'organization.created',
      actor: { kind: 'root', id: 'root' },
      change: { kind: 'organization', id: organization.org_id, op: 'created' },
      opened: { after: { name: 'Acme', is_active: true } },
    })
    expect(entries[0]?.log).toContain(`/${organization.org_id}/e1`)
  })

  it('leaves nothing when its entry cannot be appended', async () => {
    const before = await root.get<Organization[]>('/organizations')
    jest.spyOn(app.app.get(LedgerService).sealer, 'seal').mockRejectedValue(new Error('no entry today'))
    expect((await root.post('/organizations', { name: 'Never' })).status).toBe(500)
    jest.restoreAllMocks()
    const after = await root.get<Organization[]>('/organizations')
    expect(after.body).toEqual(before.body)
  })

  it.each([
    [{}, 'name'],
    [{ name: '' }, 'name'],
    [{ name: ' \t ' }, 'name'],
    [{ name: 'a\nb' }, 'name'],
    [{ name: 'x'.repeat(256) }, 'name'],
    [{ name: 7 }, 'name'],
    [{ name: null }, 'name'],
    [{ name: 'A', org_id: 'org_mine' }, 'org_id'],
    [{ name: 'A', is_active: false }, 'is_active'],
  ])('refuses %j with the path', async (body, path) => {
    const answer = await root.post('/organizations', body)
    expect([answer.status, answer.body.code]).toEqual([422, 'validation_failed'])
    expect(answer.body.errors?.map((error) => error.path)).toContain(path)
  })
})

describe('listing', () => {
  it('gives every organization, oldest first, in pages with the total', async () => {
    await create('One')
    await create('Two')
    const all = await root.get<Organization[]>('/organizations?limit=1000')
    expect(all.body.map(({ name }) => name)).toEqual(expect.arrayContaining(['Default', 'One', 'Two']))
    expect(all.headers.get('X-Total-Count')).toBe(String(all.body.length))
    const page = await root.get<Organization[]>('/organizations?limit=2&offset=1')
    expect(page.body).toEqual(all.body.slice(1, 3))
    expect(page.headers.get('X-Total-Count')).toBe(String(all.body.length))
  })

  it.each(['limit=0', 'limit=1001', 'limit=ten', 'offset=-1', 'limit=1&limit=2', 'unknown=1'])(
    'refuses ?%s',
    async (query) => expect((await root.get(`/organizations?${query}`)).status).toBe(422),
  )
})

describe('suspending', () => {
  it('makes its keys a 401 at the very next request, raises its version, and is undone by activating', async () => {
    const { org_id } = await create('Suspended')
    const admin = await administrator(org_id)
    expect((await admin.get('/agents')).status).toBe(200)
    const [version = 0] = await versions(app.app, org_id)

    const suspended = await root.patch<Organization>(`/organizations/${org_id}`, { is_active: false })
    expect([suspended.status, suspended.body.is_active]).toEqual([200, false])
    expect((await admin.get('/agents')).body).toMatchObject({ status: 401, code: 'invalid_credentials' })
    expect((await versions(app.app, org_id))[0]).toBe(version + 1)

    expect((await root.patch(`/organizations/${org_id}`, { is_active: true })).status).toBe(200)
    expect((await admin.get('/agents')).status).toBe(200)
    expect((await recorded(app.app, org_id)).filter(({ event }) => event === 'organization.updated')).toEqual(
      [
        expect.objectContaining({
          change: { kind: 'organization', id: org_id, op: 'updated' },
          opened: {
            before: { name: 'Suspended', is_active: true },
            after: { name: 'Suspended', is_active: false },
          },
        }),
        expect.objectContaining({
          opened: expect.objectContaining({ after: { name: 'Suspended', is_active: true } }),
        }),
      ],
    )
  })

  it('leaves other organizations alone', async () => {
    const [one, two] = [await create('A'), await create('B')]
    const admin = await administrator(two.org_id)
    await root.patch(`/organizations/${one.org_id}`, { is_active: false })
    expect((await admin.get('/agents')).status).toBe(200)
  })

  it('records nothing when nothing changes', async () => {
    const { org_id, updated_at } = await create('Same')
    const same = await root.patch<Organization>(`/organizations/${org_id}`, { name: 'Same', is_active: true })
    expect([same.status, same.body.updated_at]).toEqual([200, updated_at])
    expect((await root.patch<Organization>(`/organizations/${org_id}`, {})).status).toBe(200)
    expect(await recorded(app.app, org_id)).toHaveLength(1)
  })

  it('leaves nothing when its entry cannot be appended', async () => {
    const { org_id } = await create('Kept')
    jest.spyOn(app.app.get(LedgerService).sealer, 'seal').mockRejectedValue(new Error('no entry today'))
    expect((await root.patch(`/organizations/${org_id}`, { name: 'Lost' })).status).toBe(500)
    jest.restoreAllMocks()
    expect((await root.get<Organization>(`/organizations/${org_id}`)).body.name).toBe('Kept')
  })
})

describe('who may', () => {
  it('answers an unknown organization with 404', async () => {
    for (const answer of [
      await root.get('/organizations/org_missing'),
      await root.patch('/organizations/org_missing', { name: 'x' }),
    ]) {
      expect(answer.body).toMatchObject({
        status: 404,
        code: 'organization_not_found',
        detail: 'Organization org_missing not found',
      })
    }
  })

  it('is the root key alone: owners and auditors are refused, whatever organization they name', async () => {
    const { org_id } = await create('Tenant')
    for (const role of ['owner', 'auditor']) {
      const client = await administrator(org_id, role)
      const answers = [
        await client.post('/organizations', { name: 'x' }),
        await client.get('/organizations'),
        await client.get(`/organizations/${org_id}`),
        await client.patch(`/organizations/${org_id}`, { is_active: true }),
      ]
      expect(answers.map(({ status }) => status)).toEqual([403, 403, 403, 403])
      const foreign = await client.get('/organizations/org_default')
      const random = await client.get('/organizations/org_AAAAAAAAAAAAAAAA')
      expect(withoutNames(foreign)).toEqual(withoutNames(random))
    }
  })

  it('lets the root key work in an organization by X-ORG-ID and only there', async () => {
    const { org_id } = await create('Worked in')
    await root.post('/admin-keys', { name: 'inside', role: 'admin' }, { 'X-Org-ID': org_id })
    const inside = await root.get<AdminKey[]>('/admin-keys', { 'X-Org-ID': org_id })
    expect(inside.body.map(({ name }) => name)).toEqual(['inside'])
    expect((await root.get<AdminKey[]>('/admin-keys')).body.map(({ name }) => name)).not.toContain('inside')
  })
})
