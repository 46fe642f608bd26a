import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Client, Pool } from 'pg'
import { assertDatabase } from '../src/platform/database/assertions.js'
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

  it('is refused to a superuser', async () => {
    const superuser = new URL(server.admin_url)
    superuser.pathname = '/product'
    await expect(open(superuser.href)).rejects.toThrow(/superuser/)
  })
})
