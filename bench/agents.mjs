// How much it matters how many agents there are: what an agent costs when it is loaded, once, and what every further
// decision costs. The agents are made by SQL as the database's owner; by the API it would take several minutes.
import { hash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { bytesOf, inTurn } from './in-turn.mjs'
import { median, memoryMiB, spread } from './machine.mjs'
import { databaseOf, round, say, WARM_SECONDS } from './parts.mjs'
import { policyOf } from './rules.mjs'
import { enforce, startService } from './subjects.mjs'

const CONNECTIONS = 32
/** Rows of one statement. */
const STEP = 500

export async function agents({ seconds, rounds, counts }) {
  const service = await startService('agents')
  const most = Math.max(...counts)
  try {
    const database = await databaseOf(service)
    const keys = await makeAgents(database, most).finally(() => database.end())
    await service.restart() // as a service that has been updated: nothing of making them is in its memory
    const requests = keys.map((key) => bytesOf(service.base, enforce(key)))
    await inTurn(service, CONNECTIONS, [bytesOf(service.base, service.request)], { seconds: WARM_SECONDS })

    const asked = [['none of them was asked', { memory: memoryMiB(service.pid) }]]
    for (const title of ['the first request of each', 'the second request of each']) {
      const one = await inTurn(service, CONNECTIONS, requests, { count: most })
      say(`${title}: ${round(one.server_us)} µs, ${round(one.rps)}/s`)
      asked.push([title, { ...one, memory: memoryMiB(service.pid) }])
    }
    const measured = new Map(counts.map((count) => [count, []]))
    for (let n = 1; n <= rounds; n++) {
      for (const count of counts) {
        const one = await inTurn(service, CONNECTIONS, requests.slice(0, count), { seconds })
        if (one.refused > 0) throw new Error(`${count} agents: ${one.refused} answers were 503`)
        measured.get(count).push(one)
        say(`${n}/${rounds}, ${count} agents: ${round(one.server_us)} µs, ${round(one.rps)}/s`)
      }
    }
    asked.push(['everything below', { memory: memoryMiB(service.pid) }])
    return [firstTable(most, asked), table(counts, measured, { seconds, rounds })]
  } finally {
    await service.stop()
  }
}

function firstTable(most, asked) {
  return {
    title: 'Loading agents',
    note: `${most.toLocaleString('en')} agents with ten rules of their own each, after the service was started again. The first request of an agent loads it, and goes through Express; what was refused (503) was asked too fast and is loaded by the next request. ${CONNECTIONS} connections.`,
    columns: ['after', 'requests/s', 'p99 ms', 'server µs', 'PostgreSQL µs', 'refused', 'memory of the server MiB'], // prettier-ignore
    rows: asked.map(([title, one]) => [
      title,
      round(one.rps),
      round(one.p99_ms),
      round(one.server_us),
      round(one.postgres_us),
      one.refused ?? '–',
      round(one.memory),
    ]),
  }
}

function table(counts, measured, { seconds, rounds }) {
  const [first] = counts
  const of = (count, what) => measured.get(count).map((one) => one[what])
  const rows = counts.map((count) => {
    const server = of(count, 'server_us')
    const ratios = server.map((value, i) => value / of(first, 'server_us')[i])
    return [
      count,
      round(median(of(count, 'rps'))),
      round(median(of(count, 'p99_ms'))),
      round(median(server)),
      spread(server, 0),
      round(median(of(count, 'postgres_us'))),
      round(median(ratios), 2),
    ]
  })
  return {
    title: 'Number of agents',
    note: `The same process, with all of them loaded: so many are asked in turn, each more often the fewer they are. Medians of ${rounds} interleaved rounds of ${seconds} s, ${CONNECTIONS} connections.`,
    columns: ['agents', 'requests/s', 'p99 ms', 'server µs', 'spread', 'PostgreSQL µs', `server : ${first} agent`], // prettier-ignore
    rows,
  }
}

/** Makes agents with ten rules each, of which no two agents have the same but one; answers their keys. */
async function makeAgents(database, count) {
  const { makeKey } = await import('../dist/src/core/keys/key-format.js')
  const keys = []
  for (let at = 0; at < count; at += STEP) {
    const many = Array.from({ length: Math.min(STEP, count - at) }, (_, i) => {
      const key = makeKey('agk_', randomBytes(32))
      keys.push(key)
      const document = policyOf(10, `of-${at + i}/`)
      return { id: String(at + i), key_hash: sha256(key), document, sha256: sha256(JSON.stringify(document)) }
    })
    await database.query(
      `WITH r AS MATERIALIZED (SELECT 'agt_bench_' || id AS agent_id, 'key_bench_' || id AS key_id, 'pol_bench_' || id AS policy_id,
                                      key_hash, document, sha256
                               FROM json_to_recordset($1) AS r(id text, key_hash text, document jsonb, sha256 text)),
         a AS (INSERT INTO agents (org_id, agent_id, name, owner_team, environment)
               SELECT 'org_default', agent_id, 'bench', 'bench', 'dev' FROM r),
         c AS (INSERT INTO agent_config (org_id, agent_id) SELECT 'org_default', agent_id FROM r),
         k AS (INSERT INTO agent_keys (org_id, key_id, agent_id, key_hash, key_prefix, created_by)
               SELECT 'org_default', key_id, agent_id, key_hash, 'agk_', 'root' FROM r),
         p AS (INSERT INTO policies (org_id, policy_id, scope, agent_id, version)
               SELECT 'org_default', policy_id, 'agent', agent_id, 1 FROM r)
       INSERT INTO policy_versions (org_id, policy_id, version, document, sha256, created_by)
       SELECT 'org_default', policy_id, 1, document, sha256, 'root' FROM r`,
      [JSON.stringify(many)],
    )
  }
  await database.query('ANALYZE') // as PostgreSQL does by itself, a minute later
  say(`made ${count.toLocaleString('en')} agents`)
  await sleep(1_000)
  return keys
}

const sha256 = (text) => hash('sha256', text)
