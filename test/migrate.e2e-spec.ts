import { spawnSync } from 'node:child_process'
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Client } from 'pg'
import { migrate, setLogins } from '../prisma/migrate.js'
import {
  type EmbeddedPostgres,
  removeEmbeddedPostgres,
  startEmbeddedPostgres,
} from '../src/platform/embedded-postgres/embedded-postgres.js'
import { type TestDatabase, createEmptyDatabase } from './support/postgres.js'

const root = path.resolve(__dirname, '..')
const shippedMigrations = path.join(root, 'prisma', 'migrations')
const shippedNames = readdirSync(shippedMigrations).filter((name) => /^\d{14}_/.test(name))

let database: TestDatabase
let folder: string

beforeEach(async () => {
  database = await createEmptyDatabase()
  folder = mkdtempSync(path.join(tmpdir(), 'agentguard-migrations-'))
})

afterEach(async () => {
  await database.drop()
  rmSync(folder, { recursive: true, force: true })
})

function writeMigration(name: string, sql: string): void {
  mkdirSync(path.join(folder, name), { recursive: true })
  writeFileSync(path.join(folder, name, 'migration.sql'), sql)
}

async function query(sql: string, url = database.owner_url): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows
  } finally {
    await client.end()
  }
}

describe('the runner', () => {
  it('applies the shipped migrations in order, once, with everything owned by agentguard_owner', async () => {
    expect(await migrate(database.owner_url)).toEqual(shippedNames)
    expect(await migrate(database.owner_url)).toEqual([])
    const owners = await query(
      `SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
    )
    expect(owners).toEqual([{ tableowner: 'agentguard_owner' }])
  })

  it('lets several processes that start at once apply each migration exactly once', async () => {
    const applied = await Promise.all([1, 2, 3, 4].map(() => migrate(database.owner_url)))
    expect(applied.flat()).toEqual(shippedNames)
    expect(await query('SELECT migration_name FROM _prisma_migrations ORDER BY 1')).toEqual(
      shippedNames.map((migration_name) => ({ migration_name })),
    )
  })

  it('control: without the lock, processes that start at once get in each other’s way', async () => {
    writeMigration('20260101000000_slow', 'SELECT pg_sleep(0.3); CREATE TABLE once (number int);')
    // This one says yes to everybody.
    const unlocked = `CREATE FUNCTION public.pg_try_advisory_lock(bigint) RETURNS boolean
      LANGUAGE sql AS 'SELECT true'`
    await query(unlocked)
    const withoutLock = new URL(database.owner_url)
    withoutLock.searchParams.set('options', '-c search_path=public,pg_catalog')
    const runs = await Promise.allSettled(
      [1, 2].map(() => migrate(withoutLock.href, { migrations_dir: folder })),
    )
    expect(runs.map((run) => run.status).sort()).toEqual(['fulfilled', 'rejected'])
  })

  it('lets several databases of one server be migrated at once, although they share the roles', async () => {
    const others = await Promise.all([1, 2, 3].map(() => createEmptyDatabase()))
    try {
      const applied = await Promise.all([database, ...others].map(({ owner_url }) => migrate(owner_url)))
      expect(applied).toEqual([1, 2, 3, 4].map(() => shippedNames))
    } finally {
      await Promise.all(others.map((other) => other.drop()))
    }
  })

  it('refuses a migration that was edited after it had been applied, and applies nothing', async () => {
    writeMigration('20260101000000_first', 'CREATE TABLE first (number int);')
    await migrate(database.owner_url, { migrations_dir: folder })
    appendFileSync(path.join(folder, '20260101000000_first', 'migration.sql'), '-- a remark')
    writeMigration('20260102000000_second', 'CREATE TABLE second (number int);')
    await expect(migrate(database.owner_url, { migrations_dir: folder })).rejects.toThrow(
      /20260101000000_first was edited after it had been applied.*new migration/,
    )
    expect(await query(`SELECT to_regclass('second') AS second`)).toEqual([{ second: null }])

    // The control: restored, the same call goes through.
    writeMigration('20260101000000_first', 'CREATE TABLE first (number int);')
    expect(await migrate(database.owner_url, { migrations_dir: folder })).toEqual(['20260102000000_second'])
  })

  it('rolls a failing migration back whole, keeps the earlier ones and says where it failed', async () => {
    writeMigration('20260101000000_good', 'CREATE TABLE good (number int);')
    writeMigration('20260102000000_bad', 'CREATE TABLE half (number int);\n\nSELECT nothing_like_this;\n')
    await expect(migrate(database.owner_url, { migrations_dir: folder })).rejects.toThrow(
      'Migration 20260102000000_bad failed at line 3 and was rolled back',
    )
    expect(await query(`SELECT to_regclass('half') AS half, to_regclass('good')::text AS good`)).toEqual([
      { half: null, good: 'good' },
    ])
  })

  it('accepts, with a word about it, a database that a newer version has migrated', async () => {
    writeMigration('20260101000000_first', 'CREATE TABLE first (number int);')
    writeMigration('20260102000000_newer', 'CREATE TABLE newer (number int);')
    await migrate(database.owner_url, { migrations_dir: folder })
    rmSync(path.join(folder, '20260102000000_newer'), { recursive: true })
    const lines: string[] = []
    const applied = await migrate(database.owner_url, {
      migrations_dir: folder,
      log: (line) => lines.push(line),
    })
    expect(applied).toEqual([])
    expect(lines).toEqual([expect.stringContaining('20260102000000_newer')])
  })

  it('refuses to go on where the Prisma CLI left a migration unfinished', async () => {
    await migrate(database.owner_url, { migrations_dir: folder })
    await query(
      `INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES ('1', 'x', '20260101_half')`,
    )
    await expect(migrate(database.owner_url, { migrations_dir: folder })).rejects.toThrow(
      'prisma migrate resolve',
    )
  })
})

// Roles and their passwords belong to a whole server, and other test files are using the shared one.
describe('on a server of its own', () => {
  let dataDir: string
  let server: EmbeddedPostgres
  let owner: URL

  beforeAll(async () => {
    dataDir = mkdtempSync(path.join(tmpdir(), 'agentguard-roles-'))
    server = await startEmbeddedPostgres({ data_dir: dataDir, relaxed: true })
    await query(`CREATE ROLE operator LOGIN CREATEROLE PASSWORD 'secret'`, server.admin_url)
    await query('CREATE DATABASE product OWNER operator', server.admin_url)
    owner = new URL(server.admin_url)
    owner.username = 'operator'
    owner.password = 'secret'
    owner.pathname = '/product'
  })

  afterAll(async () => {
    await server.stop()
    removeEmbeddedPostgres(dataDir)
  })

  it('needs no superuser: an owner of the database that may create roles can do everything', async () => {
    expect(await migrate(owner.href)).toEqual(shippedNames)
    expect(await migrate(owner.href)).toEqual([])
    for (const role of ['agentguard_app', 'agentguard_hot']) {
      const url = new URL(owner)
      url.searchParams.set('options', `-c role=${role}`)
      expect(await query('SELECT current_user AS me', url.href)).toEqual([{ me: role }])
    }
  })

  it('lets both roles log in with any printable password, which the server stores as SCRAM', async () => {
    const passwords = { app: 'plain', hot: `it's "quoted" \\ $$ % @:/?#` }
    await setLogins(owner.href, passwords)
    for (const [name, password] of Object.entries(passwords)) {
      const url = new URL(owner)
      url.username = `agentguard_${name}`
      url.password = encodeURIComponent(password)
      expect(await query('SELECT current_user AS me', url.href)).toEqual([{ me: `agentguard_${name}` }])
      url.password = 'another'
      await expect(query('SELECT 1', url.href)).rejects.toThrow('password authentication failed')
    }
    const stored = await query(
      `SELECT rolpassword FROM pg_authid WHERE rolname IN ('agentguard_app', 'agentguard_hot')`,
      server.admin_url,
    )
    for (const { rolpassword } of stored) expect(rolpassword).toMatch(/^SCRAM-SHA-256\$4096:/)
    await expect(setLogins(owner.href, { ...passwords, app: 'grün' })).rejects.toThrow('printable ASCII')
  })
})

describe('the schema', () => {
  // The real Prisma CLI: that it answers 2 for a difference matters, because it also exits 0 when its engine crashes.
  function difference(schema: string): { status: number | null; output: string } {
    const { status, stdout, stderr } = spawnSync(
      path.join(root, 'node_modules', '.bin', 'prisma'),
      ['migrate', 'diff', '--from-config-datasource', '--to-schema', schema, '--exit-code'],
      {
        cwd: root,
        encoding: 'utf8',
        env: { ...process.env, NODE_OPTIONS: '', DATABASE_URL: database.owner_url },
      },
    )
    return { status, output: stdout + stderr }
  }

  it('is the same in the migrated database and in schema.prisma', async () => {
    await migrate(database.owner_url)
    const same = difference('prisma/schema.prisma')
    expect(same.output).toContain('No difference detected')
    expect(same.status).toBe(0)
  })

  it('control: a column that only schema.prisma has is found', async () => {
    await migrate(database.owner_url)
    cpSync(path.join(root, 'prisma', 'schema.prisma'), path.join(folder, 'schema.prisma'))
    const schema = readFileSync(path.join(folder, 'schema.prisma'), 'utf8')
    writeFileSync(
      path.join(folder, 'schema.prisma'),
      schema.replace(/^model Organization \{$/m, '$&\n  only_in_the_schema String?'),
    )
    const different = difference(path.join(folder, 'schema.prisma'))
    expect(different.output).toContain('only_in_the_schema')
    expect(different.status).toBe(2)
  })
})
