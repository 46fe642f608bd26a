// One organization's flood and another's latency: what the machine costs, and what the service adds.
import { fork } from 'node:child_process'
import http from 'node:http'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ADMIN_KEY, api, startService } from './subjects.mjs'

const RATE = 100
const QUESTIONS = 100
const FLOOD = path.resolve(import.meta.dirname, '../test/faults/flood.mjs')

/**
 * A quiet organization's latency in turns alone, beside a flood of another service with a database of its own (what
 * sharing the machine costs), and beside the same flood of an organization of its own service.
 */
export async function sharing({ rounds }) {
  const services = [await startService('asked'), await startService('another')]
  const floods = []
  const found = { alone: [], 'beside a flood of another service': [], 'beside a flood of this service': [] }
  try {
    for (const service of services) floods.push(await floodOf(service))
    const [asked] = services
    const [own, another] = floods
    await quiet(asked, [])
    for (let round = 0; round < rounds; round++) {
      for (const [what, flood] of Object.entries(found).map(([name], i) => [name, [null, another, own][i]])) {
        await flood?.begin()
        await sleep(200) // until it is everywhere
        await quiet(asked, found[what])
        await flood?.pause()
      }
    }
  } finally {
    for (const flood of floods) flood.end()
    for (const service of services) await service.stop()
  }
  return [
    {
      title: 'A flood beside a quiet organization',
      note: `${RATE} requests/s of one organization; the flood has 64 connections. In turns of ${QUESTIONS} requests. The second row is the machine’s part: the flooded service is another process with a database of its own.`,
      columns: ['quiet organization', 'p50 ms', 'p90 ms', 'p99 ms', 'refused'],
      rows: Object.entries(found).map(([what, answers]) => {
        const times = answers.map(({ ms }) => ms).sort((a, b) => a - b)
        const at = (share) => times[Math.floor(times.length * share)]?.toFixed(0) ?? '–'
        return [what, at(0.5), at(0.9), at(0.99), answers.filter(({ status }) => status !== 200).length]
      }),
    },
  ]
}

/** A flood of another organization of this service, from a process of its own. */
async function floodOf({ base, request }) {
  const root = { 'x-admin-key': ADMIN_KEY }
  const { org_id } = await api(base, 'POST', '/organizations', { name: 'flood' }, root)
  const there = { ...root, 'x-org-id': org_id }
  const agent = { name: 'flood', owner_team: 'flood', environment: 'prod' }
  const { agent_id, api_key } = await api(base, 'POST', '/agents', agent, there)
  await api(base, 'PUT', `/agents/${agent_id}/policy`, { allow: [{ action: 'read:file' }] }, there)
  const child = fork(FLOOD, [], { execArgv: [] })
  child.send({ url: base + request.path, key: api_key, connections: 64, body: request.body })
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
