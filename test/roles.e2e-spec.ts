import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Client as PgClient } from 'pg'
import type { CreatedAdminKey } from '../src/admin-keys/admin-keys.dto.js'
import { permissionsOf, ROLE_PERMISSIONS, ROLES } from '../src/core/permissions.js'
import { Database } from '../src/platform/database/database.service.js'
import type { Role } from '../src/roles/roles.dto.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'
import { recorded } from './support/recorded.js'

let app: RunningApp
let owner: PgClient
let root: Client
let names = 0

beforeAll(async () => {
  app = await startApp()
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  owner = new PgClient({ connectionString: app.database.owner_url })
  await owner.connect()
})
afterAll(async () => {
  await owner?.end()
  await app?.close()
})

async function define(permissions: readonly string[], by = root): Promise<string> {
  const role = `role-${++names}`
  const answer = await by.post<Role>('/roles', { role, permissions })
  expect([answer.status, answer.body.permissions]).toEqual([201, expect.any(Array)])
  return role
}

async function keyOf(role: string, by = root): Promise<CreatedAdminKey & { client: Client }> {
  const { status, body } = await by.post<CreatedAdminKey>('/admin-keys', { name: `a ${role}`, role })
  expect(status).toBe(201)
  return { ...body, client: root.with({ 'X-Admin-Key': body.api_key }) }
}

it('knows the same built-in roles in the database as in the code', async () => {
  const { rows } = await owner.query<{ known: boolean }>(
    'SELECT is_builtin_role(role) AS known FROM unnest($1::text[]) AS r (role)',
    [[...ROLES, 'deployer']],
  )
  expect(rows.map(({ known }) => known)).toEqual([...ROLES.map(() => true), false])
  const { rows: source } = await owner.query<{ names: string }>(
    `SELECT prosrc AS names FROM pg_proc WHERE proname = 'is_builtin_role'`,
  )
  expect([...(source[0]?.names.matchAll(/'(\w+)'/g) ?? [])].map(([, name]) => name)).toEqual([...ROLES])
})

it('documents what each role may do as it is', () => {
  const text = readFileSync(path.join(__dirname, '..', 'docs', 'access.md'), 'utf8')
  const rows = [...text.matchAll(/^\| `([a-z-]+:[a-z]+)`\s*\|(.*)\|$/gm)]
  const documented = rows.map(([, permission = '', cells = '']) => {
    const given = cells.split('|').map((cell) => cell.trim() === '✓')
    return [permission, ROLES.filter((_, index) => given[index])]
  })
  const actual = ROLE_PERMISSIONS.map((permission) => [
    permission,
    ROLES.filter((role) => permissionsOf(role).has(permission)),
  ])
  expect(documented).toEqual(actual)
})

