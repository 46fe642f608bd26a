import { Controller, Delete, Get, Post } from '@nestjs/common'
import { Access } from '../../src/platform/access/access.decorator'
import { CounterStorage } from '../../src/platform/throttling/counter-storage'
import { Limit } from '../../src/platform/throttling/limit.decorator'
import { parseRateLimits, rateLimits } from '../../src/platform/throttling/limits'
import { AGENT_KEY, FakeClock, ROOT_KEY, startPlatform, type PlatformApp } from '../support/platform'

@Controller('work')
class WorkController {
  @Post('enforce')
  @Access('decisions:create', 'agent')
  @Limit('enforce')
  enforce() {
    return {}
  }

  @Get()
  @Access('agents:read')
  read() {
    return {}
  }

  @Post()
  @Access('agents:write')
  create() {
    return {}
  }

  @Delete()
  @Access('agents:write')
  delete() {
    return {}
  }

  @Get('plain')
  @Access('logs:read', 'either')
  plain() {
    return {}
  }
}

const ADMIN = { 'x-admin-key': ROOT_KEY }
let platform: PlatformApp | undefined

function running(): PlatformApp {
  if (!platform) throw new Error('start() first')
  return platform
}

async function start(limits = '', enabled = true) {
  const overrides = parseRateLimits(limits)
  if (typeof overrides === 'string') throw new Error(overrides)
  platform = await startPlatform([WorkController], {
    rate_limit_enabled: enabled,
    rate_limits: rateLimits(overrides),
  })
}
afterEach(async () => {
  await platform?.close()
  platform = undefined
})

const call = (path: string, headers: Record<string, string> = ADMIN, method = 'GET') =>
  fetch(`${running().url}${path}`, { method, headers })

/** The statuses of `times` calls. */
async function statuses(times: number, ...request: Parameters<typeof call>): Promise<number[]> {
  const all = []
  for (let i = 0; i < times; i++) {
    const response = await call(...request)
    await response.arrayBuffer()
    all.push(response.status)
  }
  return all
}

it('has the documented limits', () => {
  const table = Object.fromEntries(
    Object.entries(rateLimits()).map(([name, windows]) => [
      name,
      windows.map((w) => `${w.limit}/${w.seconds}`).join(),
    ]),
  )
  expect(table).toEqual({
    enforce: '1000/60',
    log_submit: '1000/60',
    log_query: '100/60',
    admin_create: '50/3600',
    admin_read: '200/3600',
    admin_delete: '20/3600',
    health: '100/60',
    docs: '50/60',
    default: '100/60,1000/3600',
  })
})

it('answers the first request too many with 429 and everything needed to wait', async () => {
  await start('admin_read=2/60')
  const first = await call('/work')
  expect(first.headers.get('ratelimit')).toBe('"admin_read";r=1;t=60')
  expect(first.headers.get('ratelimit-policy')).toBe('"admin_read";q=2;w=60')
  expect(first.headers.get('x-ratelimit-limit')).toBe('2')
  await call('/work')
  running().clock.advance(20_000)
  const refused = await call('/work')
  expect(refused.status).toBe(429)
  expect(refused.headers.get('retry-after')).toBe('40')
  expect(refused.headers.get('ratelimit')).toBe('"admin_read";r=0;t=40')
  expect(await refused.json()).toMatchObject({
    type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
    code: 'rate_limit_exceeded',
    'violated-policies': ['admin_read'],
  })
  running().clock.advance(40_000)
  expect((await call('/work')).status).toBe(200)
})

it('counts classes apart: by decorator, else by method for administrators', async () => {
  await start('admin_read=1/60,admin_create=1/60,admin_delete=1/60')
  for (const method of ['GET', 'POST', 'DELETE']) {
    const found = await statuses(2, '/work', ADMIN, method)
    expect(found[0]).toBeLessThan(300)
    expect(found[1]).toBe(429)
  }
})

it('counts agents apart from each other, from administrators and from addresses', async () => {
  await start('enforce=2/60')
  const agent = (name: string) => ({ 'x-agent-key': AGENT_KEY + name })
  expect(await statuses(3, '/work/enforce', agent('a'), 'POST')).toEqual([201, 201, 429])
  expect(await statuses(3, '/work/enforce', agent('b'), 'POST')).toEqual([201, 201, 429])
})

it('holds both windows of the default class', async () => {
  await start('default=2/60;3/3600')
  expect(await statuses(3, '/work/plain')).toEqual([200, 200, 429])
  running().clock.advance(60_000)
  // The hour has counted the refused one as well.
  expect(await statuses(1, '/work/plain')).toEqual([429])
  running().clock.advance(3_600_000)
  const response = await call('/work/plain')
  expect(response.headers.get('ratelimit')).toBe('"default";r=1;t=60, "default-3600s";r=2;t=3600')
})

it('counts failed authentication against the address, and nobody else', async () => {
  await start('default=3/60')
  expect(await statuses(5, '/work', { 'x-admin-key': 'wrong' })).toEqual([401, 401, 401, 429, 429])
  expect((await call('/work')).status).toBe(200)
})

it('limits documentation and health by address', async () => {
  await start('docs=1/60,health=1/60')
  expect(await statuses(2, '/docs', {})).toEqual([200, 429])
  expect(await statuses(2, '/health/live', {})).toEqual([200, 429])
})

it('does nothing when switched off (the control)', async () => {
  await start('admin_read=1/60', false)
  expect(await statuses(3, '/work')).toEqual([200, 200, 200])
  expect((await call('/work')).headers.get('ratelimit')).toBeNull()
})

describe('the counters', () => {
  it('hold a bounded number of keys, dropping what has expired and then the oldest', async () => {
    await start()
    const clock = new FakeClock()
    const counters = new CounterStorage(clock, 100)
    const window = { name: 'x', limit: 10, seconds: 60 }
    for (let i = 0; i < 1_000; i++) counters.hit(window, `key-${i}`)
    expect(counters.size).toBe(100)
    expect(counters.hit(window, 'key-999').count).toBe(2)
    expect(counters.hit(window, 'key-0').count).toBe(1)
    clock.advance(61_000)
    for (let i = 0; i < 100; i++) counters.hit(window, `new-${i}`)
    expect(counters.size).toBe(100)
    expect(counters.hit(window, 'new-0').count).toBe(2)
  })
})
