import { existsSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'
import { firstOwner, PASSWORD } from './support/people.js'

/**
 * What cookies and requests of other sites really do, in a real browser. Without one these tests say that they did not
 * run: CI has it.
 */
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium'
const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
]
const EMAIL = 'owner@example.com'
const missing = !existsSync(CHROMIUM)
if (missing) process.stderr.write(`\nNOT RUN: test/browser.e2e-spec.ts needs ${CHROMIUM} (or CHROMIUM=…)\n\n`)
const suite = missing ? describe.skip : describe

jest.setTimeout(120_000)

suite('in a real browser', () => {
  let app: RunningApp
  let proxied: RunningApp
  let evil: Server
  let browser: Browser
  let context: BrowserContext
  let page: Page

  beforeAll(async () => {
    app = await startApp({ settings: { public_url: undefined, cors_origins: [] } })
    proxied = await startApp({
      database: app.database,
      settings: { public_url: 'https://guard.example.com', cors_origins: [] },
    })
    await firstOwner(new Client(app.url, { 'X-Admin-Key': app.admin_key }))
    evil = createServer((_, response) => {
      response.setHeader('content-type', 'text/html')
      response.end('<title>another site</title>')
    })
    await new Promise<void>((resolve) => evil.listen(0, resolve))
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS })
  })
  afterAll(async () => {
    await browser?.close()
    evil?.close()
    await proxied?.close()
    await app?.close()
  })
  beforeEach(async () => {
    context = await browser.newContext()
    page = await context.newPage()
  })
  afterEach(() => context.close())

  /** Another origin: of the same site (another port of this host), or of another site. */
  const elsewhere = (host: string): string => `http://${host}:${(evil.address() as AddressInfo).port}`

  /** Signs in as our own page would. */
  async function signIn(url: string): Promise<number> {
    await page.goto(`${url}/docs`)
    return page.evaluate(
      async (body) => {
        const headers = { 'Content-Type': 'application/json' }
        return (await fetch('/auth/login', { method: 'POST', headers, body })).status
      },
      JSON.stringify({ email: EMAIL, password: PASSWORD }),
    )
  }

  /** What `GET /auth/me` answers to the page that is open. */
  const me = (): Promise<number> => page.evaluate(async () => (await fetch('/auth/me')).status)

  const logout = (headers: Record<string, string>): Promise<number> =>
    page.evaluate(
      async (sent) => (await fetch('/auth/logout', { method: 'POST', headers: sent })).status,
      headers,
    )

  it('keeps the session in a cookie that scripts do not see, until the browser closes', async () => {
    expect(await signIn(app.url)).toBe(200)
    expect(await context.cookies(app.url)).toEqual([
      expect.objectContaining({
        name: 'agentguard_session',
        value: expect.stringMatching(/^sst_/),
        domain: '127.0.0.1',
        path: '/',
        httpOnly: true,
        secure: false,
        sameSite: 'Lax',
        expires: -1,
      }),
    ])
    expect(await page.evaluate(() => document.cookie)).toBe('')
    expect(await me()).toBe(200)
  })

  it('keeps it as __Host- and Secure where the service is reached by https', async () => {
    expect(await signIn(proxied.url)).toBe(200)
    expect(await context.cookies(proxied.url)).toEqual([
      expect.objectContaining({ name: '__Host-agentguard_session', secure: true, httpOnly: true, path: '/' }),
    ])
    expect(await page.evaluate(() => document.cookie)).toBe('')
  })

  it('signs out with the header of our pages, not without it, and the cookie is gone', async () => {
    await signIn(app.url)
    expect(await logout({})).toBe(403)
    expect(await me()).toBe(200)
    expect(await logout({ 'X-AgentGuard-CSRF': '1' })).toBe(204)
    expect(await context.cookies(app.url)).toEqual([])
    expect(await me()).toBe(401)
  })

  it.each(['127.0.0.1', 'localhost'])('lets a form of %s change nothing', async (host) => {
    await signIn(app.url)
    await page.goto(elsewhere(host))
    const sent = page.waitForResponse((response) => response.url() === `${app.url}/auth/logout`)
    await page.evaluate((action) => {
      const form = document.createElement('form')
      form.method = 'POST'
      form.action = action
      document.body.append(form)
      form.submit()
    }, `${app.url}/auth/logout`)
    const response = await sent
    await page.waitForURL(`${app.url}/auth/logout`)
    // To another port of the same host the browser does send the cookie: there the header is what protects.
    const { cookie } = await response.request().allHeaders()
    expect([cookie !== undefined, response.status()]).toEqual(
      host === '127.0.0.1' ? [true, 403] : [false, 401],
    )
    await page.goto(`${app.url}/docs`)
    expect(await me()).toBe(200)
  })

  it.each(['127.0.0.1', 'localhost'])('lets a script of %s neither read nor change', async (host) => {
    await signIn(app.url)
    await page.goto(elsewhere(host))
    const outcomes = await page.evaluate(async (url) => {
      const attempt = async (path: string, init: RequestInit): Promise<string> => {
        try {
          const answer = await fetch(url + path, { credentials: 'include', ...init })
          return `answered ${answer.type} ${answer.status}`
        } catch {
          return 'refused'
        }
      }
      return [
        await attempt('/auth/me', {}),
        await attempt('/auth/logout', { method: 'POST', headers: { 'X-AgentGuard-CSRF': '1' } }),
        await attempt('/auth/logout', { method: 'POST', mode: 'no-cors' }),
        await attempt('/auth/login', {
          method: 'POST',
          headers: { 'Content-Type': 'application/json' },
          body: '{}',
        }),
      ]
    }, app.url)
    expect(outcomes).toEqual(['refused', 'refused', 'refused', 'refused'])
    await page.goto(`${app.url}/docs`)
    expect(await me()).toBe(200)
  })
})