describe('defining', () => {
  it('makes, shows, lists, changes and deletes a role, each change with its entry', async () => {
    const made = await root.post<Role>('/roles', {
      role: 'release-manager',
      description: 'Watches releases',
      permissions: ['logs:read', 'agents:read'],
    })
    expect([made.status, made.body]).toEqual([
      201,
      {
        role: 'release-manager',
        built_in: false,
        description: 'Watches releases',
        permissions: ['agents:read', 'logs:read'],
        created_at: expect.any(String),
        updated_at: expect.any(String),
        created_by: 'root',
      },
    ])
    expect((await root.get('/roles/release-manager')).body).toEqual(made.body)
    const listed = (await root.get<Role[]>('/roles')).body
    expect(listed.slice(0, ROLES.length).map(({ role }) => role)).toEqual([...ROLES])
    expect(listed).toContainEqual(made.body)
    expect((await root.get('/roles/viewer')).body).toMatchObject({ built_in: true, created_by: null })

    const changed = await root.put<Role>('/roles/release-manager', { permissions: ['logs:read'] })
    expect([changed.status, changed.body.permissions, changed.body.description]).toEqual([
      200,
      ['logs:read'],
      '',
    ])
    await root.put('/roles/release-manager', { permissions: ['logs:read'] }) // changes nothing
    expect((await root.delete('/roles/release-manager')).status).toBe(204)
    expect((await root.get('/roles/release-manager')).body).toMatchObject({ code: 'role_not_found' })
    const entries = (await recorded(app.app)).filter(({ change }) => change.id === 'release-manager')
    expect(
      entries.map(({ event, opened }) => [event, opened?.before ?? null, opened?.after ?? null]),
    ).toEqual([
      ['role.created', null, { description: 'Watches releases', permissions: ['agents:read', 'logs:read'] }],
      [
        'role.updated',
        { description: 'Watches releases', permissions: ['agents:read', 'logs:read'] },
        { description: '', permissions: ['logs:read'] },
      ],
      ['role.deleted', { description: '', permissions: ['logs:read'] }, null],
    ])
  })

  it.each([
    [{ role: 'Upper', permissions: ['logs:read'] }, 'role'],
    [{ role: 'a--b', permissions: ['logs:read'] }, 'role'],
    [{ role: 'a'.repeat(65), permissions: ['logs:read'] }, 'role'],
    [{ role: 'a-role', permissions: [] }, 'permissions'],
    [{ role: 'a-role', permissions: ['logs:read', 'logs:read'] }, 'permissions'],
    [{ role: 'a-role', permissions: ['logs:destroy'] }, 'permissions'],
    [{ role: 'a-role', permissions: ['organizations:write'] }, 'permissions'],
    [{ role: 'a-role', permissions: ['decisions:create'] }, 'permissions'],
    [{ role: 'a-role', permissions: 'logs:read' }, 'permissions'],
    [{ role: 'a-role', permissions: ['logs:read'], built_in: true }, 'built_in'],
  ])('refuses %j with the path', async (body, path) => {
    const answer = await root.post('/roles', body)
    expect([answer.status, answer.body.errors?.[0]?.path]).toEqual([422, path])
  })

  it('lets no role have the name of a built-in one or of a kind of principal', async () => {
    for (const role of [...ROLES, 'root', 'system', 'agent', 'member']) {
      expect((await root.post('/roles', { role, permissions: ['logs:read'] })).status).toBe(409)
    }
    for (const role of ROLES) {
      expect((await root.put(`/roles/${role}`, { permissions: ['logs:read'] })).status).toBe(409)
      expect((await root.delete(`/roles/${role}`)).status).toBe(409)
    }
    const taken = await define(['logs:read'])
    expect((await root.post('/roles', { role: taken, permissions: ['logs:read'] })).status).toBe(409)
    // The database says the same to whoever gets past the service.
    await expect(
      app.app.get(Database).withOrg({ org_id: 'org_default' }, (tx) =>
        tx.role.create({
          data: { org_id: 'org_default', role: 'admin', permissions: ['logs:read'], created_by: 'x' },
        }),
      ),
    ).rejects.toThrow(/roles_role_own/)
  })

  it('does not let another organization’s role be seen, changed or given', async () => {
    const { org_id } = (await root.post<{ org_id: string }>('/organizations', { name: 'Other' })).body
    const role = await define(['logs:read'])
    const elsewhere = root.with({ ...root.headers, 'X-Org-ID': org_id })
    for (const method of ['GET', 'DELETE']) {
      expect((await elsewhere.call(method, `/roles/${role}`)).status).toBe(404)
    }
    expect((await elsewhere.put(`/roles/${role}`, { permissions: ['logs:read'] })).status).toBe(404)
    expect((await elsewhere.get('/roles')).text).not.toContain(role)
    expect((await elsewhere.post('/admin-keys', { name: 'x', role })).status).toBe(422)
  })
})

