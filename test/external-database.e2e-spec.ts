import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Client, Pool } from 'pg'
import { assertDatabase } from '../src/platform/database/assertions.js'
import { Database } from '../src/platform/database/database.service.js'
import { openConnections } from '../src/platform/database/open-connections.js'
import {
  type EmbeddedPostgres,
  removeEmbeddedPostgres,
  startEmbeddedPostgres,
} from '../src/platform/embedded-postgres/embedded-postgres.js'

/** A server of its own: roles belong to a cluster, and here an ordinary user must be able to make them. */
let server: EmbeddedPostgres
let folder: string

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'agentguard-external-'))
  server = await startEmbeddedPostgres({ data_dir: folder, relaxed: true })
  const superuser = new Client({ connectionString: server.admin_url })
  await superuser.connect()
  await superuser.query(`CREATE ROLE tenant LOGIN CREATEROLE NOSUPERUSER PASSWORD 'of-the-test'`)
  await superuser.query('CREATE DATABASE product OWNER tenant')
  await superuser.end()
})

afterAll(async () => {
  await server?.stop()
  removeEmbeddedPostgres(folder)
})

function urlOf(user: string, password: string): string {
  const url = new URL(server.admin_url)
  url.username = user
  url.password = password
  url.pathname = '/product'
  return url.href
}

const open = async (database_url: string) => {
  const connections = await openConnections({ database_url, migrate_on_start: true, data_dir: folder })
  const pools = [new Pool(connections.app), new Pool(connections.hot)] as const
  for (const pool of pools) pool.on('error', () => undefined) // the server may stop before its last connection
  try {
    await assertDatabase(...pools)
  } finally {
    await Promise.all(pools.map((pool) => pool.end()))
  }
}

describe('a database given by DATABASE_URL', () => {
  it('is migrated and served as its owner, who is no superuser, also a second time', async () => {
    await open(urlOf('tenant', 'of-the-test'))
    await open(urlOf('tenant', 'of-the-test'))
  })

  it('is worked with in READ COMMITTED, as its role, whatever its own default is', async () => {
    const superuser = new Client({ connectionString: server.admin_url })
    await superuser.connect()
    await superuser.query(`ALTER DATABASE product SET default_transaction_isolation = 'serializable'`)
    await superuser.end()
    const database_url = urlOf('tenant', 'of-the-test')
    const connections = await openConnections({ database_url, migrate_on_start: true, data_dir: folder })
    const database = new Database(connections, { max: 1, timeout_ms: 10_000, recycle_s: 60 })
    const stands = `SELECT current_setting('transaction_isolation') AS isolation, current_user::text AS role`
    const scope = { org_id: 'org_default' }
    const wanted = [{ isolation: 'read committed', role: 'agentguard_app' }]
    try {
      const ordinary = () => database.withOrg(scope, (tx) => tx.$queryRawUnsafe(stands))
      expect(await ordinary()).toEqual(wanted)
      expect(await database.urgently(ordinary)).toEqual(wanted)
      expect((await database.withOrgClient(scope, (client) => client.query(stands))).rows).toEqual(wanted)
      // Control: the default is in force for whoever says nothing.
      const plain = new Client({ connectionString: database_url })
      await plain.connect()
      expect((await plain.query(stands)).rows).toEqual([{ isolation: 'serializable', role: 'tenant' }])
      await plain.end()
    } finally {
      await database.close()
    }
  })

  it('is refused to a superuser', async () => {
    const superuser = new URL(server.admin_url)
    superuser.pathname = '/product'
    await expect(open(superuser.href)).rejects.toThrow(/superuser/)
  })
})
