import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import path from 'node:path'
import { Client } from 'pg'
import {
  DATABASE,
  type EmbeddedPostgres,
  removeEmbeddedPostgres,
  startEmbeddedPostgres,
  stopEmbeddedPostgres,
} from './embedded-postgres'
import { processStamp, readPostmasterFile } from './processes'

const asRoot = process.getuid?.() === 0 ? it : it.skip

let prepared: string
let parent: string
let dataDir: string
let lines: string[]
let servers: EmbeddedPostgres[]
let helpers: ChildProcess[]

beforeAll(async () => {
  prepared = mkdtempSync(path.join(tmpdir(), 'agentguard-prepared-'))
  chmodSync(prepared, 0o711)
  await (await startEmbeddedPostgres({ data_dir: path.join(prepared, 'postgres'), relaxed: true })).stop()
})

afterAll(() => rmSync(prepared, { recursive: true, force: true }))

beforeEach(() => {
  parent = mkdtempSync(path.join(tmpdir(), 'agentguard-embedded-'))
  chmodSync(parent, 0o711)
  dataDir = path.join(parent, 'postgres')
  lines = []
  servers = []
  helpers = []
})

afterEach(async () => {
  for (const server of servers) await server.stop()
  for (const helper of helpers) helper.kill('SIGKILL')
  await stopEmbeddedPostgres(dataDir)
  removeEmbeddedPostgres(dataDir)
  rmSync(parent, { recursive: true, force: true })
})

/** A database that was made earlier: initdb is the slow part, and most of these tests are not about it. */
function existingDatabase(): void {
  execFileSync('cp', ['-a', path.join(prepared, 'postgres'), dataDir])
}

async function start(options: { data_dir?: string; port?: number; relaxed?: boolean; share?: boolean } = {}) {
  const server = await startEmbeddedPostgres({
    data_dir: dataDir,
    relaxed: true,
    log: (line) => lines.push(line),
    ...options,
  })
  servers.push(server)
  return server
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows
  } finally {
    await client.end().catch(() => {})
  }
}

const postmaster = (server: EmbeddedPostgres): number => readPostmasterFile(server.data_dir)?.pid ?? 0

/** A living process that is not this one. */
function otherProcess(): number {
  const child = spawn('sleep', ['300'], { stdio: 'ignore' })
  helpers.push(child)
  return child.pid ?? 0
}

/** Writes down another process as the one that the database belongs to. */
function giveTo(pid: number, stamp = processStamp(pid)): void {
  writeFileSync(path.join(dataDir, 'owner'), `${stamp} ${realpathSync(dataDir)}`)
}

async function gone(pid: number): Promise<void> {
  const stamp = processStamp(pid)
  while (stamp !== undefined && processStamp(pid) === stamp) await new Promise((r) => setTimeout(r, 10))
}

describe('starting', () => {
  it('makes a UTF-8 database named agentguard, keeps its rows over a restart and leaves no process behind', async () => {
    const first = await start()
    expect(first.adopted).toBe(false)
    await query(first.admin_url, `CREATE TABLE kept AS SELECT 'grün' AS word`)
    const pid = postmaster(first)
    await first.stop()
    expect(processStamp(pid)).toBeUndefined()

    const second = await start()
    expect(second.adopted).toBe(false)
    expect(await query(second.admin_url, 'SELECT word, current_database() AS name FROM kept')).toEqual([
      { word: 'grün', name: DATABASE },
    ])
    expect(await query(second.admin_url, 'SHOW server_encoding')).toEqual([{ server_encoding: 'UTF8' }])
  })

  it('is durable unless told otherwise', async () => {
    existingDatabase()
    const settings = `SELECT name, setting FROM pg_settings
      WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name`
    const durable = await start({ relaxed: false })
    expect((await query(durable.admin_url, settings)).map((row) => row.setting)).toEqual(['on', 'on', 'on'])
    await durable.stop()

    const relaxed = await start({ relaxed: true }) // the control: the question can be answered with no
    expect((await query(relaxed.admin_url, settings)).map((row) => row.setting)).toEqual([
      'off',
      'off',
      'off',
    ])
  })

  it('refuses to be relaxed outside of tests', async () => {
    const before = process.env.NODE_ENV
    process.env.NODE_ENV = 'production'
    try {
      await expect(start({ relaxed: true })).rejects.toThrow('NODE_ENV=test')
    } finally {
      process.env.NODE_ENV = before
    }
  })

  it('listens on the loopback address only', async () => {
    existingDatabase()
    const { port, admin_url } = await start()
    expect(await query(admin_url, 'SHOW unix_socket_directories')).toEqual([{ unix_socket_directories: '' }])
    const external = Object.values(networkInterfaces())
      .flat()
      .find((address) => address?.family === 'IPv4' && !address.internal)
    if (!external) return
    const fromOutside = admin_url.replace('127.0.0.1', external.address)
    await expect(query(fromOutside, 'SELECT 1')).rejects.toThrow(`ECONNREFUSED ${external.address}:${port}`)
  })

  it('keeps the password in a file of mode 600 and nowhere else that others can look', async () => {
    const server = await start()
    const password = decodeURIComponent(new URL(server.admin_url).password)
    const file = path.join(dataDir, 'superuser-password')
    expect(password.length).toBeGreaterThanOrEqual(43)
    expect(readFileSync(file, 'utf8')).toBe(password)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const command = execFileSync('ps', ['-o', 'args=', '-p', String(postmaster(server))], {
      encoding: 'utf8',
    })
    expect(command).toContain('postgres -D')
    expect(command).not.toContain(password)
    expect(readFileSync(path.join(dataDir, 'server.log'), 'utf8')).not.toContain(password)
    expect(lines.join()).not.toContain(password)
    await expect(query(server.admin_url.replace(password, 'wrong'), 'SELECT 1')).rejects.toThrow('password')
  })

  it('names the port and the ways out when the port is taken', async () => {
    existingDatabase()
    const squatter = createServer()
    await new Promise<void>((resolve) => squatter.listen(0, '127.0.0.1', resolve))
    const { port } = squatter.address() as AddressInfo
    try {
      await expect(start({ port })).rejects.toThrow(`Port ${port} is already in use by another program`)
    } finally {
      squatter.close()
    }
    expect((await start({ port })).port).toBe(port) // the control: it was the port
  })

  it('says that the password file is missing instead of making a new one', async () => {
    existingDatabase()
    rmSync(path.join(dataDir, 'superuser-password'))
    await expect(start()).rejects.toThrow('password file')
  })

  it('starts one server for two that start at once', async () => {
    const [one, two] = await Promise.all([start(), start()])
    expect(one.port).toBe(two.port)
    expect([one.adopted, two.adopted].sort()).toEqual([false, true])
  })

  asRoot('keeps the data where the user postgres can reach them when the checkout is private', async () => {
    chmodSync(parent, 0o700)
    const server = await start()
    expect(server.data_dir).toMatch(/^\/var\/lib\/agentguard\/[0-9a-f]{16}\/cluster$/)
    expect(lines).toContainEqual(expect.stringContaining(`the data are kept in ${server.data_dir}`))
    await query(server.admin_url, 'CREATE TABLE kept AS SELECT 7 AS number')
    await server.stop()

    chmodSync(parent, 0o711) // made public again: the data are still found
    const again = await start()
    expect(await query(again.admin_url, 'SELECT number FROM kept')).toEqual([{ number: 7 }])
    await again.stop()

    removeEmbeddedPostgres(dataDir)
    expect(existsSync(path.dirname(server.data_dir))).toBe(false)
  })
})

