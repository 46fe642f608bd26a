import fs from 'node:fs'
import { Controller, Get, Param } from '@nestjs/common'
import { Access } from '../../src/platform/access/access.decorator'
import { Readiness } from '../../src/platform/health/readiness'
import { Statistics } from '../../src/platform/health/statistics'
import { Metrics } from '../../src/platform/metrics/metrics'
import { AGENT_KEY, AUDITOR_KEY, ROOT_KEY, startPlatform, type PlatformApp } from '../support/platform'

@Controller('items')
class ItemsController {
  @Get(':item_id')
  @Access('agents:read')
  get(@Param('item_id') id: string) {
    return { id }
  }
}

let platform: PlatformApp
let database: () => Promise<unknown>
const ADMIN = { 'x-admin-key': ROOT_KEY }

beforeAll(async () => {
  platform = await startPlatform([ItemsController], { metrics_token: 'a-token-for-the-scraper' })
})
afterAll(() => platform.close())
beforeEach(() => {
  database = async () => undefined
  platform.app.get(Readiness).register('database', () => database())
})

const get = (path: string, headers: Record<string, string> = {}) => fetch(platform.url + path, { headers })

describe('health', () => {
  it('has the documented shapes', async () => {
    const timestamp = '2026-01-01T00:00:00.000Z'
    const version = (JSON.parse(fs.readFileSync('package.json', 'utf8')) as { version: string }).version
    const bodies = await Promise.all(
      ['', '/ready', '/live'].map(async (path) => (await get(`/health${path}`)).json()),
    )
    expect(bodies).toEqual([
      { status: 'healthy', service: 'AgentGuard', version, timestamp },
      {
        status: 'ready',
        checks: { database: 'healthy', database_latency_ms: expect.any(Number) },
        timestamp,
      },
      { status: 'alive', uptime_seconds: expect.any(Number), timestamp },
    ])
  })

  it('is not ready, with 503, when the database is away, slow, or hangs', async () => {
    database = () => Promise.reject(new Error('hunter2'))
    const away = await get('/health/ready')
    expect(away.status).toBe(503)
    const text = await away.text()
    expect(JSON.parse(text)).toMatchObject({ status: 'unhealthy', checks: { database: 'unhealthy' } })
    expect(text).not.toContain('hunter2')
    database = () => new Promise((resolve) => setTimeout(resolve, 1_050))
    const slow = await get('/health/ready')
    expect(slow.status).toBe(503)
    expect(await slow.json()).toMatchObject({ status: 'degraded', checks: { database: 'degraded' } })
    database = () => new Promise(() => undefined)
    expect((await get('/health/ready')).status).toBe(503)
    // Living is another question.
    expect((await get('/health/live')).status).toBe(200)
  })

  it('is not ready when another registered check fails, and says which', async () => {
    const readiness = platform.app.get(Readiness)
    readiness.register('ledger', () => Promise.reject(new Error('read only')))
    const refused = await get('/health/ready')
    expect(refused.status).toBe(503)
    expect(await refused.json()).toMatchObject({ checks: { database: 'healthy', ledger: 'unhealthy' } })
    readiness.register('ledger', async () => undefined)
    expect((await get('/health/ready')).status).toBe(200)
  })

  it('shows statistics, and null for agents while they cannot be counted', async () => {
    expect(await (await get('/health/stats')).json()).toMatchObject({ agents: null })
    platform.app.get(Statistics).onAgents(async () => ({ total: 3, active: 2 }))
    expect(await (await get('/health/stats')).json()).toEqual({
      status: 'healthy',
      agents: { total: 3, active: 2 },
      database: { connected: true, latency_ms: expect.any(Number) },
      kill_switches: null,
      system: { uptime_seconds: expect.any(Number), environment: 'test' },
    })
  })
})

