import { Client as Postgres, Pool } from 'pg'
import { assertDatabase } from '../src/platform/database/assertions.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'

/**
 * Row-level security, the wall behind the services' own `org_id` filters. Which tables there are is read from the
 * catalog, so that a table which is added is behind the wall or fails here.
 */
let app: RunningApp
let root: Client
let owner: Postgres
let a: Tenant
let b: Tenant
let tables: readonly string[]

interface Tenant {
  readonly org_id: string
  readonly admin: Client
  readonly agent_id: string
}

async function makeTenant(name: string): Promise<Tenant> {
  const { org_id } = (await root.post<{ org_id: string }>('/organizations', { name })).body
  const inside = root.with({ ...root.headers, 'X-Org-ID': org_id })
  const key = await inside.post<{ api_key: string }>('/admin-keys', { name, role: 'owner' })
  const admin = new Client(app.url, { 'X-Admin-Key': key.body.api_key })
  const made = await admin.post<{ agent_id: string; api_key: string }>('/agents', {
    name,
    owner_team: name,
    environment: 'dev',
  })
  const { agent_id, api_key } = made.body
  await admin.put(`/agents/${agent_id}/policy`, { allow: [{ action: 'read' }] })
  await admin.post('/roles', { role: 'own-role', permissions: ['logs:read'] })
  await admin.call('POST', '/roles', {
    body: { role: 'kept', permissions: ['logs:read'] },
    headers: { 'Idempotency-Key': name },
  })
  const agent = new Client(app.url, { 'X-Agent-Key': api_key })
  await agent.post('/enforce', { action: 'read', context: { name } })
  return { org_id, admin, agent_id }
}

beforeAll(async () => {
  app = await startApp()
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
  a = await makeTenant('organization-a')
  b = await makeTenant('organization-b')
  const { rows } = await owner.query<{ name: string }>(
    `SELECT format('%I.%I', n.nspname, c.relname) AS name
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('public', 'ledger') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attname = 'org_id' AND NOT t.attisdropped)
     ORDER BY 1`,
  )
  tables = rows.map(({ name }) => name)
})
afterAll(async () => {
  await owner?.end()
  await app?.close()
})

/** One transaction as the application's role, bound to an organization or to none; nothing of it stays. */
async function asApp<T>(org_id: string | null, work: (client: Postgres) => Promise<T>): Promise<T> {
  const client = new Postgres({ connectionString: app.database.app_url })
  await client.connect()
  try {
    await client.query('BEGIN')
    if (org_id !== null) await client.query("SELECT set_config('app.org_id', $1, true)", [org_id])
    return await work(client)
  } finally {
    await client.query('ROLLBACK').catch(() => undefined)
    await client.end()
  }
}

/** The organizations whose rows are there, without any filter; null where the role may not read the table. */
async function organizationsIn(client: Postgres, table: string): Promise<string[] | null> {
  await client.query('SAVEPOINT before')
  try {
    const { rows } = await client.query<{ org_id: string }>(`SELECT DISTINCT org_id FROM ${table}`)
    return rows.map(({ org_id }) => org_id)
  } catch (error) {
    await client.query('ROLLBACK TO before')
    if ((error as { code?: string }).code === '42501') return null
    throw error
  }
}

