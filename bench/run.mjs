// `npm run bench`: starts the built service with its own PostgreSQL (fsync on) in a temporary folder, asks it as
// one agent, and prints what was measured beside the bars of the design. Beside it the same service without the lane,
// and bare node:http with a fixed answer; rounds are interleaved. Everything runs on this machine, load generator
// included: trust CPU per decision and ratios of one run first, rates last. BENCH_ONLY=lane measures only that one.
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
const ONLY = process.env.BENCH_ONLY?.split(',')
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

/** @returns a started process that answers at `base`; `stop` ends it and removes what it wrote */
async function start(name, script, env, ready) {
  const port = 20_000 + ((process.pid + 7_919 * started++) % 20_000)
  const child = spawn(process.execPath, [path.join(root, script)], {
    cwd: root,
    env: { ...process.env, PORT: String(port), ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const stopped = new Promise((resolve) => child.once('exit', resolve))
  const base = `http://127.0.0.1:${port}`
  const stop = async () => {
    child.kill('SIGTERM')
    await stopped
  }
  for (let i = 0; ; i++) {
    if (child.exitCode !== null) throw new Error(`${name} ended; build it first: npm run build`)
    if (i > 300) throw new Error(`${name} did not become ready within 60 s`)
    const response = await fetch(base + ready).catch(() => null)
    if (response) await response.arrayBuffer()
    if (response && (response.status === 200 || name === 'floor')) break
    await sleep(200)
  }
  return { name, pid: child.pid, base, stop }
}
let started = 0

async function startService(name, env) {
  const data = mkdtempSync(path.join(os.tmpdir(), 'agentguard-bench-'))
  const service = await start(
    name,
    'dist/src/main.js',
    {
      NODE_ENV: 'development',
      DATABASE_URL: '',
      DATA_DIR: data,
      ADMIN_API_KEY: ADMIN_KEY,
      RATE_LIMIT_ENABLED: 'false',
      LOG_LEVEL: 'warn',
      ...env,
    },
    '/health/ready',
  )
  const agent = await api(service.base, 'POST', '/agents', {
    name: 'bench',
    owner_team: 'bench',
    environment: 'dev',
  })
  await api(service.base, 'PUT', `/agents/${agent.agent_id}/policy`, policy())
  const [postgres] = execFileSync('pgrep', ['-P', String(service.pid), '-f', 'postgres'])
    .toString()
    .split('\n')
  return {
    ...service,
    key: agent.api_key,
    postgres: Number(postgres),
    stop: async () => {
      await service.stop()
      rmSync(data, { recursive: true, force: true })
    },
  }
}

const STARTERS = {
  lane: () => startService('lane', { ENFORCE_LANE: 'on' }),
  express: () => startService('express', { ENFORCE_LANE: 'off' }),
  floor: () => start('floor', 'bench/floor.mjs', {}, '/'),
}
const TITLES = {
  lane: 'durable, lane on',
  express: 'durable, lane off',
  floor: 'bare node:http, no database',
}

async function measure(subject, connections) {
  const cpu = () => [
    cpuSeconds(subject.pid, false),
    subject.postgres === undefined ? 0 : cpuSeconds(subject.postgres, true),
  ]
  const before = cpu()
  const result = await load(subject.base, subject.key ?? 'none', connections, SECONDS)
  const after = cpu()
  if (result.non2xx > 0 || result.errors > 0) {
    throw new Error(`${subject.name}: ${result.non2xx} answers were not 2xx, ${result.errors} errors`)
  }
  const count = result.requests.total
  return {
    rps: count / result.duration,
    p50_ms: result.latency.p50,
    p99_ms: result.latency.p99,
    server_us: ((after[0] - before[0]) / count) * 1e6,
    postgres_us: ((after[1] - before[1]) / count) * 1e6,
  }
}

const subjects = []
try {
  console.log('starting the services and their PostgreSQL …')
  for (const [name, starter] of Object.entries(STARTERS)) {
    if (!ONLY || ONLY.includes(name)) subjects.push(await starter())
  }
  console.log(`warming up for ${SECONDS} s each …`)
  for (const subject of subjects) await load(subject.base, subject.key ?? 'none', 32, SECONDS)

  const measured = new Map()
  for (let round = 1; round <= ROUNDS; round++) {
    for (const connections of CONNECTIONS) {
      for (const subject of subjects) {
        process.stdout.write(`round ${round}/${ROUNDS}, ${connections} connections, ${subject.name} … `)
        const one = await measure(subject, connections)
        const key = `${subject.name} ${connections}`
        measured.set(key, [...(measured.get(key) ?? []), one])
        console.log(`${Math.round(one.rps)} requests/s`)
      }
    }
  }

  const cpu = os.cpus()[0]?.model ?? 'unknown processor'
  console.log(
    `\nPOST /enforce, every answer after a durable commit; 51 rules; medians of ${ROUNDS} interleaved rounds of ${SECONDS} s`,
  )
  console.log(
    `${os.cpus().length} × ${cpu}, Node ${process.version}; client, server and PostgreSQL share them\n`,
  )
  const middle = (name, connections, what) =>
    median((measured.get(`${name} ${connections}`) ?? [{}]).map((round) => round[what]))
  console.table(
    CONNECTIONS.flatMap((connections) =>
      subjects.map(({ name }) => {
        const value = (what) => Math.round(middle(name, connections, what))
        const floor = middle('floor', connections, 'server_us')
        return {
          connections,
          what: TITLES[name],
          'requests/s': value('rps'),
          'p50 ms': value('p50_ms'),
          'p99 ms': value('p99_ms'),
          'server µs': value('server_us'),
          'PostgreSQL µs': value('postgres_us'),
          '× floor': Number((middle(name, connections, 'server_us') / floor).toFixed(2)),
        }
      }),
    ),
  )
  console.log('bars for the lane (design 9):', JSON.stringify(BARS))
  for (const connections of CONNECTIONS) {
    const ratio = middle('express', connections, 'server_us') / middle('lane', connections, 'server_us')
    if (!Number.isNaN(ratio)) {
      console.log(`lane on serves ${ratio.toFixed(1)} × per server CPU-second of lane off at ${connections}`)
    }
  }
} finally {
  for (const subject of subjects) await subject.stop()
}