describe('metrics', () => {
  const scrape = async (headers: Record<string, string> = ADMIN) => (await get('/metrics', headers)).text()
  /** The value of a series, 0 when it does not exist. */
  const value = (text: string, series: string) =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${series} `))
        ?.split(' ')[1] ?? 0,
    )

  it('need metrics:read or the scrape token', async () => {
    expect((await get('/metrics')).status).toBe(401)
    expect((await get('/metrics', { authorization: 'Bearer wrong' })).status).toBe(401)
    expect((await get('/metrics', { 'x-admin-key': 'wrong' })).status).toBe(401)
    expect((await get('/metrics', { 'x-agent-key': AGENT_KEY })).status).toBe(403)
    expect((await get('/metrics', { 'x-admin-key': AUDITOR_KEY })).status).toBe(403)
    expect((await get('/metrics', ADMIN)).status).toBe(200)
    const scraped = await get('/metrics', { authorization: 'Bearer a-token-for-the-scraper' })
    expect(scraped.status).toBe(200)
    expect(scraped.headers.get('content-type')).toContain('text/plain; version=0.0.4')
  })

  it('are public, or not there, when the operator says so', async () => {
    const open = await startPlatform([], { metrics_public: true })
    expect((await fetch(`${open.url}/metrics`)).status).toBe(200)
    await open.close()
    const off = await startPlatform([], { metrics_enabled: false })
    expect((await fetch(`${off.url}/metrics`, { headers: ADMIN })).status).toBe(404)
    await off.close()
  })

  it('count answers by route template, also what a guard refused and what no route matched', async () => {
    const before = await scrape()
    await get('/items/1', ADMIN)
    await get('/items/2', ADMIN)
    await get('/items/3')
    await get('/wp-login.php')
    await get('/another/unknown/path')
    // Each is counted when its answer has left, which the client may see a moment earlier.
    const total = (text: string) =>
      [...text.matchAll(/^agentguard_http_requests_total\{.*\} (\d+)$/gm)].reduce(
        (sum, [, n]) => sum + Number(n),
        0,
      )
    let after = await scrape()
    while (total(after) < total(before) + 6) after = await scrape() // these, and the scrape before
    const grown = (series: string) => value(after, series) - value(before, series)
    const requests = (endpoint: string, status: number) =>
      grown(`agentguard_http_requests_total{method="GET",endpoint="${endpoint}",status="${status}"}`)
    expect(requests('/v1/items/{item_id}', 200)).toBe(2)
    expect(requests('/v1/items/{item_id}', 401)).toBe(1)
    expect(requests('unmatched', 404)).toBe(2)
    expect(grown('agentguard_http_errors_total{method="GET",endpoint="unmatched",status="404"}')).toBe(2)
    expect(
      grown('agentguard_http_request_duration_seconds_count{method="GET",endpoint="/v1/items/{item_id}"}'),
    ).toBe(3)
    expect(after).not.toContain('wp-login')
    expect(value(after, 'agentguard_requests_inprogress')).toBe(1)
  })

  it('bound what tenants can invent', async () => {
    const metrics = platform.app.get(Metrics)
    for (let i = 0; i < 500; i++) metrics.decided(`agt_${i}`, `verb${i}`, true)
    metrics.decided('agt_1', undefined, false)
    metrics.decided('agt_1', 'x'.repeat(1_000), false)
    const series = (await scrape())
      .split('\n')
      .filter((line) => line.startsWith('agentguard_enforcement_total{'))
    expect(series.length).toBeLessThanOrEqual(102)
    expect(series.every((line) => line.includes('agent_id=""'))).toBe(true)
    expect(series.join()).toContain('action="other"')
  })

  it('feed the gauges at each scrape, and keep the last value when the source fails', async () => {
    const metrics = platform.app.get(Metrics)
    metrics.onCollect('active_agents', async () => 7)
    expect(value(await scrape(), 'agentguard_active_agents')).toBe(7)
    metrics.onCollect('active_agents', () => Promise.reject(new Error('away')))
    expect(value(await scrape(), 'agentguard_active_agents')).toBe(7)
  })
})

it('alerts only on metrics that exist', async () => {
  const rules = fs.readFileSync('deploy/prometheus/alerts.yml', 'utf8')
  const existing = platform.app
    .get(Metrics)
    .registry.getMetricsAsArray()
    .map((metric) => metric.name)
  const named = new Set(
    [...rules.matchAll(/agentguard_[a-z_]+/g)].map(([name]) => name.replace(/_(bucket|count|sum)$/, '')),
  )
  expect(named.size).toBeGreaterThan(5)
  for (const name of named) expect(existing).toContain(name)
})
