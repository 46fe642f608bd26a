// make up: from a fresh clone to a service that answers, in the background. Does only what is not done yet.
import { spawn } from 'node:child_process'
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Stop, ensureBuilt, main, nodeProgram, root, startArguments, step } from './support/project.mjs'
import { ask, runningService, settings } from './support/service.mjs'

const READY_TIMEOUT_MS = 180_000
const LOG_LIMIT_BYTES = 50 * 1024 * 1024

await main(async () => {
  if (await isUp()) return
  await ensureBuilt()
  const service = start()
  await step('Starting', () => ready(service))
  report('AgentGuard is running.')
})

/** Whether there is nothing to do; refuses to go on when the port belongs to somebody else. */
async function isUp() {
  const { url, port } = settings()
  const running = runningService()
  if (running && running.port !== port) {
    throw new Stop(`AgentGuard is running on port ${running.port} with the same data. "make down" stops it.`)
  }
  if (running) {
    await step('Waiting for the running service', () => ready(running))
    report('AgentGuard is already running ("make restart" loads changed code).')
    return true
  }
  if (!(await portIsTaken())) return false
  const answer = await ask(`${url}/health/ready`)
  if (answer?.body.includes('"ledger"')) {
    report('AgentGuard is already running; something other than "make up" started it.')
    return true
  }
  throw new Stop(
    `Port ${port} is used by another program. Stop that one, or choose a port: make up PORT=8001`,
  )
}

function portIsTaken() {
  const { hostname, port } = new URL(settings().url)
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname.replace(/^\[|\]$/g, ''))
    socket.once('connect', () => resolve(true) ?? socket.destroy())
    socket.once('error', () => resolve(false))
  })
}

function start() {
  const { dataDir, port, log, record } = settings()
  // Others may pass through, because the database runs as another user when this one is root; secrets in it are 600.
  mkdirSync(dataDir, { recursive: true, mode: 0o711 })
  if ((statSync(log, { throwIfNoEntry: false })?.size ?? 0) > LOG_LIMIT_BYTES) renameSync(log, `${log}.1`)
  const output = openSync(log, 'a', 0o600)
  const logStart = fstatSync(output).size
  const child = spawn(nodeProgram(), startArguments(), {
    cwd: root,
    env: { ...process.env, PORT: String(port), DATA_DIR: dataDir },
    stdio: ['ignore', output, output],
    detached: true, // so that neither Ctrl-C nor the end of this terminal reaches it
  })
  closeSync(output)
  child.unref()
  const service = { pid: child.pid, port, started_at: new Date().toISOString() }
  writeFileSync(record, `${JSON.stringify(service)}\n`)
  return { ...service, logStart, ended: new Promise((resolve) => child.once('exit', resolve)) }
}

/** Resolves when the service accepts work. When it ends or does not get there: its last words, and no process left. */
async function ready({ pid, logStart = 0, ended }) {
  const { url, log, record } = settings()
  let alive = true
  void ended?.then(() => (alive = false))
  const deadline = Date.now() + READY_TIMEOUT_MS
  let answer
  while (alive && Date.now() < deadline) {
    answer = await ask(`${url}/health/ready`)
    if (answer?.status === 200) return
    await sleep(200)
  }
  if (alive && ended) process.kill(pid, 'SIGTERM')
  if (ended) rmSync(record, { force: true })
  const lastLines = readFileSync(log).subarray(logStart).toString('utf8').trimEnd().split('\n').slice(-20)
  const reason = alive
    ? `did not become ready in ${READY_TIMEOUT_MS / 1000} s${answer ? `; it says: ${answer.body}` : ''}`
    : 'ended while it was starting'
  throw new Stop(`The end of ${path.relative(root, log)}:\n${lastLines.join('\n')}\n\nAgentGuard ${reason}.`)
}

function report(headline) {
  const { url, rootKey } = settings()
  const key = process.env.ADMIN_API_KEY
    ? 'in the environment variable ADMIN_API_KEY'
    : `in ${path.relative(root, rootKey)} (only you can read that file)`
  console.log(`
${headline}

  API        ${url}
  Dashboard  ${url}/dashboard/
  Docs       ${url}/docs
  Root key   ${key}
  Logs       make logs (the first start writes a link there that makes the first owner)

Next: make demo
`)
}