describe('giving', () => {
  it('gives a key exactly the permissions of its role', async () => {
    const { client } = await keyOf(await define(['agents:read']))
    expect((await client.get('/agents')).status).toBe(200)
    expect((await client.get('/logs')).status).toBe(403)
    expect((await client.get('/roles')).status).toBe(403)
  })

  it('lets nobody make, change, give or take more than they hold', async () => {
    const permissions = ['roles:read', 'roles:write', 'admin-keys:read', 'admin-keys:write', 'agents:read']
    const { client } = await keyOf(await define(permissions))
    const within = await define(['agents:read'])
    const beyond = await define(['agents:read', 'agents:write'])
    const post = (granted: string[]) =>
      client.post('/roles', { role: `role-${++names}`, permissions: granted })
    expect((await post(['agents:read', 'roles:write'])).status).toBe(201)
    expect((await post(['agents:read', 'agents:write'])).status).toBe(403)
    expect((await client.put(`/roles/${within}`, { permissions: ['agents:write'] })).status).toBe(403)
    // Taking is giving the other way round: what it holds is beyond the principal.
    expect((await client.put(`/roles/${beyond}`, { permissions: ['agents:read'] })).status).toBe(403)
    expect((await client.delete(`/roles/${beyond}`)).status).toBe(403)
    expect((await client.post('/admin-keys', { name: 'x', role: within })).status).toBe(201)
    for (const role of [beyond, 'admin', 'owner', 'viewer']) {
      expect([role, (await client.post('/admin-keys', { name: 'x', role })).status]).toEqual([role, 403])
    }
    const { admin_id } = await keyOf(beyond)
    expect((await client.delete(`/admin-keys/${admin_id}`)).status).toBe(403)
    // A set of every permission still makes no owner.
    const all = await keyOf(await define(ROLE_PERMISSIONS))
    expect((await all.client.post('/admin-keys', { name: 'x', role: 'admin' })).status).toBe(201)
    expect((await all.client.post('/admin-keys', { name: 'x', role: 'owner' })).status).toBe(403)
  })

  it('says which permissions a principal lacks', async () => {
    const { client } = await keyOf(await define(['roles:write']))
    const answer = await client.post('/roles', { role: 'x', permissions: ['agents:write'] })
    expect(answer.body.detail).toBe(
      'You may not give or take the permissions agents:write: nobody gives or takes more than they hold.',
    )
  })

  it('applies a change on the very next request', async () => {
    const role = await define(['agents:read'])
    const { client } = await keyOf(role)
    for (let round = 0; round < 5; round++) {
      await root.put(`/roles/${role}`, { permissions: ['logs:read'] })
      expect((await client.get('/agents')).status).toBe(403)
      expect((await client.get('/logs')).status).toBe(200)
      await root.put(`/roles/${role}`, { permissions: ['agents:read'] })
      expect((await client.get('/agents')).status).toBe(200)
      expect((await client.get('/logs')).status).toBe(403)
    }
  })

  it('believes no stored permission that no role of an organization can hold', async () => {
    const role = await define(['agents:read'])
    const { client } = await keyOf(role)
    await owner.query('UPDATE roles SET permissions = $1 WHERE role = $2', [
      ['organizations:read', 'decisions:create', 'nonsense'],
      role,
    ])
    expect((await client.get('/organizations')).status).toBe(403)
    expect((await client.get('/agents')).status).toBe(403)
  })
})

describe('deleting', () => {
  it('refuses while keys have the role, and says how many', async () => {
    const role = await define(['logs:read'])
    const keys = [await keyOf(role), await keyOf(role)]
    const refused = await root.delete(`/roles/${role}`)
    expect([refused.status, refused.body.detail]).toEqual([
      409,
      `The role ${role} is in use by 2 administrator keys; give them another role first.`,
    ])
    for (const { admin_id } of keys) await root.delete(`/admin-keys/${admin_id}`)
    expect((await root.delete(`/roles/${role}`)).status).toBe(204)
    expect((await root.get<CreatedAdminKey>(`/admin-keys/${keys[0]?.admin_id ?? ''}`)).body.role).toBe(role)
  })

  it('never leaves a key with a role that is gone, when both happen at once', async () => {
    for (let round = 0; round < 10; round++) {
      const role = await define(['logs:read'])
      const [made, deleted] = await Promise.all([
        root.post('/admin-keys', { name: 'race', role }),
        root.delete(`/roles/${role}`),
      ])
      expect([
        [201, 409],
        [422, 204],
        [409, 204],
      ]).toContainEqual([made.status, deleted.status])
    }
  })
})
