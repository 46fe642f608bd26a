import { createHash, createHmac, pbkdf2Sync, randomBytes, randomUUID } from 'node:crypto'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, escapeIdentifier, escapeLiteral } from 'pg'

/** The role that owns every table; migrations run as it whoever is connected, so all objects have one owner. */
const OWNER = 'agentguard_owner'

/** The key that Prisma Migrate itself locks, so that a developer's CLI and a starting server exclude each other. */
const LOCK = 72707369

// Prisma's own table, column for column: `prisma migrate status|deploy|resolve` read and write the same rows.
const BOOKKEEPING = `CREATE TABLE IF NOT EXISTS public._prisma_migrations (
  id VARCHAR(36) PRIMARY KEY NOT NULL,
  checksum VARCHAR(64) NOT NULL,
  finished_at TIMESTAMPTZ,
  migration_name VARCHAR(255) NOT NULL,
  logs TEXT,
  rolled_back_at TIMESTAMPTZ,
  started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  applied_steps_count INTEGER NOT NULL DEFAULT 0
)`

export interface MigrateOptions {
  /** Folder of `<stamp>_<verb>_<object>/migration.sql`; default: the repository's. */
  migrations_dir?: string
  /** SQL that makes the roles; run first, every time, so it must be idempotent. Default: `prisma/roles.sql`. */
  roles_file?: string
  /** Receives one sentence at a time. Default: nothing is said. */
  log?: (line: string) => void
}

/**
 * Brings a database up to date: makes the roles, then applies what is missing of `prisma/migrations` in the order of
 * their names, each in one transaction. Any number of processes may call it at once; all but one wait.
 *
 * @param url connection of a superuser, or of the database's owner if that may create roles
 * @returns the names of the migrations that were applied now
 * @throws Error when a migration fails (it is rolled back, earlier ones stay), when one was edited after it had been
 *   applied, or when Prisma's CLI left one unfinished
 */
export async function migrate(url: string, options: MigrateOptions = {}): Promise<string[]> {
  const { log = () => {} } = options
  const migrationsDir = options.migrations_dir ?? path.join(packageRoot(), 'prisma', 'migrations')
  const roles = readFileSync(options.roles_file ?? path.join(packageRoot(), 'prisma', 'roles.sql'), 'utf8')
  return withClient(url, async (db) => {
    await lock(db, log)
    await makeRoles(db, roles)
    await transaction(db, async () => {
      await db.query(`SET LOCAL ROLE ${OWNER}`)
      await db.query(BOOKKEEPING)
    })
    const applied = await readApplied(db)
    const files = readMigrations(migrationsDir)
    warnAboutMissing(applied, files, log)
    const pending = files.filter((file) => isPending(file, applied))
    for (const file of pending) {
      await apply(db, file)
      log(`Applied migration ${file.name}`)
    }
    return pending.map((file) => file.name)
  })
}

/**
 * Lets the application's two roles log in with these passwords. For databases that this installation runs itself (the
 * embedded one, tests); elsewhere an operator decides how roles log in.
 *
 * @param url connection of a superuser, or of a role with CREATEROLE that administers both
 * @param passwords printable ASCII
 */
export async function setLogins(url: string, passwords: { app: string; hot: string }): Promise<void> {
  await withClient(url, async (db) => {
    for (const [role, password] of Object.entries(passwords)) {
      const verifier = escapeLiteral(scramVerifier(password))
      await whenRolesAreFree(() =>
        db.query(`ALTER ROLE ${escapeIdentifier(`agentguard_${role}`)} LOGIN PASSWORD ${verifier}`),
      )
    }
  })
}

interface MigrationFile {
  name: string
  sql: string
  checksum: string
}

function readMigrations(folder: string): MigrationFile[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort()
    .map((name) => {
      const sql = readFileSync(path.join(folder, name, 'migration.sql'), 'utf8')
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') }
    })
}

/** @returns checksum by name */
async function readApplied(db: Client): Promise<Map<string, string>> {
  const { rows } = await db.query<{ migration_name: string; checksum: string; finished_at: Date | null }>(
    `SELECT migration_name, checksum, finished_at FROM public._prisma_migrations WHERE rolled_back_at IS NULL`,
  )
  for (const row of rows) {
    if (row.finished_at) continue
    throw new Error(
      `Migration ${row.migration_name} was begun by the Prisma CLI and did not finish. Look at the database, then ` +
        `say what holds: "npx prisma migrate resolve --applied ${row.migration_name}" or "--rolled-back".`,
    )
  }
  return new Map(rows.map((row) => [row.migration_name, row.checksum]))
}

