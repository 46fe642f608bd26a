// The parts of the benchmark. Each answers the tables it measured: { title, note?, columns, rows }.
import { statfsSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { closedLoop, openLoop, timed } from './load.mjs'
import { median, memoryMiB, spread } from './machine.mjs'
import { policyOf } from './rules.mjs'
import { ADMIN_KEY, enforce, makeAgent, startCerbos, startFloor, startService } from './subjects.mjs'

export const round = (value, digits = 0) => (Number.isFinite(value) ? value.toFixed(digits) : '–')
export const say = (text) => process.stdout.write(`${text}\n`)

/** What has just started is slow until its code is compiled. */
export const WARM_SECONDS = 5

const SUBJECTS = {
  lane: ['AgentGuard, durable', () => startService('lane', { ENFORCE_LANE: 'on' })],
  express: ['AgentGuard, durable, lane off', () => startService('express', { ENFORCE_LANE: 'off' })],
  floor: ['bare node:http, fixed answer', startFloor],
  cerbos: ['Cerbos, no audit', () => startCerbos('cerbos', { audit: false })],
  cerbos_audit: ['Cerbos, file audit (no fsync)', () => startCerbos('cerbos_audit', { audit: true })],
}

/** Who answers how many requests with how much CPU: interleaved rounds, medians. */
export async function throughput({ seconds, rounds, connections, only }) {
  const wanted = Object.entries(SUBJECTS).filter(([name]) => !only || only.includes(name))
  const subjects = []
  const measured = new Map()
  try {
    for (const [, [, start]] of wanted) subjects.push(await start())
    // A service runs for weeks: the seconds in which its code is compiled are not what it costs.
    for (const subject of subjects) await closedLoop(subject, 32, 2 * seconds)
    for (let n = 1; n <= rounds; n++) {
      for (const count of connections) {
        for (const subject of subjects) {
          const one = await closedLoop(subject, count, seconds)
          const key = `${subject.name} ${count}`
          measured.set(key, [...(measured.get(key) ?? []), one])
          say(`throughput ${n}/${rounds}, ${count} connections, ${subject.name}: ${round(one.rps)}/s`)
        }
      }
    }
  } finally {
    for (const subject of subjects) await subject.stop()
  }
  const of = (name, count, what) => (measured.get(`${name} ${count}`) ?? []).map(what)
  const total = (one) => one.server_us + one.postgres_us
  const rows = connections.flatMap((count) =>
    wanted.map(([name, [title]]) => {
      const get = (what) => median(of(name, count, (one) => one[what]))
      const perServer = 1e6 / get('server_us')
      const perBoth = 1e6 / median(of(name, count, total))
      return [
        count,
        title,
        round(get('rps')),
        spread(
          of(name, count, (one) => one.rps),
          0,
        ),
        round(get('p50_ms')),
        round(get('p99_ms')),
        round(get('server_us')),
        round(get('postgres_us')),
        round(perServer),
        round(perBoth),
      ]
    }),
  )
  return [
    {
      title: 'Throughput and CPU',
      note: `Closed loop; medians of ${rounds} interleaved rounds of ${seconds} s, after ${2 * seconds} s in which each is warmed up. CPU is µs of the server processes and of PostgreSQL a request.`,
      columns: ['connections', 'what', 'requests/s', 'spread', 'p50 ms', 'p99 ms', 'server µs', 'PostgreSQL µs', 'requests per server CPU-s', 'with PostgreSQL’s CPU'], // prettier-ignore
      rows,
    },
    ratios(connections, of),
  ]
}

/** Ratios of one round each, so that what slows the machine down slows both sides. */
function ratios(connections, of) {
  const pairs = [
    ['AgentGuard : Cerbos with file audit, CPU with PostgreSQL', 'cerbos_audit', 'lane', true, '≥ 4'],
    ['AgentGuard : Cerbos without audit, CPU with PostgreSQL', 'cerbos', 'lane', true, '≥ 3'],
    ['lane on : lane off, server CPU', 'express', 'lane', false, '≥ 3.5'],
    ['AgentGuard : bare node:http, server CPU', 'floor', 'lane', false, '≥ 0.45'],
  ]
  const rows = connections.flatMap((count) =>
    pairs.flatMap(([title, other, ours, both, gate]) => {
      const cost = (one) => one.server_us + (both ? one.postgres_us : 0)
      const [theirs, own] = [of(other, count, cost), of(ours, count, cost)]
      if (theirs.length === 0 || own.length === 0) return []
      const each = theirs.map((value, i) => value / own[i])
      return [[count, title, round(median(each), 2), spread(each, 2), gate]]
    }),
  )
  return {
    title: 'Ratios of requests per CPU-second',
    columns: ['connections', 'what', 'median', 'spread over rounds', 'gate (stack.md)'],
    rows,
  }
}

/** Latency when requests come at fixed moments. */
export async function open({ seconds, rates }) {
  const service = await startService('open')
  const rows = []
  try {
    await closedLoop(service, 32, WARM_SECONDS)
    for (const rate of rates) {
      const one = await openLoop(service, rate, seconds)
      say(`open loop ${rate}/s: p99 ${round(one.p99_ms, 1)} ms`)
      rows.push([
        rate,
        round(one.p50_ms, 1),
        round(one.p99_ms, 1),
        round(one.p999_ms, 1),
        round(one.max_ms, 1),
        one.failed,
      ])
    }
  } finally {
    await service.stop()
  }
  return [
    {
      title: 'Open-loop latency',
      note: `Request i is sent at i / rate whatever the server does, for ${seconds} s; latency counts from that moment.`,
      columns: ['requests/s', 'p50 ms', 'p99 ms', 'p99.9 ms', 'max ms', 'not answered'],
      rows,
    },
  ]
}

/** How the size of a policy matters. */
export async function sizes({ seconds, rules }) {
  const service = await startService('sizes')
  const rows = []
  try {
    await closedLoop(service, 32, WARM_SECONDS)
    for (const count of rules) {
      const key = await makeAgent(service.base, policyOf(count), `rules-${count}`)
      const one = await closedLoop({ ...service, request: enforce(key) }, 32, seconds)
      say(`${count} rules: ${round(one.rps)}/s`)
      rows.push([count, round(one.rps), round(one.p99_ms), round(one.server_us), round(one.postgres_us)])
    }
  } finally {
    await service.stop()
  }
  return [
    {
      title: 'Size of the policy',
      note: 'The rule that allows is the last one; a tenth are denies of the same verb. 32 connections.',
      columns: ['rules', 'requests/s', 'p99 ms', 'server µs', 'PostgreSQL µs'],
      rows,
    },
  ]
}

const PAGES = 15
/** A tree of five million entries takes about two minutes on a quiet machine. */
const TREE_MS = 4 * 60_000

/**
 * A large log: reading its first and last page, and deciding while it is there. The entries are copies of one genuine
 * decision under new ids, written by SQL as the database's owner; asking for so many would take half an hour. Nothing is
 * signed meanwhile: the signer reads every entry again, at its own pace, and would be measured instead.
 */
export async function ledger({ seconds, entries }) {
  const service = await startService('ledger')
  const database = await databaseOf(service)
  const rows = []
  let behind = 0
  try {
    const needed = entries * 1500
    const { bavail, bsize } = statfsSync(service.data)
    if (bavail * bsize < needed) throw new Error(`the log needs ${round(needed / 2 ** 30)} GiB of free disk`)
    await database.stopSigner()
    await closedLoop(service, 32, WARM_SECONDS)
    const small = await closedLoop(service, 32, seconds)
    await fill(database, entries)
    behind = await treeBehind(database)
    const headers = { 'x-admin-key': ADMIN_KEY }
    const page = async (route) => {
      const answer = await fetch(`${service.base}${route}`, { headers })
      if (!answer.ok) throw new Error(`${route}: ${answer.status}`)
      return answer.json()
    }
    const cursor = Buffer.from('v1:100').toString('base64url')
    for (const [what, route] of [
      ['first page (newest 100)', '/logs?limit=100'],
      ['last page (oldest 100)', `/logs?limit=100&cursor=${cursor}`],
      ['first page of denied', '/logs?limit=100&allowed=false'],
      ['one decision', `/logs?decision_id=${(await page('/logs?limit=1'))[0].decision_id}`],
    ]) {
      const { median_ms, slowest_ms } = await timed(PAGES, () => page(route))
      say(`${what}: ${round(median_ms, 1)} ms`)
      rows.push([what, round(median_ms, 1), round(slowest_ms, 1)])
    }
    const large = await closedLoop(service, 32, seconds)
    rows.push(['POST /enforce, empty log (requests/s)', round(small.rps), `p99 ${round(small.p99_ms)} ms`])
    rows.push(['POST /enforce, large log (requests/s)', round(large.rps), `p99 ${round(large.p99_ms)} ms`])
  } finally {
    await database.end()
    await service.stop()
  }
  return [
    {
      title: `A log of ${entries.toLocaleString('en')} entries`,
      note: `Medians of ${PAGES} reads, one after the other. No checkpoints are signed in this part.${behind > 0 ? ` The tree over the last ${behind.toLocaleString('en')} entries was still being built.` : ''}`,
      columns: ['what', 'median ms', 'slowest ms'],
      rows,
    },
  ]
}

/** A superuser's connections to the service's own database. */
export async function databaseOf({ data }) {
  const { startEmbeddedPostgres } =
    await import('../dist/src/platform/embedded-postgres/embedded-postgres.js')
  const server = await startEmbeddedPostgres({ data_dir: path.join(data, 'postgres'), share: true })
  const clients = [0, 1].map(() => new pg.Client({ connectionString: server.admin_url }))
  for (const client of clients) await client.connect()
  const [client, instead] = clients
  return {
    query: (...args) => client.query(...args),
    end: async () => {
      for (const one of clients) await one.end()
      await server.stop()
    },
    /** Takes the lock of whoever signs (src/ledger/checkpoints.queries.ts), so that nobody does. */
    stopSigner: async () => {
      let mine = false
      const locked = instead.query('SELECT pg_advisory_lock(72707372)').then(() => (mine = true))
      while (!mine) {
        await client.query(
          `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 72707372 AND granted
           AND EXISTS (SELECT FROM pg_locks w WHERE w.locktype = 'advisory' AND w.objid = 72707372 AND NOT w.granted)`,
        )
        await Promise.race([locked, sleep(100)])
      }
    },
  }
}

/** Waits until the tree has every entry; answers how many it lacks when that takes too long. */
async function treeBehind(database) {
  for (const deadline = Date.now() + TREE_MS; ; await sleep(500)) {
    const { rows } = await database.query(
      'SELECT sum(h.size - coalesce(t.size, 0))::float8 AS entries FROM ledger.ledger_head h LEFT JOIN ledger.ledger_tree t USING (org_id, epoch)',
    )
    if (rows[0].entries === 0 || Date.now() > deadline) return rows[0].entries
  }
}

async function fill(database, entries) {
  const { rows } = await database.query('SELECT size FROM ledger.ledger_head')
  const from = Number(rows[0].size)
  const step = 250_000
  for (let at = from; at < from + entries; at += step) {
    await database.query(
      `INSERT INTO ledger.ledger_entry (org_id, index, id, retention_days, ts, type, agent_id, action_key, allowed, decision_id, entry)
       SELECT e.org_id, i, gen.id, e.retention_days, e.ts, e.type, e.agent_id, e.action_key, e.allowed, NULL,
              convert_to(replace(convert_from(e.entry, 'UTF8'), e.id::text, gen.id::text), 'UTF8')
       FROM (SELECT * FROM ledger.ledger_entry WHERE type = 'decision' ORDER BY index DESC LIMIT 1) e,
            generate_series($1::bigint, $2::bigint) AS i,
            LATERAL (SELECT (left(e.id::text, 15) || substr(md5(i::text), 1, 3) || '-a' || substr(md5(i::text), 4, 3) || '-' || substr(md5(i::text), 7, 12))::uuid AS id) gen`,
      [at, at + step - 1],
    )
    await database.query('UPDATE ledger.ledger_head SET size = $1', [at + step])
    say(`filled ${(at + step - from).toLocaleString('en')} entries`)
  }
  await database.query('ANALYZE ledger.ledger_entry')
}

/** Memory while it is asked without pause. */
export async function memory({ seconds }) {
  const service = await startService('memory')
  const rows = []
  try {
    for (let done = 0; done <= seconds; done += seconds / 6) {
      rows.push([round(done), round(memoryMiB(service.pid))])
      if (done < seconds) await closedLoop(service, 64, seconds / 6)
    }
  } finally {
    await service.stop()
  }
  say(`memory: ${rows.map(([, mib]) => mib).join(' ')} MiB`)
  return [
    {
      title: 'Memory over time',
      note: 'One process, 64 connections without pause. The bar is 512 MiB a worker.',
      columns: ['after s', 'memory of the server MiB'],
      rows,
    },
  ]
}

/** Batches: the same decisions, a hundred a request. */
export async function batches({ seconds }) {
  const service = await startService('batches')
  const rows = []
  try {
    const one = JSON.parse(service.request.body)
    const requestOf = (size) => ({ ...service.request, path: '/enforce/batch', body: JSON.stringify({ requests: Array(size).fill(one) }) }) // prettier-ignore
    await closedLoop({ ...service, request: requestOf(10) }, 8, WARM_SECONDS)
    for (const size of [1, 10, 100]) {
      const request = requestOf(size)
      const result = await closedLoop({ ...service, request }, 8, seconds)
      say(`batches of ${size}: ${round(result.rps * size)} decisions/s`)
      rows.push([size, round(result.rps * size), round(result.p99_ms), round(result.server_us / size), round(result.postgres_us / size)]) // prettier-ignore
    }
  } finally {
    await service.stop()
  }
  return [
    {
      title: 'POST /enforce/batch',
      note: '8 connections; one commit a batch. CPU is µs a decision.',
      columns: ['decisions a request', 'decisions/s', 'p99 ms', 'server µs', 'PostgreSQL µs'],
      rows,
    },
  ]
}
