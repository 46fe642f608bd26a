import { Controller, Logger, Post } from '@nestjs/common'
import { setTimeout as sleep } from 'node:timers/promises'
import { Access } from '../../src/platform/access/access.decorator'
import { Metrics } from '../../src/platform/metrics/metrics'
import { Limit } from '../../src/platform/throttling/limit.decorator'
import { rateLimits } from '../../src/platform/throttling/limits'
import { AGENT_KEY, type PlatformApp, startPlatform } from '../support/platform'
import { findRedis, TestRedis } from '../support/redis'
import { TcpProxy } from '../support/tcp-proxy'

const LIMIT = 160
/** `LIMIT/16` for each of two replicas, and what arrives during a round trip on a loaded machine. */
const TOO_MANY = 2 * (LIMIT / 16) + 20

/** Who waited for a Redis that is silent would never have been answered; whatever a loaded machine adds is less. */
const NEVER_MS = 15_000

@Controller('work')
class WorkController {
  @Post('enforce')
  @Access('decisions:create', 'agent')
  @Limit('enforce')
  enforce() {
    return {}
  }
}

const binary = findRedis()
const replicas: PlatformApp[] = []
let redis: TestRedis
let agent = 0

async function start(count: number, redis_url: string | undefined): Promise<void> {
  const settings = {
    redis_url,
    rate_limit_enabled: true,
    rate_limits: rateLimits({ enforce: [{ name: 'enforce', limit: LIMIT, seconds: 60 }] }),
    log_level: 'warn' as const,
  }
  for (let i = 0; i < count; i++) replicas.push(await startPlatform([WorkController], settings))
}

/** What the replicas say: nothing else tells that limits were not shared for a moment. */
const said = { outage: 0, again: 0 }
beforeAll(() => {
  const hear = (words: unknown[]): void => {
    const text = JSON.stringify(words)
    if (text.includes('cannot be shared')) said.outage++
    if (text.includes('shared through Redis again')) said.again++
  }
  jest.spyOn(Logger.prototype, 'warn').mockImplementation((...words) => hear(words))
  jest.spyOn(Logger.prototype, 'log').mockImplementation((...words) => hear(words))
})
afterAll(() => jest.restoreAllMocks())
beforeEach(() => agent++)

afterEach(async () => {
  for (const replica of replicas.splice(0)) await replica.close()
  await redis?.kill()
})

interface Flood {
  allowed: number
  statuses: Set<number>
  slowest_ms: number
}

/** Asks all replicas in turn, ten at a time. */
async function flood(requests: number, on: readonly PlatformApp[] = replicas): Promise<Flood> {
  const seen: Flood = { allowed: 0, statuses: new Set(), slowest_ms: 0 }
  let sent = 0
  const work = async (): Promise<void> => {
    while (sent < requests) {
      const replica = on[sent++ % on.length]
      const began = performance.now()
      const response = await fetch(`${replica?.url}/work/enforce`, {
        method: 'POST',
        headers: { 'x-agent-key': `${AGENT_KEY}${agent}` },
      })
      await response.arrayBuffer()
      seen.slowest_ms = Math.max(seen.slowest_ms, performance.now() - began)
      seen.statuses.add(response.status)
      if (response.status < 300) seen.allowed++
    }
  }
  await Promise.all(Array.from({ length: 10 }, work))
  return seen
}

const isLocal = async (replica: PlatformApp): Promise<boolean> =>
  /^agentguard_rate_limits_local 1$/m.test(await replica.app.get(Metrics).registry.metrics())

/** Asks now and then, because who counts nothing has nothing to tell. */
async function until(what: string, wanted: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 60_000; performance.now() < end; await sleep(50)) {
    agent += 1_000
    await flood(replicas.length)
    if (await wanted()) {
      agent++ // who has not been counted yet
      return
    }
  }
  throw new Error(`not in 60 s: ${what}`)
}
const untilShared = (): Promise<void> =>
  until('limits are shared', async () => !(await Promise.all(replicas.map(isLocal))).includes(true))
/**
 * What is let through while limits are shared. Where a busy machine keeps Redis's answer waiting for longer than it may
 * take, each replica keeps the limit alone for a moment, as it should; then it is asked again.
 */
async function shared<T>(measure: () => Promise<T>): Promise<T> {
  for (let tries = 0; tries < 20; tries++) {
    await untilShared()
    const outages = said.outage
    const measured = await measure()
    if (said.outage === outages) return measured
  }
  throw new Error('limits were never shared for as long as a measurement takes')
}
const untilLocal = (): Promise<void> =>
  until('limits are local', async () => !(await Promise.all(replicas.map(isLocal))).includes(false))