describe('after a process was killed', () => {
  it('joins the server that is still running and ends it when it ends itself', async () => {
    existingDatabase()
    const left = await start()
    const pid = postmaster(left)
    giveTo(999999999, '999999999 1') // its owner is no more
    const adopted = await start()
    expect(adopted).toMatchObject({ adopted: true, port: left.port })
    expect(postmaster(adopted)).toBe(pid)
    await adopted.stop()
    expect(processStamp(pid)).toBeUndefined()
  })

  it('refuses a folder that another living process is using, and names that process', async () => {
    existingDatabase()
    const other = otherProcess()
    giveTo(other)
    await expect(start()).rejects.toThrow(`is in use by process ${other}`)
    giveTo(other, `${other} 1`) // the control: that pid, but an earlier process
    expect((await start()).adopted).toBe(false)
  })

  it('as a guest, leaves the server of a living process running', async () => {
    existingDatabase()
    const server = await start()
    giveTo(otherProcess())
    const guest = await start({ share: true })
    expect(guest.adopted).toBe(true)
    await guest.stop()
    expect(await query(server.admin_url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it('starts a server that was killed again on its port, with every committed row', async () => {
    existingDatabase()
    const server = await start({ relaxed: false })
    await query(server.admin_url, 'CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number')
    const pid = postmaster(server)
    process.kill(pid, 'SIGKILL')
    await gone(pid)
    expect(existsSync(path.join(server.data_dir, 'postmaster.pid'))).toBe(true)
    const count = () => query(server.admin_url, 'SELECT count(*)::int AS count FROM kept').catch(() => null)
    let rows: unknown = null
    for (let i = 0; i < 600 && rows === null; i++) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      rows = await count()
    }
    expect(rows).toEqual([{ count: 1000 }])
    const second = postmaster(server)
    expect(second).not.toBe(pid)
    await server.stop()
    await gone(second)
  })

  it('is not misled by a pid file whose pid now belongs to another program', async () => {
    existingDatabase()
    const server = await start()
    const file = path.join(server.data_dir, 'postmaster.pid')
    const content = readFileSync(file, 'utf8')
    await server.stop()
    writeFileSync(file, content.replace(/^\d+/, String(otherProcess())))
    expect((await start()).adopted).toBe(false)
    expect(lines).toContainEqual(expect.stringContaining('is stale and was removed'))
  })

  it('does not join the server of the folder that this one is a copy of', async () => {
    existingDatabase()
    const original = await start()
    await query(original.admin_url, 'CHECKPOINT')
    giveTo(otherProcess()) // nor is the owner of that one the owner of this one
    const copy = path.join(parent, 'copy')
    execFileSync('cp', ['-a', dataDir, copy])
    const server = await start({ data_dir: copy })
    expect(server.adopted).toBe(false)
    expect(server.port).not.toBe(original.port)
  })
})

it('reports that nothing was running when there is nothing to stop', async () => {
  existingDatabase()
  expect(await stopEmbeddedPostgres(dataDir)).toBe(false)
  const pid = postmaster(await start())
  expect(processStamp(pid)).toBeDefined()
  expect(() => removeEmbeddedPostgres(dataDir)).toThrow('is running')
  expect(await stopEmbeddedPostgres(dataDir)).toBe(true)
  // This one: who started it is still there, and may start another in its place.
  expect(processStamp(pid)).toBeUndefined()
})
