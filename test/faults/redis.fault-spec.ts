import { setTimeout as sleep } from 'node:timers/promises'
import { ANSWERED_WITHIN_MS, expectNothingLost, Fleet } from '../support/fleet'
import type { Load } from '../support/load'
import { findRedis, TestRedis } from '../support/redis'
import { ADMIN_KEY, type Replica } from '../support/replica'
import { report } from '../support/size'

jest.setTimeout(180_000)

const LIMIT = 320
const REPLICAS = 2
/** A sixteenth for each replica, and what arrives during a round trip on a loaded machine. */
const TOO_MANY = REPLICAS * (LIMIT / 16) + 20
/** Longer than a Redis may be silent before it counts as gone, and than it takes to find it back. */
const NOTICED_MS = 60_000

const FAULTS = {
  killed: { begin: (redis: TestRedis) => redis.kill(), end: (redis: TestRedis) => redis.start() },
  stalled: { begin: (redis: TestRedis) => redis.stall(), end: (redis: TestRedis) => redis.goOn() },
} as const

const binary = findRedis()
let redis: TestRedis
let fleet: Fleet

const describeRedis = binary === null ? describe.skip : describe
describeRedis('Redis, which shares the limits of two replicas', () => {
  beforeAll(async () => {
    redis = await TestRedis.reserve(binary ?? '')
    await redis.start()
    fleet = await Fleet.start({
      replicas: REPLICAS,
      replica: {
        env: {
          REDIS_URL: redis.url,
          RATE_LIMIT_ENABLED: 'true',
          RATE_LIMITS: `enforce=${LIMIT}/hour, health=100000/minute, admin_create=100000/hour, admin_read=100000/hour`,
        },
      },
    })
  })

  afterEach(() => fleet.quiet())

  afterAll(async () => {
    await fleet?.stop()
    await redis?.kill()
  })

  it('lets through one limit, about', async () => {
    await untilLocal(false)
    const load = await askAll()
    report(`limit ${LIMIT}, two replicas: ${load.statuses.get(200)} allowed`)
    expectLimited(load, LIMIT + TOO_MANY)
  })

  it.each(Object.keys(FAULTS) as (keyof typeof FAULTS)[])(
    'that is %s under load: decisions go on, each replica limits alone, and limits are shared again after it',
    async (name) => {
      const said = saidOften()
      const asking = await agentsAsking()
      await asking.more(100)
      await FAULTS[name].begin(redis)
      await untilLocal(true)
      const alone = await askAll()
      await FAULTS[name].end(redis)
      await untilLocal(false)
      await asking.stop()
      const together = await askAll()
      report(
        `Redis ${name}: ${alone.statuses.get(200)} of ${LIMIT} allowed meanwhile, ${together.statuses.get(200)} after it; beside it ${asking.summary()}`,
      )
      expectLimited(alone, REPLICAS * LIMIT)
      expectLimited(together, LIMIT + TOO_MANY)
      expect([...asking.statuses.keys()].filter((status) => status >= 500)).toEqual([])
      expectAnsweredAll(asking)
      expect(saidOften().map((count, at) => count - (said[at] ?? 0))).toEqual(Array(REPLICAS).fill(1))
      fleet.expectAlive()
      expectNothingLost(await fleet.evidence())
    },
  )
})

/** Every answer is 200 or 429; at least a limit was allowed, and at most so many. */
function expectLimited(load: Load, most: number): void {
  expect([...load.statuses.keys()].sort()).toEqual([200, 429])
  expect(load.statuses.get(200)).toBeGreaterThanOrEqual(LIMIT)
  expect(load.statuses.get(200)).toBeLessThanOrEqual(most)
  expectAnsweredAll(load)
}

function expectAnsweredAll(load: Load): void {
  expect(load.failures).toEqual({ refused: 0, broken: 0, hung: 0 })
  expect(load.slowest_ms).toBeLessThan(ANSWERED_WITHIN_MS + load.noise_ms)
}

/** A new agent asks both replicas three times as often as it may. */
async function askAll(): Promise<Load> {
  const { key } = await fleet.makeAgent()
  const load = fleet.load({
    connections: 8,
    total: 3 * LIMIT,
    request: () => ({ key, body: '{"action":"read:file"}' }),
  })
  await load.finished()
  return load
}

/** Load that stays within its limits: a new agent as soon as one could have used up its own. */
async function agentsAsking(): Promise<Load> {
  const agents = await Promise.all(Array.from({ length: 40 }, () => fleet.makeAgent()))
  let asked = 0
  return fleet.load({
    connections: 4,
    rate: 50,
    request: () => ({
      key: agents[Math.floor(asked++ / (LIMIT / 2)) % agents.length]?.key ?? '',
      body: '{"action":"read:file"}',
    }),
  })
}

/** How often each replica has said that limits cannot be shared. */
const saidOften = (): number[] =>
  fleet.replicas.map(({ log }) => log.split('limits cannot be shared').length - 1)

async function isLocal({ url }: Replica): Promise<boolean> {
  const response = await fetch(`${url}/metrics`, { headers: { 'x-admin-key': ADMIN_KEY } })
  return /^agentguard_rate_limits_local 1$/m.test(await response.text())
}

/** Asks now and then, because who counts nothing has nothing to tell. */
async function untilLocal(wanted: boolean): Promise<void> {
  for (const end = performance.now() + NOTICED_MS; performance.now() < end; await sleep(50)) {
    for (const replica of fleet.replicas) await replica.call('GET', '/agents')
    const found = await Promise.all(fleet.replicas.map(isLocal))
    if (found.every((local) => local === wanted)) return
  }
  throw new Error(`limits are not ${wanted ? 'local' : 'shared'} after ${NOTICED_MS} ms`)
}