it('control: without Redis two replicas allow twice the limit', async () => {
  await start(2, undefined)
  expect(await flood(3 * LIMIT)).toMatchObject({ allowed: 2 * LIMIT, statuses: new Set([201, 429]) })
})

const describeRedis = binary === null ? describe.skip : describe
describeRedis('with Redis', () => {
  beforeEach(async () => {
    redis = await TestRedis.reserve(binary ?? '')
  })

  it('two replicas keep one limit, about', async () => {
    await redis.start()
    await start(2, redis.url)
    const { allowed, statuses } = await shared(() => flood(3 * LIMIT))
    expect(allowed).toBeGreaterThanOrEqual(LIMIT)
    expect(allowed).toBeLessThanOrEqual(LIMIT + TOO_MANY)
    expect(statuses).toEqual(new Set([201, 429]))
    process.stderr.write(`  limit ${LIMIT}, two replicas: ${allowed} allowed\n`)
  })

  it('what one replica has counted is known to the other', async () => {
    await redis.start()
    await start(2, redis.url)
    const [one, two] = replicas
    if (!one || !two) throw new Error('two replicas')
    const { allowed } = await shared(async () => {
      expect((await flood(LIMIT - 20, [one])).allowed).toBe(LIMIT - 20)
      await sleep(300) // three times what a report may take
      return flood(200, [two])
    })
    expect(allowed).toBeGreaterThanOrEqual(20)
    expect(allowed).toBeLessThanOrEqual(20 + LIMIT / 16 + 10)
  })

  it('absent at the start: each keeps the limit alone, nobody fails, and it is shared once Redis is there', async () => {
    await start(2, redis.url)
    await untilLocal()
    agent++
    const { allowed, statuses, slowest_ms } = await flood(3 * LIMIT)
    expect([allowed, statuses]).toEqual([2 * LIMIT, new Set([201, 429])])
    expect(slowest_ms).toBeLessThan(NEVER_MS)
    const ready = await fetch(`${replicas[0]?.url}/health/live`)
    expect(ready.status).toBe(200)
    await redis.start()
    expect((await shared(() => flood(3 * LIMIT))).allowed).toBeLessThanOrEqual(LIMIT + TOO_MANY)
  })

  it('killed under load and back again, empty: never an error, never unlimited, and what was counted is not forgotten', async () => {
    await redis.start()
    await start(2, redis.url)
    let mine = agent
    const before = await shared(() => {
      mine = ++agent
      return flood(LIMIT / 2)
    })
    const killing = redis.kill()
    const during = await flood(LIMIT / 4)
    await killing
    await untilLocal()
    await redis.start()
    await untilShared()
    agent = mine
    await sleep(300)
    const after = await flood(2 * LIMIT)
    const allowed = before.allowed + during.allowed + after.allowed
    expect(allowed).toBeGreaterThanOrEqual(LIMIT)
    expect(allowed).toBeLessThanOrEqual(LIMIT + TOO_MANY)
    expect(
      [...before.statuses, ...during.statuses, ...after.statuses].every((s) => s === 201 || s === 429),
    ).toBe(true)
  })

  it.each([
    ['slow', { kind: 'delay', ms: 600 }],
    ['silent', { kind: 'stall' }],
    ['half-open', { kind: 'half_open', new_too: false }],
    ['resetting', { kind: 'reset' }],
  ] as const)(
    '%s: no request waits for it, and limits are shared again when it is well',
    async (_, fault) => {
      await redis.start()
      const proxy = await TcpProxy.start(redis.port)
      try {
        await start(2, `redis://127.0.0.1:${proxy.port}`)
        await untilShared()
        agent++
        proxy.set(fault)
        const { allowed, statuses, slowest_ms } = await flood(4 * LIMIT)
        expect(statuses).toEqual(new Set([201, 429]))
        expect(allowed).toBeLessThanOrEqual(2 * LIMIT)
        expect(slowest_ms).toBeLessThan(NEVER_MS)
        proxy.set({ kind: 'none' })
        expect((await shared(() => flood(3 * LIMIT))).allowed).toBeLessThanOrEqual(LIMIT + TOO_MANY)
      } finally {
        for (const replica of replicas.splice(0)) await replica.close()
        await proxy.close()
      }
    },
  )

  it('says each outage once', async () => {
    const before = { ...said }
    await start(1, redis.url)
    await untilLocal()
    await flood(LIMIT)
    await sleep(300) // a few more reports that fail
    expect(said).toEqual({ ...before, outage: before.outage + 1 })
    await redis.start()
    await untilShared()
    await redis.kill()
    await untilLocal()
    // Two at least, and more only where this machine kept an answer waiting: each has its end, but for the last.
    expect(said.again - before.again).toBeGreaterThan(0)
    expect(said.outage - before.outage).toBe(said.again - before.again + 1)
  })
})
