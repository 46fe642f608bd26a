// One organization's flood and another's latency: what the machine costs, and what the service adds.
import { fork } from 'node:child_process'
import http from 'node:http'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ADMIN_KEY, api, startService } from './subjects.mjs'

const RATE = 100
const QUESTIONS = 100
const FLOOD = path.resolve(import.meta.dirname, '../test/faults/flood.mjs')

const CONNECTIONS = 64
const FLOODS = {
  'single requests': { route: '/enforce', body: JSON.stringify({ action: 'read:file' }), items: 1 },
  'batches of 100': {
    route: '/enforce/batch',
    body: JSON.stringify({ requests: Array.from({ length: 100 }, () => ({ action: 'read:file' })) }),
    items: 100,
  },
}

/**
 * A quiet organization's latency in turns alone, beside a flood of another service with a database of its own (what
 * sharing the machine costs), and beside the same flood of an organization of its own service.
 */
export async function sharing({ rounds, kinds = Object.keys(FLOODS) }) {
  const services = [await startService('asked'), await startService('another')]
  const [asked] = services
  const scenes = [scene('alone', null, null)]
  try {
    for (const kind of kinds) {
      const [own, another] = await Promise.all(services.map((service) => floodOf(service, FLOODS[kind])))
      scenes.push(scene(`beside a flood of ${kind}, of another service`, another, FLOODS[kind]))
      scenes.push(scene(`beside a flood of ${kind}, of this service`, own, FLOODS[kind]))
    }
    for (const { flood } of scenes) await played(asked, { flood, answers: [], statuses: {} }) // warm
    for (let round = 0; round < rounds; round++) for (const one of scenes) await played(asked, one)
  } finally {
    for (const { flood } of scenes) flood?.end()
    for (const service of services) await service.stop()
  }
  return [
    {
      title: 'A flood beside a quiet organization',
      note: `${RATE} requests/s of one organization; each flood has ${CONNECTIONS} connections. In turns of ${QUESTIONS} requests. “Of another service” is the machine’s part: the flooded service is another process with a database of its own.`,
      columns: ['quiet organization', 'p50 ms', 'p90 ms', 'p99 ms', 'refused', 'decisions/s of the flood'],
      rows: scenes.map(rowOf),
    },
  ]
}

const scene = (title, flood, kind) => ({ title, flood, kind, answers: [], statuses: {}, seconds: 0 })

async function played(asked, one) {
  const began = performance.now()
  await one.flood?.begin()
  await sleep(200) // until it is everywhere
  await quiet(asked, one.answers)
  const statuses = (await one.flood?.pause()) ?? {}
  one.seconds += (performance.now() - began) / 1000
  for (const status in statuses) one.statuses[status] = (one.statuses[status] ?? 0) + statuses[status]
}

function rowOf({ title, kind, answers, statuses, seconds }) {
  const times = answers.map(({ ms }) => ms).sort((a, b) => a - b)
  const at = (share) => times[Math.floor(times.length * share)]?.toFixed(0) ?? '–'
  const refused = answers.filter(({ status }) => status !== 200).length
  const decided = kind ? Math.round(((statuses[200] ?? 0) * kind.items) / seconds) : ''
  return [title, at(0.5), at(0.9), at(0.99), refused, decided]
}

/** A flood of another organization of this service, from a process of its own. */
async function floodOf({ base }, { route, body }) {
  const root = { 'x-admin-key': ADMIN_KEY }
  const { org_id } = await api(base, 'POST', '/organizations', { name: 'flood' }, root)
  const there = { ...root, 'x-org-id': org_id }
  const agent = { name: 'flood', owner_team: 'flood', environment: 'prod' }
  const { agent_id, api_key } = await api(base, 'POST', '/agents', agent, there)
  await api(base, 'PUT', `/agents/${agent_id}/policy`, { allow: [{ action: 'read:file' }] }, there)
  const child = fork(FLOOD, [], { execArgv: [] })
  child.send({ url: base + route, key: api_key, connections: CONNECTIONS, body })
  await sleep(1_000) // it listens to words only after that
  const ask = (word) =>
    new Promise((resolve) => {
      child.once('message', resolve)
      child.send(word)
    })
  return { begin: () => ask('begin'), pause: () => ask('pause'), end: () => child.kill('SIGKILL') }
}

async function quiet({ base, request }, answers) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 64 })
  const start = performance.now()
  const one = (due) =>
    new Promise((resolve) => {
      const done = (status) => resolve(answers.push({ ms: performance.now() - due, status }))
      const { headers, body } = request
      http
        .request(base + request.path, { agent, headers, method: 'POST' }, (response) => {
          response.resume().once('end', () => done(response.statusCode))
        })
        .once('error', () => done(0))
        .end(body)
    })
  const all = []
  for (let i = 0; i < QUESTIONS; i++) {
    const due = start + (i / RATE) * 1000
    await sleep(Math.max(0, due - performance.now()))
    all.push(one(due))
  }
  await Promise.all(all)
  agent.destroy()
}
