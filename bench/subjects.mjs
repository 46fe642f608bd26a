// What is measured: this product with and without its lane, the floor (bare node:http), and Cerbos with and without
// its file audit. Each starts itself in a temporary folder and ends with `stop`.
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startArguments } from '../scripts/support/project.mjs'
import { cerbosConfig, cerbosPolicies, policy } from './rules.mjs'

const root = path.resolve(import.meta.dirname, '..')
export const ADMIN_KEY = 'bench-root-key-0123456789abcdef0123456789'

export async function api(base, method, route, body, headers = { 'x-admin-key': ADMIN_KEY }) {
  const response = await fetch(base + route, {
    method,
    headers: { ...headers, 'content-type': 'application/json' },
    body: body && JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${method} ${route}: ${response.status} ${await response.text()}`)
  return response.json()
}

const freePort = () =>
  new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })

/** What runs: nothing of it outlives the benchmark, however that ends. */
const running = new Set()
process.once('exit', () => running.forEach((child) => child.kill('SIGTERM')))
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

async function run(name, command, args, env, base, ready, errors = 'inherit') {
  const child = spawn(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', errors],
  })
  running.add(child)
  const ended = new Promise((resolve) => child.once('exit', resolve))
  void ended.then(() => running.delete(child))
  const deadline = Date.now() + 60_000
  for (;;) {
    if (child.exitCode !== null) throw new Error(`${name} ended by itself; was it built? npm run build`)
    const response = await fetch(base + ready).catch(() => null)
    if (response) await response.arrayBuffer()
    if (response?.ok) break
    if (Date.now() > deadline) throw new Error(`${name} did not become ready within 60 s`)
    await sleep(100)
  }
  return {
    pid: child.pid,
    stop: async () => {
      child.kill('SIGTERM')
      await ended
    },
  }
}

const folder = () => mkdtempSync(path.join(os.tmpdir(), 'agentguard-bench-'))

/** The built service with its own PostgreSQL, `fsync` on, and one agent that has the 51 rules. */
export async function startService(name, env = {}) {
  const data = folder()
  const port = await freePort()
  const base = `http://127.0.0.1:${port}`
  const launch = () =>
    run(
      name,
      process.execPath,
      startArguments(),
      {
        NODE_ENV: 'development',
        PORT: String(port),
        DATABASE_URL: '',
        DATA_DIR: data,
        ADMIN_API_KEY: ADMIN_KEY,
        RATE_LIMIT_ENABLED: 'false',
        LOG_LEVEL: 'warn',
        ...env,
      },
      base,
      '/health/ready',
    )
  let process_ = await launch()
  const service = {
    name,
    base,
    data,
    pid: process_.pid,
    postgres: postgresOf(process_.pid),
    request: enforce(await makeAgent(base, policy())),
    /** Ends it and starts it again, on the same data. */
    restart: async () => {
      await process_.stop()
      process_ = await launch()
      Object.assign(service, { pid: process_.pid, postgres: postgresOf(process_.pid) })
    },
    stop: async () => {
      await process_.stop()
      await removeDatabase(data)
      rmSync(data, { recursive: true, force: true })
    },
  }
  return service
}

const postgresOf = (pid) =>
  Number(
    execFileSync('pgrep', ['-P', String(pid), '-f', 'postgres'])
      .toString()
      .split('\n')[0],
  )

/** For root the database lies elsewhere, where it would stay: 16 GB after a large log. */
async function removeDatabase(data) {
  const { stopEmbeddedPostgres, removeEmbeddedPostgres } =
    await import('../dist/src/platform/embedded-postgres/embedded-postgres.js')
  const folder = path.join(data, 'postgres')
  await stopEmbeddedPostgres(folder)
  removeEmbeddedPostgres(folder)
}

/** Makes an agent with these rules; answers its key. */
export async function makeAgent(base, rules, name = 'bench') {
  const agent = await api(base, 'POST', '/agents', { name, owner_team: 'bench', environment: 'dev' })
  await api(base, 'PUT', `/agents/${agent.agent_id}/policy`, rules)
  return agent.api_key
}

/** The request that every subject answers: may this agent read docs/report.pdf? */
export const enforce = (key) => ({
  path: '/enforce',
  headers: { 'content-type': 'application/json', 'x-agent-key': key },
  body: JSON.stringify({ action: 'read:file', resource: 'docs/report.pdf' }),
})

export async function startFloor() {
  const port = await freePort()
  const base = `http://127.0.0.1:${port}`
  const process_ = await run(
    'floor',
    process.execPath,
    [path.join(import.meta.dirname, 'floor.mjs')],
    { PORT: String(port) },
    base,
    '/',
  )
  return { name: 'floor', base, ...process_, request: enforce('none') }
}

/** Cerbos with the same rules; with `audit` it writes every decision to a file, which it does not fsync. */
export async function startCerbos(name, { audit }) {
  const data = folder()
  const [http, grpc] = [await freePort(), await freePort()]
  const base = `http://127.0.0.1:${http}`
  mkdirSync(path.join(data, 'policies'))
  for (const [file, text] of cerbosPolicies()) writeFileSync(path.join(data, 'policies', file), text)
  writeFileSync(path.join(data, 'config.json'), JSON.stringify(cerbosConfig({ data, http, grpc, audit })))
  const process_ = await run(
    name,
    cerbosBinary(),
    ['server', `--config=${path.join(data, 'config.json')}`, '--log-level=error'],
    {},
    base,
    '/_cerbos/health',
    // It complains of each request that the load generator breaks off at the end of a round.
    'ignore',
  )
  const subject = {
    name,
    base,
    pid: process_.pid,
    request: {
      path: '/api/check/resources',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        requestId: 'bench',
        principal: { id: 'bench', roles: ['agent'] },
        resources: [{ resource: { kind: 'file', id: 'docs/report.pdf' }, actions: ['read'] }],
      }),
    },
    stop: async () => {
      await process_.stop()
      const written = audit && statSync(path.join(data, 'audit.log')).size
      rmSync(data, { recursive: true, force: true })
      if (written === 0) throw new Error('Cerbos wrote no audit log: the comparison would be of nothing')
    },
  }
  const { results } = await (
    await fetch(base + subject.request.path, { method: 'POST', ...subject.request })
  ).json()
  if (results?.[0]?.actions?.read !== 'EFFECT_ALLOW')
    throw new Error('Cerbos does not allow what it is asked: the comparison would be of nothing')
  return subject
}

/** The server itself: the package's launcher would be one more process, and leaves the server behind when it is ended. */
function cerbosBinary() {
  const { platform, arch } = process
  const launcher = createRequire(createRequire(import.meta.url).resolve('cerbos'))
  return launcher.resolve(`@cerbos/cerbos-${platform}-${arch}`)
}
