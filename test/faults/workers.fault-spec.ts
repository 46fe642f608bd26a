import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Balancer } from '../support/balancer'
import { ADMIN_KEY, Replica } from '../support/replica'
import { expectAnswered, expectNothingLost, Fleet, RECOVERED_WITHIN_MS } from '../support/fleet'
import { report } from '../support/size'

jest.setTimeout(300_000)

const WORKERS = 2

let fleet: Fleet

beforeAll(async () => {
  fleet = await Fleet.start({ replica: { env: { WEB_CONCURRENCY: String(WORKERS), LOG_LEVEL: 'info' } } })
})

afterEach(() => fleet.quiet())

afterAll(() => fleet?.stop())

/** The workers' process ids. Linux only, as `kill -9` of the fault suite is. */
const workersOf = ({ pid }: Replica): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)

async function metric(replica: Replica, name: string): Promise<number> {
  const response = await fetch(`${replica.url}/metrics`, { headers: { 'x-admin-key': ADMIN_KEY } })
  const lines = (await response.text()).split('\n').filter((line) => line.startsWith(name))
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

it('several workers answer as one service: metrics are added up, whichever worker is asked', async () => {
  const before = await metric(fleet.first, 'agentguard_enforcement_total')
  const load = fleet.load({ total: 400, connections: 16 })
  await load.finished()
  expect(load.statuses).toEqual(new Map([[200, 400]]))
  for (let i = 0; i < 4; i++)
    expect(await metric(fleet.first, 'agentguard_enforcement_total')).toBe(before + 400)
  expect(await metric(fleet.first, 'agentguard_active_agents')).toBe(fleet.agents.length)
  for (let number = 1; number <= WORKERS; number++) expect(fleet.first.log).toContain(`"worker":${number}`)
  expectNothingLost(await fleet.evidence())
})

it('keep one limit, about', async () => {
  const limited = await fleet.add({
    env: {
      WEB_CONCURRENCY: String(WORKERS),
      RATE_LIMIT_ENABLED: 'true',
      RATE_LIMITS: 'enforce=160/minute, health=100000/minute',
    },
  })
  const [agent] = fleet.agents
  const load = fleet.load({
    target: () => limited.url,
    total: 600,
    connections: 16,
    request: () => ({ key: agent?.key ?? '', body: '{"action":"read:file"}' }),
  })
  await load.finished()
  report(`limit 160, ${WORKERS} workers: ${load.acknowledged.length} allowed`)
  fleet.replicas.pop()
  await limited.remove()
  expect(load.statuses.get(200)).toBeGreaterThanOrEqual(160)
  // A sixteenth for each, and what arrives in a round trip.
  expect(load.statuses.get(200)).toBeLessThanOrEqual(160 + 2 * 10 + 20)
  expect((load.statuses.get(200) ?? 0) + (load.statuses.get(429) ?? 0)).toBe(600)
})

it('a worker that is killed takes nobody with it, and is replaced', async () => {
  const load = fleet.load({ connections: 16 })
  await load.more(200)
  const before = workersOf(fleet.first)
  expect(before).toHaveLength(WORKERS)
  const [victim = 0] = before
  process.kill(victim, 'SIGKILL')
  await load.more(200)
  const began = performance.now()
  while (workersOf(fleet.first).length < WORKERS && performance.now() - began < RECOVERED_WITHIN_MS)
    await sleep(20)
  await load.more(200)
  await load.stop()
  report(`kill -9 of a worker: ${load.summary()}`)
  expect(workersOf(fleet.first)).toHaveLength(WORKERS)
  expect(workersOf(fleet.first)).not.toContain(victim)
  fleet.expectAlive()
  expect(load.failures.broken).toBeLessThanOrEqual(16) // what was in flight with it
  expect(load.statuses).toEqual(new Map([[200, load.acknowledged.length]]))
  expectNothingLost(await fleet.evidence())
})

it('SIGTERM under load drops nothing, behind a balancer that hears who leaves', async () => {
  const balancer = new Balancer([fleet.first.url])
  const load = fleet.load({
    target: () => balancer.next(),
    leave: (url) => balancer.leave(url),
    connections: 16,
    rate: 400,
  })
  await load.more(300)
  const { code, ms } = await fleet.first.terminate()
  await load.stop()
  report(`SIGTERM: exit ${code} after ${Math.round(ms)} ms; ${load.summary()}`)
  expect(code).toBe(0)
  expect(load.failures.broken).toBe(0)
  expect(load.statuses).toEqual(new Map([[200, load.acknowledged.length]]))
  expectAnswered(load)
  await fleet.first.start()
  expectNothingLost(await fleet.evidence())
})

it('ends with an error when workers cannot be kept running', async () => {
  const { database_url } = fleet
  const start = Replica.start({
    database_url,
    preload: ['test/faults/broken-worker.cjs'],
    env: { WEB_CONCURRENCY: '2' },
  })
  await expect(start).rejects.toThrow('cannot be kept running')
})