describe('with the first wall off', () => {
  it('a query without a filter shows one organization, in every table', async () => {
    expect(tables.length).toBeGreaterThan(12)
    const shown = await asApp(a.org_id, async (client) => {
      const found: [string, string[] | null][] = []
      for (const table of tables) found.push([table, await organizationsIn(client, table)])
      return found
    })
    for (const [table, orgs] of shown) {
      expect([table, (orgs ?? []).filter((org_id) => org_id !== a.org_id)]).toEqual([table, []])
    }
    // The control: there is something to be seen, and the owner of the tables sees it of both.
    expect(shown.filter(([, orgs]) => orgs?.includes(a.org_id)).length).toBeGreaterThan(10)
    const everybody = await owner.query<{ org_id: string }>('SELECT DISTINCT org_id FROM agents')
    expect(everybody.rows.map(({ org_id }) => org_id)).toEqual(expect.arrayContaining([a.org_id, b.org_id]))
  })

  it('a query in no organization shows nothing at all', async () => {
    await asApp(null, async (client) => {
      for (const table of tables) {
        expect([table, (await organizationsIn(client, table)) ?? []]).toEqual([table, []])
      }
    })
  })

  it('no statement changes, deletes or makes a row of another organization', async () => {
    for (const table of tables) {
      const changed = await asApp(a.org_id, async (client) => {
        const counts: number[] = []
        for (const statement of [
          `UPDATE ${table} SET org_id = org_id WHERE org_id = $1`,
          `DELETE FROM ${table} WHERE org_id = $1`,
        ]) {
          await client.query('SAVEPOINT before')
          try {
            counts.push((await client.query(statement, [b.org_id])).rowCount ?? 0)
          } catch {
            await client.query('ROLLBACK TO before') // it has no such privilege
          }
        }
        return counts
      })
      expect([table, changed.filter((count) => count > 0)]).toEqual([table, []])
    }
    for (const statement of [
      `INSERT INTO teams (org_id, team) VALUES ('${b.org_id}', 'smuggled')`,
      `INSERT INTO roles (org_id, role, permissions, created_by) VALUES ('${b.org_id}', 'smuggled', '{}', 'x')`,
      `UPDATE agents SET org_id = '${b.org_id}'`,
    ]) {
      await expect(asApp(a.org_id, (client) => client.query(statement))).rejects.toThrow(
        /row-level security|foreign key/,
      )
    }
  })
})

describe('with the second wall off', () => {
  it('the services still show one organization only', async () => {
    const open = tables.filter((table) => table.startsWith('public.'))
    for (const table of open) await owner.query(`ALTER TABLE ${table} DISABLE ROW LEVEL SECURITY`)
    try {
      // The control: the wall is down.
      expect(await asApp(a.org_id, (client) => organizationsIn(client, 'public.agents'))).toContain(b.org_id)
      for (const path of ['/agents', '/admin-keys', '/roles', '/teams', '/logs?type=decision,config']) {
        const answer = await a.admin.get(path)
        expect([path, answer.status, answer.text.includes('organization-b')]).toEqual([path, 200, false])
      }
      for (const path of ['', '/keys', '/policy', '/policy/versions', '/policy/versions/1']) {
        expect([path, (await a.admin.get(`/agents/${b.agent_id}${path}`)).status]).toEqual([path, 404])
      }
      expect((await a.admin.patch(`/agents/${b.agent_id}`, { name: 'taken' })).status).toBe(404)
      expect((await a.admin.delete(`/agents/${b.agent_id}`)).status).toBe(404)
      expect((await a.admin.get('/teams/organization-b/policy')).status).toBe(404)
    } finally {
      for (const table of open) await owner.query(`ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`)
    }
  })

  it('no process starts, and the message names the table', async () => {
    const pools = [app.database.app_url, app.database.hot_url].map(
      (connectionString) => new Pool({ connectionString, max: 1 }),
    )
    const [asAppRole, asHotRole] = pools
    if (!asAppRole || !asHotRole) throw new Error('two pools were made')
    try {
      await assertDatabase(asAppRole, asHotRole)
      for (const table of tables) {
        await owner.query(`ALTER TABLE ${table} NO FORCE ROW LEVEL SECURITY`)
        await expect(assertDatabase(asAppRole, asHotRole)).rejects.toThrow(`table ${table} lacks`)
        await owner.query(`ALTER TABLE ${table} FORCE ROW LEVEL SECURITY`)
      }
      await owner.query('CREATE TABLE forgotten (org_id text)')
      await expect(assertDatabase(asAppRole, asHotRole)).rejects.toThrow('table public.forgotten lacks')
    } finally {
      await owner.query('DROP TABLE IF EXISTS forgotten')
      await Promise.all(pools.map((pool) => pool.end()))
    }
  })
})
