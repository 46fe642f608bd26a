import { randomUUID } from 'node:crypto'
import { Client } from 'pg'

/** Name of the database that the global setup migrates once; every test database is a copy of it. */
export const TEMPLATE = 'template_app'

/** How the global setup tells the workers where its server is: the environment is what they inherit. */
export const SERVER_VARIABLE = 'TEST_POSTGRES_URL'

/** Passwords of the two application roles in the test server, which ends with the run. */
export const TEST_LOGINS = { app: 'app-password-of-the-tests', hot: 'hot-password-of-the-tests' }

export interface TestDatabase {
  name: string
  /** The superuser: owns everything, passes row-level security, may tamper. For arranging and for attacks. */
  owner_url: string
  /** `agentguard_app`: what the control plane connects as. */
  app_url: string
  /** `agentguard_hot`: what the decision path connects as. */
  hot_url: string
  /** Deletes the database, also while it is in use. */
  drop(): Promise<void>
}

/** A migrated database for one test file: a copy of the template, about 0.2 s. Drop it in `afterAll`. */
export async function createTestDatabase(): Promise<TestDatabase> {
  return createDatabase(`TEMPLATE ${TEMPLATE} STRATEGY FILE_COPY`)
}

/** A copy of a test database as it is now, as a backup would be. Nobody may be connected to it. */
export async function copyOf(database: TestDatabase): Promise<TestDatabase> {
  for (let tries = 1; ; tries++) {
    try {
      return await createDatabase(`TEMPLATE ${database.name} STRATEGY FILE_COPY`)
    } catch (error) {
      // Sessions that were closed a moment ago are still ending.
      if (tries === 100) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

/** A database without any tables, for tests of the migrations themselves. */
export async function createEmptyDatabase(): Promise<TestDatabase> {
  return createDatabase('')
}

async function createDatabase(how: string): Promise<TestDatabase> {
  const name = `test_${randomUUID().replaceAll('-', '')}`
  await asSuperuser(`CREATE DATABASE ${name} ${how}`)
  return {
    name,
    owner_url: urlOf(name),
    app_url: urlOf(name, 'agentguard_app', TEST_LOGINS.app),
    hot_url: urlOf(name, 'agentguard_hot', TEST_LOGINS.hot),
    drop: () => asSuperuser(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
  }
}

function urlOf(database: string, user?: string, password?: string): string {
  const url = new URL(serverUrl())
  url.pathname = `/${database}`
  if (user !== undefined) url.username = user
  if (password !== undefined) url.password = password
  return url.href
}

function serverUrl(): string {
  const url = process.env[SERVER_VARIABLE]
  if (!url)
    throw new Error('The test server is not running: these tests need the global setup of jest.config.js')
  return url
}

async function asSuperuser(sql: string): Promise<void> {
  const client = new Client({ connectionString: serverUrl() })
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}
