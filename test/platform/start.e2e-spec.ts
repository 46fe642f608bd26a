import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { createTestDatabase } from '../support/postgres'

const PROGRAM = path.resolve('dist/src/main.js')
const STRONG_KEY = 'Zk3vQ9xLr7TnB2mWc8HsJd4FgYpA6eUo'
const KEK = Buffer.from(Array.from({ length: 32 }, (_, index) => index * 5)).toString('base64')

let folder: string
const running = new Set<ChildProcess>()

beforeAll(() => {
  if (!fs.existsSync(PROGRAM))
    throw new Error('these tests start the built program: run "npm run build" first')
})
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'agentguard-start-'))
})
afterEach(async () => {
  for (const child of running) child.kill('SIGTERM')
  await Promise.all([...running].map((child) => once(child, 'close')))
  fs.rmSync(folder, { recursive: true, force: true })
})

/** The program in a folder of its own, with nothing of this environment but PATH. */
function start(environment: Record<string, string>) {
  const child = spawn(process.execPath, [PROGRAM], {
    cwd: folder,
    env: { PATH: process.env.PATH, DATA_DIR: path.join(folder, 'data'), ...environment },
  })
  running.add(child)
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  // Not `exit`: what it said last may be read after that.
  const exit = once(child, 'close').then(([code]: (number | null)[]) => {
    running.delete(child)
    return code
  })
  return { child, exit, output: () => output }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

it.each([
  ['no root key', { LEDGER_KEK: KEK }, 'ADMIN_API_KEY is required'],
  [
    'the documented root key',
    { LEDGER_KEK: KEK, ADMIN_API_KEY: 'admin-secret-key-change-in-production' },
    'everybody knows',
  ],
  ['a short root key', { LEDGER_KEK: KEK, ADMIN_API_KEY: STRONG_KEY.slice(1) }, 'at least 32'],
  ['no ledger key', { ADMIN_API_KEY: STRONG_KEY }, 'LEDGER_KEK is required'],
])('refuses to start in production with %s', async (_, secrets, reason) => {
  const { exit, output } = start({ NODE_ENV: 'production', ...secrets })
  expect(await exit).toBe(1)
  expect(output()).toMatch(/^fatal: The configuration cannot be used:\n {2}- /)
  expect(output()).toContain(reason)
  expect(output()).not.toContain(STRONG_KEY.slice(1))
  expect(fs.existsSync(path.join(folder, 'data'))).toBe(false)
})

it('says in one line that the database cannot be reached', async () => {
  const port = await freePort()
  const url = `postgresql://someone:hunter2@127.0.0.1:${port}/agentguard`
  // A control as well: production takes these secrets and goes on to the database.
  const { exit, output } = start({
    NODE_ENV: 'production',
    ADMIN_API_KEY: STRONG_KEY,
    LEDGER_KEK: KEK,
    DATABASE_URL: url,
  })
  expect(await exit).toBe(1)
  expect(output()).toMatch(/^fatal: .*ECONNREFUSED.*\n$/)
  expect(output()).not.toContain('hunter2')
})

it('refuses a database login that stands above row-level security', async () => {
  const database = await createTestDatabase()
  try {
    const { exit, output } = start({ DATABASE_URL: database.owner_url, LOG_LEVEL: 'error' })
    expect(await exit).toBe(1)
    expect(output()).toMatch(/^fatal: the database is not safe to serve from:/)
    expect(output()).toContain('superuser')
    expect(output()).not.toContain(new URL(database.owner_url).password)
  } finally {
    await database.drop()
  }
})

it('starts from nothing, keeps key and data over a restart, and ends cleanly with its database', async () => {
  const keys: string[] = []
  for (let round = 0; round < 2; round++) {
    const port = await freePort()
    const { child, exit, output } = start({ PORT: String(port) })
    while (!output().includes('AgentGuard is ready at')) {
      if (child.exitCode !== null) throw new Error(output())
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const key = fs.readFileSync(path.join(folder, 'data/admin-key'), 'utf8').trim()
    keys.push(key)
    const headers = { 'x-admin-key': key, 'content-type': 'application/json' }
    if (round === 0) {
      const body = JSON.stringify({ name: 'survivor', owner_team: 'ops', environment: 'dev' })
      await fetch(`http://127.0.0.1:${port}/agents`, { method: 'POST', headers, body })
    }
    const agents = await (await fetch(`http://127.0.0.1:${port}/agents`, { headers })).json()
    expect(agents).toMatchObject([{ name: 'survivor' }])
    child.kill('SIGTERM')
    expect(await exit).toBe(0)
    expect(output()).toContain(path.join(folder, 'data/admin-key'))
    expect(output()).not.toContain(key)
    expect(fs.readdirSync(path.join(folder, 'data/postgres'), { recursive: true })).not.toContain(
      'postmaster.pid',
    )
  }
  expect(keys[1]).toBe(keys[0])
})