function isPending(file: MigrationFile, applied: Map<string, string>): boolean {
  const checksum = applied.get(file.name)
  if (checksum !== undefined && checksum !== file.checksum) {
    throw new Error(
      `Migration ${file.name} was edited after it had been applied to this database, so the file no longer says what ` +
        `the database is. Restore the file ("git checkout prisma/migrations") and put the change in a new migration ` +
        `("make migration MSG=…").`,
    )
  }
  return checksum === undefined
}

/** A newer release has migrated this database already; during a rolling update that is as it should be. */
function warnAboutMissing(
  applied: Map<string, string>,
  files: MigrationFile[],
  log: (line: string) => void,
): void {
  const known = new Set(files.map((file) => file.name))
  for (const name of applied.keys()) {
    if (known.has(name)) continue
    log(`The database has migration ${name}, which this version of AgentGuard does not know: it is newer`)
  }
}

async function apply(db: Client, { name, sql, checksum }: MigrationFile): Promise<void> {
  try {
    await transaction(db, async () => {
      await db.query(`SET LOCAL ROLE ${OWNER}`)
      await db.query(sql)
      await db.query('RESET ROLE') // the table may be another's, when Prisma's CLI made it
      await db.query(
        `INSERT INTO public._prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count)
         VALUES ($1, $2, $3, now(), 1)`,
        [randomUUID(), checksum, name],
      )
    })
  } catch (cause) {
    const { message, position } = cause as Error & { position?: string }
    const line = position ? ` at line ${sql.slice(0, Number(position)).split('\n').length}` : ''
    throw new Error(`Migration ${name} failed${line} and was rolled back: ${message}`, { cause })
  }
}

async function lock(db: Client, log: (line: string) => void): Promise<void> {
  const { rows } = await db.query<{ locked: boolean }>('SELECT pg_try_advisory_lock($1) AS locked', [LOCK])
  if (rows[0]?.locked) return
  log('Waiting for another process that is migrating this database')
  await db.query('SELECT pg_advisory_lock($1)', [LOCK]) // given back when the connection closes
}

async function makeRoles(db: Client, sql: string): Promise<void> {
  await whenRolesAreFree(() => transaction(db, () => db.query(sql)))
}

/**
 * Roles belong to the whole cluster, which an advisory lock (of one database) does not cover: two databases that are
 * migrated at once may collide there. PostgreSQL then fails one with "tuple concurrently updated"; it tries again.
 */
async function whenRolesAreFree(change: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await change()
      return
    } catch (error) {
      const { message, code = '' } = error as Error & { code?: string }
      const collided =
        /tuple concurrently (updated|deleted)/.test(message) || ['23505', '42710'].includes(code)
      if (!collided || attempt === 20) throw error
      await sleep(10 * attempt)
    }
  }
}

/**
 * What the server would store for this password, computed here as psql's \password does (RFC 5802, section 3), so
 * that the password itself is never part of a statement that could be logged.
 */
function scramVerifier(password: string): string {
  // Outside ASCII the server would normalise first (RFC 4013); ours are generated.
  if (!/^[\x20-\x7e]+$/.test(password)) throw new Error('A database password must be printable ASCII')
  const iterations = 4096
  const salt = randomBytes(16)
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256')
  const keyFor = (label: string): Buffer => createHmac('sha256', salted).update(label).digest()
  const stored = createHash('sha256').update(keyFor('Client Key')).digest('base64')
  const server = keyFor('Server Key').toString('base64')
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${server}`
}

async function transaction(db: Client, work: () => Promise<unknown>): Promise<void> {
  await db.query('BEGIN')
  try {
    await work()
    await db.query('COMMIT')
  } catch (error) {
    await db.query('ROLLBACK')
    throw error
  }
}

async function withClient<T>(url: string, use: (db: Client) => Promise<T>): Promise<T> {
  const db = new Client({ connectionString: url })
  db.on('error', () => {}) // a connection lost while idle: the next query reports it
  await db.connect()
  try {
    return await use(db)
  } finally {
    await db.end()
  }
}

/** This file runs from `prisma/` (tests) and from `dist/prisma/`; the SQL is in `prisma/` only. */
function packageRoot(): string {
  let folder = __dirname
  while (!existsSync(path.join(folder, 'package.json'))) {
    if (folder === path.dirname(folder)) throw new Error(`No package.json above ${__dirname}`)
    folder = path.dirname(folder)
  }
  return folder
}

async function main(): Promise<void> {
  const url = process.env.DATABASE_URL
  if (!url) throw new Error('DATABASE_URL is not set. "make migrate" also knows the embedded database.')
  const applied = await migrate(url, { log: (line) => console.log(line) })
  if (applied.length === 0) console.log('The database is up to date')
}

if (require.main === module) {
  main().catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  })
}
