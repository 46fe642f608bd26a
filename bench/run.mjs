// `npm run bench`: starts the built service with its own PostgreSQL (fsync on) in a temporary folder, asks it as
// one agent, and prints what was measured beside the bars of the design. Everything runs on this machine, load
// generator included: trust CPU per decision first, rates last.
import autocannon from 'autocannon'
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const root = path.resolve(import.meta.dirname, '..')
const SECONDS = Number(process.env.BENCH_SECONDS ?? 10)
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3)
const CONNECTIONS = [32, 64]
const BARS = {
  32: { rps: 5_000, p99_ms: 40, server_us: 85, postgres_us: 50 },
  64: { rps: 7_000, server_us: 85, postgres_us: 50 },
}
const ADMIN_KEY = 'bench-root-key-0123456789abcdef0123456789'

/** CPU seconds used so far by a process and, for PostgreSQL, its backends. Linux only; elsewhere NaN. */
function cpuSeconds(pid, withChildren) {
  try {
    const hertz = 100
    const read = (id) => {
      const fields = readFileSync(`/proc/${id}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ')
      // utime, stime and, for what has ended, cutime, cstime
      return (Number(fields[11]) + Number(fields[12]) + Number(fields[13]) + Number(fields[14])) / hertz
    }
    const children = withChildren
      ? readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
      : []
    return [pid, ...children].reduce((sum, id) => sum + read(id), 0)
  } catch {
    return NaN
  }
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1]

async function api(base, method, route, body, headers = { 'x-admin-key': ADMIN_KEY }) {
  const response = await fetch(base + route, {
    method,
    headers: { ...headers, 'content-type': 'application/json' },
    body: body && JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${method} ${route}: ${response.status} ${await response.text()}`)
  return response.json()
}

/** 51 mixed rules, as the prototype's measurements used. */
function policy() {
  const nouns = ['file', 'table', 'email', 'ticket', 'invoice', 'report', 'secret', 'branch', 'pod', 'queue']
  const allow = nouns.flatMap((noun) => [
    { action: `read:${noun}`, resource: `s3://${noun}/*` },
    { action: `list:${noun}` },
    { action: `update:${noun}`, resource: `*/${noun}/public/*` },
  ])
  const deny = nouns.map((noun) => ({ action: `delete:${noun}`, resource: 's3://prod/*' }))
  const require_approval = nouns.map((noun) => ({ action: `send:${noun}` }))
  return { allow: [...allow, { action: 'read:file', resource: 'docs/*' }], deny, require_approval }
}

function load(base, key, connections, duration) {
  return autocannon({
    url: `${base}/enforce`,
    method: 'POST',
    connections,
    duration,
    headers: { 'content-type': 'application/json', 'x-agent-key': key },
    body: JSON.stringify({ action: 'read:file', resource: 'docs/report.pdf' }),
  })
}

const data = mkdtempSync(path.join(os.tmpdir(), 'agentguard-bench-'))
const port = 20_000 + (process.pid % 20_000)
const base = `http://127.0.0.1:${port}`
const server = spawn(process.execPath, [path.join(root, 'dist/src/main.js')], {
  cwd: root,
  env: {
    ...process.env,
    NODE_ENV: 'development',
    DATABASE_URL: '',
    DATA_DIR: data,
    PORT: String(port),
    ADMIN_API_KEY: ADMIN_KEY,
    RATE_LIMIT_ENABLED: 'false',
    LOG_LEVEL: 'warn',
  },
  stdio: ['ignore', 'ignore', 'inherit'],
})
const stopped = new Promise((resolve) => server.once('exit', resolve))

try {
  console.log('starting the service and its PostgreSQL …')
  for (let i = 0; ; i++) {
    if (server.exitCode !== null) throw new Error('the service ended; build it first: npm run build')
    if (i > 300) throw new Error('the service did not become ready within 60 s')
    const ready = await fetch(`${base}/health/ready`).catch(() => null)
    if (ready?.status === 200) break
    await sleep(200)
  }
  const agent = await api(base, 'POST', '/agents', { name: 'bench', owner_team: 'bench', environment: 'dev' })
  await api(base, 'PUT', `/agents/${agent.agent_id}/policy`, policy())
  const postgres = Number(
    execFileSync('pgrep', ['-P', String(server.pid), '-f', 'postgres'])
      .toString()
      .trim()
      .split('\n')[0],
  )
  console.log(`warming up for ${SECONDS} s …`)
  await load(base, agent.api_key, 32, SECONDS)

  const measured = new Map(CONNECTIONS.map((connections) => [connections, []]))
  for (let round = 1; round <= ROUNDS; round++) {
    for (const connections of CONNECTIONS) {
      process.stdout.write(`round ${round}/${ROUNDS}, ${connections} connections, ${SECONDS} s … `)
      const before = [cpuSeconds(server.pid, false), cpuSeconds(postgres, true)]
      const result = await load(base, agent.api_key, connections, SECONDS)
      const after = [cpuSeconds(server.pid, false), cpuSeconds(postgres, true)]
      if (result.non2xx > 0 || result.errors > 0) {
        throw new Error(`${result.non2xx} answers were not 2xx, ${result.errors} errors`)
      }
      const count = result.requests.total
      measured.get(connections).push({
        rps: count / result.duration,
        p50_ms: result.latency.p50,
        p99_ms: result.latency.p99,
        server_us: ((after[0] - before[0]) / count) * 1e6,
        postgres_us: ((after[1] - before[1]) / count) * 1e6,
      })
      console.log(`${Math.round(count / result.duration)} requests/s`)
    }
  }

  const cpu = os.cpus()[0]?.model ?? 'unknown processor'
  console.log(
    `\nPOST /enforce, every answer after a durable commit; 51 rules; median of ${ROUNDS} interleaved rounds`,
  )
  console.log(
    `${os.cpus().length} × ${cpu}, Node ${process.version}; client, server and PostgreSQL share them\n`,
  )
  const rows = CONNECTIONS.flatMap((connections) => {
    const middle = (name) => median(measured.get(connections).map((round) => round[name]))
    const bar = BARS[connections]
    const row = (what, value, limit, unit) => ({
      connections,
      what,
      measured: `${value} ${unit}`,
      bar: limit,
    })
    return [
      row('requests per second', Math.round(middle('rps')), `≥ ${bar.rps}`, '/s'),
      row('latency p50', middle('p50_ms'), '', 'ms'),
      row('latency p99', middle('p99_ms'), bar.p99_ms ? `≤ ${bar.p99_ms}` : '', 'ms'),
      row('server CPU per decision', Math.round(middle('server_us')), `≤ ${bar.server_us}`, 'µs'),
      row('PostgreSQL CPU per decision', Math.round(middle('postgres_us')), `≤ ${bar.postgres_us}`, 'µs'),
    ]
  })
  console.table(rows)
} finally {
  server.kill('SIGTERM')
  await stopped
  rmSync(data, { recursive: true, force: true })
}
