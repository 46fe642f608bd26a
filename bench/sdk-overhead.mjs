// What the SDK adds to a call, against bare fetch: the same POST /enforce to a server in another process that answers
// at once. Wall time and CPU time of this process per call, one call after the other and 32 at a time.
//   npm run -s build:sdk && node bench/sdk-overhead.mjs [calls]
import { fork } from 'node:child_process'
import { createServer } from 'node:http'
import { AgentGuard } from '../sdk/dist/index.js'

const CALLS = Number(process.argv[2] ?? 2_000)
const ROUNDS = 7

if (process.send) {
  let made = 0
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      const decision_id = `01900000-0000-7000-8000-${String(++made).padStart(12, '0')}`
      const answer = {
        allowed: true,
        status: 'allowed',
        reason: 'Matched allow rule: read:file on *',
        decision_id,
      }
      const body = JSON.stringify({ ...answer, code: 'allow_rule', matched_rule: null, policy_version: 1 })
      response.writeHead(200, {
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(body),
      })
      response.end(body)
    })
  }).listen(0, '127.0.0.1', () => process.send(server.address().port))
  process.on('disconnect', () => process.exit())
} else {
  const child = fork(import.meta.filename)
  const port = await new Promise((done) => child.once('message', done))
  await measure(`http://127.0.0.1:${port}`)
  child.disconnect()
}

async function measure(url) {
  const client = new AgentGuard({ agentKey: 'agk_x', baseURL: url })
  const guarded = client.guard({ report: false }).tool('read file', () => 1)
  const headers = { 'X-Agent-Key': 'agk_x', 'Content-Type': 'application/json' }
  const request = { action: 'read file', resource: 'report.pdf', arguments: { path: 'report.pdf' } }
  const ways = {
    'bare fetch': async () =>
      (await fetch(`${url}/v1/enforce`, { method: 'POST', headers, body: JSON.stringify(request) })).json(),
    'client.enforce': () => client.enforce(request),
    'guard.tool': () => guarded({ path: 'report.pdf' }),
  }
  console.log(`Node ${process.version}, ${CALLS} calls each, the best of ${ROUNDS} rounds`)
  console.log('| | one at a time, µs | CPU, µs | 32 at a time, µs | CPU, µs |\n|---|--:|--:|--:|--:|')
  for (const way of Object.values(ways)) await round(way, 32, 1_000)
  const table = Object.fromEntries(Object.keys(ways).map((name) => [name, []]))
  for (const at_once of [1, 32]) {
    const rounds = Object.fromEntries(Object.keys(ways).map((name) => [name, []]))
    // In turn, so that a noisy neighbour meets all of them.
    for (let i = 0; i < ROUNDS; i++)
      for (const [name, way] of Object.entries(ways)) rounds[name].push(await round(way, at_once, CALLS))
    for (const [name, all] of Object.entries(rounds))
      for (const what of ['wall_us', 'cpu_us']) table[name].push(Math.min(...all.map((one) => one[what])))
  }
  for (const [name, cells] of Object.entries(table))
    console.log(`| ${name} | ${cells.map((cell) => cell.toFixed(0)).join(' | ')} |`)
}

async function round(way, at_once, calls) {
  const cpu = process.cpuUsage()
  const from = performance.now()
  let left = calls
  const worker = async () => {
    while (left-- > 0) await way()
  }
  await Promise.all(Array.from({ length: at_once }, worker))
  const { user, system } = process.cpuUsage(cpu)
  return { wall_us: ((performance.now() - from) * 1000) / calls, cpu_us: (user + system) / calls }
}
