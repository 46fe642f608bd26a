import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { NestExpressApplication } from '@nestjs/platform-express'
import { Test } from '@nestjs/testing'
import { serveDashboard } from '../../src/platform/http/dashboard.js'
import { type RunningApp, startApp } from '../support/app.js'
import { BUILT, buildDashboard } from '../support/dashboard.js'

const PAGE = { Accept: 'text/html,application/xhtml+xml' }

describe('the files of the dashboard', () => {
  let app: RunningApp
  beforeAll(async () => {
    buildDashboard()
    app = await startApp()
  })
  afterAll(() => app?.close())

  const get = (place: string, headers: Record<string, string> = PAGE) =>
    fetch(app.url + place, { headers, redirect: 'manual' })

  it('come with a policy that names every script of the page and lets no other run', async () => {
    const pages = readdirSync(BUILT, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('index.html'),
    )
    expect(pages.length).toBeGreaterThan(8)
    for (const name of pages) {
      const answer = await get(`/dashboard/${name.replace('index.html', '')}`)
      const policy = answer.headers.get('content-security-policy') ?? ''
      expect([name, answer.status]).toEqual([name, 200])
      expect(policy).toContain("default-src 'none'")
      expect(policy).toContain("frame-ancestors 'none'")
      expect(policy).not.toMatch(/unsafe-(inline|eval|hashes)/)
      // Taken apart in another way than the service does it.
      const html = readFileSync(path.join(BUILT, name), 'utf8')
      const scripts = html.split('<script').slice(1)
      const inline = scripts.filter((script) => !script.slice(0, script.indexOf('>')).includes('src='))
      expect(inline.length).toBeGreaterThan(0)
      for (const script of inline) {
        const text = script.slice(script.indexOf('>') + 1, script.indexOf('</script>'))
        expect(policy).toContain(`'sha256-${createHash('sha256').update(text).digest('base64')}'`)
      }
      expect(html).not.toMatch(/ style=|<style| on\w+=/)
      expect(answer.headers.get('cache-control')).toBe('no-cache')
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
    }
  })

  it('are kept for ever by browsers where their name is their content', async () => {
    const [script] =
      /\/dashboard\/_next\/static\/[^"]+\.js/.exec(await (await get('/dashboard/')).text()) ?? []
    const answer = await get(script ?? '')
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([
      200,
      'public, max-age=31536000, immutable',
    ])
  })

  it('are found by the links that messages carry, with what they name', async () => {
    const answer = await get('/dashboard/approvals/view?id=apr_1')
    expect([answer.status, answer.headers.get('location')]).toEqual([
      301,
      '/dashboard/approvals/view/?id=apr_1',
    ])
  })

  it('answer what is not there as a page to browsers and as a problem to programs', async () => {
    const page = await get('/dashboard/nowhere/')
    expect([page.status, page.headers.get('content-type')]).toEqual([404, 'text/html; charset=utf-8'])
    expect(await page.text()).toContain('There is no such page')
    expect(page.headers.get('content-security-policy')).toContain("'sha256-")
    for (const [place, accept] of [
      ['/dashboard/nowhere/', 'application/json'],
      ['/v1/nowhere', PAGE.Accept],
    ] as const) {
      const problem = await get(place, { Accept: accept })
      expect([place, problem.status, problem.headers.get('content-type')]).toEqual([
        place,
        404,
        'application/problem+json',
      ])
      expect(problem.headers.get('content-security-policy')).toContain("default-src 'none'")
    }
    expect((await fetch(`${app.url}/dashboard/`, { method: 'POST' })).status).toBe(404)
    for (const place of ['/dashboard/..%2f..%2fpackage.json', '/dashboard/%2e%2e/package.json'])
      expect([place, (await get(place, { Accept: '*/*' })).status]).toEqual([place, 404])
  })
})

it('says how to build the dashboard where it is not', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'agentguard-no-dashboard-'))
  const testing = await Test.createTestingModule({}).compile()
  const app = testing.createNestApplication<NestExpressApplication>()
  try {
    serveDashboard(app, folder)
    await app.listen(0, '127.0.0.1')
    const { port } = app.getHttpServer().address() as AddressInfo
    const answer = await fetch(`http://127.0.0.1:${port}/dashboard/approvals/`, { headers: PAGE })
    expect([answer.status, answer.headers.get('content-type')]).toEqual([404, 'application/problem+json'])
    expect(((await answer.json()) as { detail: string }).detail).toContain('npm run build:ui')
  } finally {
    await app.close()
    rmSync(folder, { recursive: true, force: true })
  }
})
