import { Controller, Get, Param } from '@nestjs/common'
import { Problem } from '../../src/core/problems'
import { Access } from '../../src/platform/access/access.decorator'
import { ROOT_KEY, startPlatform, type PlatformApp } from '../support/platform'

let failure: unknown

@Controller('items')
class ItemsController {
  @Get('failing')
  @Access('agents:read')
  failing() {
    throw failure
  }

  @Get(':id')
  @Access('agents:read')
  get(@Param('id') id: string) {
    if (id === 'here') return { id }
    throw new Problem('agent_not_found', { cause: new Error(id === 'foreign' ? 'it is org_b’s' : 'no row') })
  }
}

let platform: PlatformApp
const ADMIN = { 'x-admin-key': ROOT_KEY }
const get = (path: string, headers: Record<string, string> = ADMIN) => fetch(platform.url + path, { headers })

beforeAll(async () => {
  platform = await startPlatform([ItemsController], {
    cors_origins: ['https://app.example.com'],
    metrics_path: '/internal/metrics',
  })
})
afterAll(() => platform.close())

describe('every answer, of a route or not', () => {
  it.each([
    '/items/here',
    '/v1/items/here',
    '/nothing',
    '/docs/nothing',
    '/health',
    '/items/%ff',
    '/.well-known/x',
  ])('%s has its id, its duration and the security headers', async (path) => {
    const { headers } = await get(path)
    expect(headers.get('x-request-id')).toMatch(/^req_\d{13}_[0-9a-z]+$/)
    expect(headers.get('x-response-time')).toMatch(/^\d+\.\d{3}s$/)
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.get('content-security-policy')).toBeTruthy()
    expect(headers.get('x-powered-by')).toBeNull()
    expect(headers.get('etag')).toBeNull()
    expect(headers.get('content-type')).toMatch(/^application\/(problem\+)?json/)
  })

  it('gives every request another id', async () => {
    const ids = await Promise.all(
      [...Array(50).keys()].map(async () => (await get('/health')).headers.get('x-request-id')),
    )
    expect(new Set(ids).size).toBe(50)
  })

  it.each(['abc-123', 'x'.repeat(128)])('echoes the sane request id %s', async (id) => {
    expect((await get('/items/here', { ...ADMIN, 'x-request-id': id })).headers.get('x-request-id')).toBe(id)
  })

  it.each(['a b', 'x'.repeat(129), 'ü'])('replaces the request id %p', async (id) => {
    expect((await get('/items/here', { ...ADMIN, 'x-request-id': id })).headers.get('x-request-id')).toMatch(
      /^req_/,
    )
  })
})

it('answers missing and foreign alike, except for the request id', async () => {
  const headers = { ...ADMIN, 'x-request-id': 'same' }
  const [missing, foreign] = await Promise.all([
    get('/items/missing', headers),
    get('/items/foreign', headers),
  ])
  expect(missing.status).toBe(404)
  expect(await foreign.text()).toBe(await missing.text())
  const names = (response: Response) => [...response.headers.keys()].sort()
  expect(names(foreign)).toEqual(names(missing))
})

describe('errors that nobody foresaw', () => {
  it.each([
    ['an unknown error', new Error('password=hunter2 at /srv/secret.ts'), 500, 'internal_server_error'],
    ['something that is no error', 'hunter2', 500, 'internal_server_error'],
    ['a refused connection', Object.assign(new Error('hunter2'), { code: 'ECONNREFUSED' }), 503, 'not_ready'],
    ['an unreachable Prisma', Object.assign(new Error('hunter2'), { code: 'P1001' }), 503, 'not_ready'],
    ['a server that is stopping, three causes deep', nested({ code: '57P01' }), 503, 'not_ready'],
    ['a value that no column takes', nested({ code: '22021' }), 422, 'validation_failed'],
  ])('answer %s without internals', async (_, error, status, code) => {
    failure = error
    const response = await get('/items/failing')
    const text = await response.text()
    expect(response.status).toBe(status)
    expect(JSON.parse(text)).toMatchObject({ code, status })
    expect(text).not.toMatch(/hunter2|secret|at \//)
  })
})

function nested(cause: object): Error {
  return new Error('hunter2', { cause: new Error('hunter2', { cause }) })
}

describe('origins', () => {
  it('lets the configured origin read answers, and no other', async () => {
    const allowed = await get('/items/here', { ...ADMIN, origin: 'https://app.example.com' })
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://app.example.com')
    expect(allowed.headers.get('access-control-expose-headers')).toContain('X-Request-ID')
    const other = await get('/items/here', { ...ADMIN, origin: 'https://evil.example.com' })
    expect(other.headers.get('access-control-allow-origin')).toBeNull()
  })

  it('answers a preflight without credentials', async () => {
    const response = await fetch(`${platform.url}/items/here`, {
      method: 'OPTIONS',
      headers: { origin: 'https://app.example.com', 'access-control-request-method': 'PUT' },
    })
    expect(response.status).toBe(204)
    expect(response.headers.get('access-control-allow-methods')).toContain('PUT')
  })
})

it('says at / what it is and where to go', async () => {
  expect(await (await get('/', {})).json()).toMatchObject({
    service: 'AgentGuard',
    status: 'operational',
    docs: '/docs',
    health: '/health',
    metrics: '/internal/metrics',
  })
})

it('serves metrics where METRICS_PATH says, and only there', async () => {
  expect((await get('/internal/metrics')).status).toBe(200)
  expect((await get('/metrics')).status).toBe(404)
  expect((await get('/v1/metrics')).status).toBe(404)
})

it('serves the documentation from this origin alone', async () => {
  const page = await get('/docs', {})
  const html = await page.text()
  expect(page.headers.get('content-security-policy')).toContain("script-src 'self';")
  expect(html).not.toMatch(/(src|href)=["']https?:/)
  // The policy allows no inline script, so the page must have none.
  expect(html).not.toMatch(/<script(?![^>]*src=)[^>]*>\s*\S/)
  const scripts = [...html.matchAll(/<script src="([^"]+)"/g)].map(([, src]) => src ?? '')
  expect(scripts.length).toBeGreaterThan(1)
  for (const src of scripts)
    expect((await get(new URL(src, `${platform.url}/docs`).pathname, {})).status).toBe(200)
  expect(await (await get('/openapi.json', {})).json()).toMatchObject({
    openapi: expect.stringMatching(/^3\./),
  })
})

it('answers 503 when a handler does not answer in time', async () => {
  @Controller('slow')
  class SlowController {
    @Get()
    @Access('agents:read')
    never() {
      return new Promise(() => undefined)
    }
  }
  const slow = await startPlatform([SlowController], { request_timeout_s: 1 })
  try {
    const response = await fetch(`${slow.url}/slow`, { headers: ADMIN })
    expect(response.status).toBe(503)
    expect(await response.json()).toMatchObject({ code: 'request_timeout' })
  } finally {
    await slow.close()
  }
})
