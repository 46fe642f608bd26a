import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { type RunningApp, startApp } from './support/app.js'
import { startBrowser, withBrowser } from './support/chromium.js'
import { Client } from './support/client.js'
import { CLIENT, startIdentityProvider } from './support/identity-provider.js'
import { firstOwner, PASSWORD, signIn as signInElsewhere, tokenOf } from './support/people.js'
import { freePort } from './support/replica.js'

/** What cookies and requests of other sites really do, in a real browser. */
const EMAIL = 'owner@example.com'
withBrowser('people in a real browser', () => {
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
    browser = await startBrowser()
  })
  afterAll(async () => {
    await browser?.close()
    evil?.close()
    await proxied?.close()
    await app?.close()
  })
  beforeEach(async () => {
    context = await browser.newContext()
    context.setDefaultTimeout(120_000) // a loaded machine is slow, not wrong
    page = await context.newPage()
  })
  afterEach(() => context.close())

  /** Another origin: of the same site (another port of this host), or of another site. */
  const elsewhere = (host: string): string => `http://${host}:${(evil.address() as AddressInfo).port}`

  /** Signs in as our own page would. */
  async function signIn(url: string): Promise<void> {
    await page.goto(`${url}/docs`)
    const status = await page.evaluate(
      async (body) => {
        const headers = { 'Content-Type': 'application/json' }
        return (await fetch('/auth/login', { method: 'POST', headers, body })).status
      },
      JSON.stringify({ email: EMAIL, password: PASSWORD }),
    )
    expect(status).toBe(200)
  }

  /** What `GET /auth/me` answers to the page that is open. */
  const me = (): Promise<number> => page.evaluate(async () => (await fetch('/auth/me')).status)

  const logout = (headers: Record<string, string>): Promise<number> =>
    page.evaluate(
      async (sent) => (await fetch('/auth/logout', { method: 'POST', headers: sent })).status,
      headers,
    )

  it('keeps the session in a cookie that scripts do not see, until the browser closes', async () => {
    await signIn(app.url)
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
    await signIn(proxied.url)
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

  /** What our own pages send with a change; the status of the answer. */
  const change = (method: string, path: string, body?: object): Promise<number> =>
    page.evaluate(
      async ([sent, at, json]) => {
        const headers = { 'Content-Type': 'application/json', 'X-AgentGuard-CSRF': '1' }
        return (await fetch(at ?? '', { method: sent, headers, ...(json && { body: json }) })).status
      },
      [method, path, body && JSON.stringify(body)],
    )

  it('accepts an invitation by its link, whose token no server is sent, and signs in', async () => {
    await signIn(app.url)
    const email = 'guest@example.com'
    const root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
    const { link } = (await root.post<{ link: string }>('/invitations', { email, roles: ['viewer'] })).body
    const asked: string[] = []
    page.on('request', (request) => asked.push(request.url() + (request.headers().referer ?? '')))
    await page.goto(`${app.url}/docs${new URL(link).hash}`)
    const token = await page.evaluate(() => window.location.hash.replace('#token=', ''))
    expect(token).toBe(tokenOf(link))
    const guest = { token, name: 'Guest', password: PASSWORD }
    expect(await change('POST', '/invitations/accept', guest)).toBe(201)
    expect(await change('POST', '/invitations/accept', guest)).toBe(404) // once
    expect(asked.filter((url) => url.includes(token))).toEqual([])
    expect(await change('POST', '/auth/login', { email, password: PASSWORD })).toBe(200)
    expect(await page.evaluate(async () => (await (await fetch('/auth/me')).json()) as object)).toMatchObject(
      {
        member: { email, roles: ['viewer'] },
      },
    )
  })

  it('is signed out when its session is revoked from another browser, and signs in anew with another cookie', async () => {
    await signIn(app.url)
    const [first] = await context.cookies(app.url)
    const session_id = await page.evaluate(
      async () => ((await (await fetch('/auth/me')).json()) as { session_id: string }).session_id,
    )
    const elsewhere_in = await signInElsewhere(app.url, EMAIL)
    expect((await elsewhere_in.delete(`/auth/sessions/${session_id}`)).status).toBe(204)
    expect(await me()).toBe(401)
    await signIn(app.url)
    const [second] = await context.cookies(app.url)
    expect(second?.value).not.toBe(first?.value)
    expect(await me()).toBe(200)
  })

  it('signs in through a real OpenID provider, and only the browser that began the journey', async () => {
    for (const level of ['warn', 'info'] as const) jest.spyOn(console, level).mockImplementation(() => {})
    const port = await freePort()
    const public_url = `http://127.0.0.1:${port}`
    const people = { ada: { email: 'ada@example.com', email_verified: true, name: 'Ada' } }
    const provider = await startIdentityProvider(people, `${public_url}/v1/auth/oidc/callback`)
    const settings = { public_url, port, outbound_allow: ['127.0.0.1'], cors_origins: [] }
    const house = await startApp({ settings })
    try {
      const root = new Client(public_url, { 'X-Admin-Key': house.admin_key })
      const connection = { issuer: provider.issuer, ...CLIENT, default_roles: ['viewer'] }
      expect((await root.put('/organization/single-sign-on', connection)).status).toBe(200)
      const back = page.waitForRequest((request) => request.url().includes('/auth/oidc/callback?'))
      await page.goto(`${public_url}/auth/oidc/start?organization=org_default`)
      expect(new URL(page.url()).origin).toBe(provider.issuer)
      const [journey] = await context.cookies(public_url)
      expect(journey).toMatchObject({ name: 'agentguard_sign_on', httpOnly: true, sameSite: 'Lax' })
      await page.fill('input[name=login]', 'ada')
      await page.fill('input[name=password]', 'x')
      await page.click('button[type=submit]')
      const callback = (await back).url()
      await page.waitForURL(`${public_url}/dashboard/**`)
      const ours = (await context.cookies(public_url)).filter(({ name }) => name.startsWith('agentguard'))
      expect(ours.map(({ name }) => name)).toEqual(['agentguard_session'])
      await page.goto(`${public_url}/docs`)
      expect(await me()).toBe(200)
      // Whoever is given the address of another's return has no cookie that fits.
      const other = await browser.newContext()
      const theirs = await other.newPage()
      expect((await theirs.goto(callback))?.status()).toBe(401)
      expect(await other.cookies(public_url)).toEqual([])
      await other.close()
    } finally {
      await house.close()
      await provider.close()
    }
  })
})
