import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { startApp } from './support/app.js'
import { type AskingAgent, ask, Office, pending } from './support/approvals.js'
import { startBrowser, withBrowser } from './support/chromium.js'
import { Client } from './support/client.js'
import { buildDashboard, complaintsOf, picture } from './support/dashboard.js'
import { CLIENT, startIdentityProvider } from './support/identity-provider.js'
import { firstOwner, PASSWORD, signIn as sessionOf, tokenOf } from './support/people.js'
import { Receiver } from './support/receiver.js'
import { freePort } from './support/replica.js'

const OWNER = 'owner@example.com'
const ADMIN = 'admin@example.com'
const APPROVER = 'approver@example.com'
const VIEWER = 'viewer@example.com'

/** What an agent can have shown. Were any of it read as HTML, the title of the page would be another. */
const HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'
const TURNED = 'pay \u202Eelpmaxe\u202C \u200Ball'

withBrowser('the dashboard in a real browser', () => {
  let office: Office
  let signer: string
  let agent: AskingAgent
  let owner: Client
  let browser: Browser
  let context: BrowserContext
  let page: Page
  let complaints: string[]

  beforeAll(async () => {
    buildDashboard()
    signer = mkdtempSync(path.join(tmpdir(), 'agentguard-dashboard-'))
    office = await Office.open({
      settings: {
        public_url: undefined,
        cors_origins: [],
        outbound_allow: ['127.0.0.1'],
        ledger_signer_dir: signer,
      },
    })
    await firstOwner(office.root, OWNER)
    for (const [email, role] of Object.entries({
      [ADMIN]: 'admin',
      [APPROVER]: 'approver',
      [VIEWER]: 'viewer',
    }))
      await member(email, role)
    owner = await sessionOf(office.app.url, OWNER)
    agent = await office.agent([{ action: 'send:email' }, { action: 'drop:table', workflow: 'critical' }], {
      by: owner,
    })
    browser = await startBrowser()
  })
  afterAll(async () => {
    await browser?.close()
    await office?.close()
    rmSync(signer, { recursive: true, force: true })
  })
  beforeEach(async () => {
    context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
    context.setDefaultTimeout(120_000) // a loaded machine is slow, not wrong
    page = await context.newPage()
    complaints = complaintsOf(page)
  })
  afterEach(async () => {
    const found = [...complaints]
    await context.close()
    expect(found).toEqual([])
  })

  async function member(email: string, role: string): Promise<void> {
    const made = await office.root.post<{ link: string }>('/invitations', { email, roles: [role] })
    const accepted = { token: tokenOf(made.body.link), name: `The ${role}`, password: PASSWORD }
    const answer = await new Client(office.app.url).post('/invitations/accept', accepted)
    if (answer.status !== 201) throw new Error(answer.text)
  }

  const at = (place: string): string => `${office.app.url}/dashboard${place}`

  /** Fills the form that is open. */
  async function signIn(email: string): Promise<void> {
    await page.getByLabel('Email').fill(email)
    await page.getByLabel('Password').fill(PASSWORD)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  }

  /** Opens a page as somebody who is not signed in yet. */
  async function openAs(email: string, place: string): Promise<void> {
    await page.goto(at(place))
    await signIn(email)
  }

  const request = (n: number, more: object = {}) => ({
    action: 'send:email',
    resource: 'mail://customer',
    arguments: { n },
    ...more,
  })

  it('leads from the link of a message over the sign-in to the exact request, and a yes there lets the agent go on', async () => {
    const asked = request(1, { arguments: { to: 'ada@example.com', amount: 1200 } })
    const approval_id = await pending(agent, asked)
    // The link as messages spell it: no slash before the question mark.
    await page.goto(at(`/approvals/view?id=${approval_id}`))
    await page.waitForURL(/\/dashboard\/sign-in\/\?return=/)
    await picture(page, 'sign-in')
    await signIn(APPROVER)
    await page.waitForURL(at(`/approvals/view/?id=${approval_id}`))
    await page.getByLabel('Arguments').waitFor()
    expect(JSON.parse((await page.getByLabel('Arguments').textContent()) ?? '')).toEqual(asked.arguments)
    await page.getByRole('region', { name: 'The rule that asks' }).getByText('version 1').waitFor()
    const approve = page.getByRole('button', { name: 'Approve once' })
    expect(await approve.isDisabled()).toBe(true) // without a reason
    await picture(page, 'approval')
    await page.getByLabel('Reason').fill('a known customer')
    await approve.click()
    await page.getByText('exactly this request', { exact: true }).waitFor()
    expect(await ask(agent, { ...asked, approval_id })).toMatchObject({
      allowed: true,
      code: 'approval_granted',
    })
    // Told by the stream, not by asking again.
    await page.getByText('used it').waitFor()
    await picture(page, 'approval-used')
    await page.getByText('a known customer').first().waitFor()
  })

  it('shows what waits as it comes, hides what a role may not open, and says a refusal in the words of the API', async () => {
    await openAs(APPROVER, '/approvals/')
    await page.getByText('Live', { exact: true }).waitFor()
    const approval_id = await pending(agent, { action: 'drop:table', resource: 'db://main/orders' })
    await page.getByRole('link', { name: 'drop:table' }).click()
    await page.waitForURL(at(`/approvals/view/?id=${approval_id}`))
    await page.getByLabel('Reason').fill('looks fine')
    await page.getByRole('button', { name: 'Approve once' }).click()
    await page.getByText('The workflow of this approval lets other roles or teams decide.').waitFor()
    await picture(page, 'refused')
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.waitForURL(/\/sign-in\/$/)
    expect((await context.cookies()).filter(({ value }) => value !== '')).toEqual([])

    await openAs(OWNER, `/approvals/view/?id=${approval_id}`)
    await page.getByLabel('Reason').fill('my own agent')
    await page.getByRole('button', { name: 'Approve once' }).click()
    await page.getByText('Nobody approves their own request. It needs somebody else.').waitFor()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.waitForURL(/\/sign-in\/$/)

    await openAs(VIEWER, '/')
    await page.getByRole('heading', { name: 'Approval quality' }).waitFor()
    const places = page.getByRole('navigation', { name: 'Pages' }).getByRole('link')
    expect(await places.allTextContents()).toEqual(['Approval quality'])
    // What is hidden is refused all the same.
    await page.goto(at(`/approvals/view/?id=${approval_id}`))
    await page.getByText('This principal may not do this').waitFor()
  })

  it('grants more than was asked for only in a second step, shows it as that, and takes it back', async () => {
    const approval_id = await pending(agent, request(3))
    await openAs(APPROVER, `/approvals/view/?id=${approval_id}`)
    await page.getByLabel('Reason').fill('the whole campaign')
    await page.getByRole('button', { name: 'Grant more than this request…' }).click()
    await page.getByLabel('Resource pattern').fill('mail://*')
    await page.getByLabel('Uses').fill('3')
    await picture(page, 'wider-grant')
    await page.getByRole('button', { name: 'Look at what that allows' }).click()
    const grant = page.getByRole('button', { name: 'Grant all of this' })
    expect(await grant.isDisabled()).toBe(true)
    await page.getByRole('checkbox').check()
    await grant.click()
    await page.getByText('more than this request:').waitFor()
    await picture(page, 'wider-granted')
    const more = { ...request(4), resource: 'mail://other' }
    expect(await ask(agent, { ...more, approval_id })).toMatchObject({ allowed: true })
    await page.getByRole('button', { name: 'Take back what is left…' }).click()
    await page.getByRole('dialog').getByLabel('Reason').fill('the campaign is over')
    await page.getByRole('button', { name: 'Take it back' }).click()
    await page.getByText('took back what was left').waitFor()
    expect(await ask(agent, { ...request(5), approval_id })).toMatchObject({ allowed: false })
  })

  it('shows what an agent sends as text, whatever it is', async () => {
    const hostile = {
      action: `send email ${HOSTILE}`,
      resource: `mail://${HOSTILE}`,
      arguments: { [HOSTILE]: HOSTILE, turned: TURNED },
      context: { html: HOSTILE },
    }
    const approval_id = await pending(agent, hostile)
    await openAs(OWNER, '/approvals/')
    await page.getByRole('link', { name: HOSTILE }).waitFor()
    await page.goto(at(`/approvals/view/?id=${approval_id}`))
    const shown = await page.getByLabel('Arguments').textContent()
    expect(shown).toContain(JSON.stringify(HOSTILE))
    expect(shown).toContain('pay ⟨U+202E⟩elpmaxe⟨U+202C⟩ ⟨U+200B⟩all')
    await picture(page, 'hostile')
    await page.getByLabel('Reason').fill(HOSTILE)
    await page.getByRole('button', { name: 'Deny' }).click()
    await page.getByText(HOSTILE).last().waitFor()
    // The decision, its payload, and its proof.
    await page.getByRole('link', { name: /^[0-9a-f-]{36}$/ }).click()
    await page.getByRole('heading', { name: 'decision.made' }).waitFor()
    await page.getByRole('link', { name: 'Download the proof' }).waitFor()
    expect(await page.getByLabel('Context').textContent()).toContain(JSON.stringify(HOSTILE))
    await picture(page, 'log-entry')
    expect(await page.locator('main img, main script').count()).toBe(0)
    expect(await page.title()).not.toContain('owned')
  })

  it('runs no script that is not its own, though one stands in the page', async () => {
    await openAs(VIEWER, '/')
    await page.getByRole('heading', { name: 'Approval quality' }).waitFor()
    const ran = await page.evaluate(async () => {
      const script = document.createElement('script')
      script.textContent = 'document.title = "owned"'
      document.body.append(script)
      await new Promise((resolve) => setTimeout(resolve))
      return document.title
    })
    expect(ran).not.toBe('owned')
    // The one complaint that is wanted.
    expect(complaints.splice(0)).toEqual([expect.stringContaining('Content Security Policy')])
  })

  it('signs in through the identity provider, and then shows what the link named', async () => {
    for (const level of ['warn', 'info'] as const) jest.spyOn(console, level).mockImplementation(() => {})
    const port = await freePort()
    const public_url = `http://127.0.0.1:${port}`
    const people = { ada: { email: 'ada@example.com', email_verified: true, name: 'Ada' } }
    const provider = await startIdentityProvider(people, `${public_url}/v1/auth/oidc/callback`)
    const settings = { public_url, port, outbound_allow: ['127.0.0.1'], cors_origins: [] }
    const house = await startApp({ settings })
    try {
      await page.goto(`${public_url}/dashboard/kill-switch`)
      await page.getByRole('button', { name: 'Use single sign-on instead' }).click()
      await page.getByLabel('Organization').fill('org_default')
      const onward = page.getByRole('button', { name: 'Continue to your identity provider' })
      await onward.click()
      await page.getByText('This organization has no single sign-on.').waitFor()
      const root = new Client(public_url, { 'X-Admin-Key': house.admin_key })
      const connection = { issuer: provider.issuer, ...CLIENT, default_roles: ['operator'] }
      expect((await root.put('/organization/single-sign-on', connection)).status).toBe(200)
      expect(complaints).toEqual([])
      await onward.click()
      await page.fill('input[name=login]', 'ada')
      await page.fill('input[name=password]', 'x')
      await page.click('button[type=submit]')
      await page.getByRole('heading', { name: 'Kill switch' }).waitFor()
      expect(page.url()).toBe(`${public_url}/dashboard/kill-switch/`)
      complaints.splice(0) // the provider's page asks for fonts of the internet
      await page.goto('about:blank') // lets go of the stream
    } finally {
      await house.close()
      await provider.close()
    }
  })

  it('goes nowhere else after signing in', async () => {
    for (const elsewhere of [
      'https://evil.example/',
      '//evil.example/',
      '/\\evil.example',
      '/docs',
      '/dashboard/../docs',
    ]) {
      await page.goto(at(`/sign-in/?return=${encodeURIComponent(elsewhere)}`))
      await signIn(VIEWER)
      await page.getByRole('heading', { name: 'Approval quality' }).waitFor()
      expect(page.url()).toBe(at('/approval-quality/'))
      await context.clearCookies()
    }
  })

  it('stops the organization with a reason and its name typed, and two people let it go on', async () => {
    await owner.put('/kill-switch/settings', { two_people: true })
    const name = (await owner.get<{ organization: { name: string } }>('/auth/me')).body.organization.name
    await openAs(OWNER, '/kill-switch/')
    await page.getByText('Nothing is stopped').waitFor()
    await page.getByRole('button', { name: 'Stop something…' }).click()
    await page.getByLabel('What', { exact: true }).selectOption('organization')
    await page.getByLabel('Why').fill('They all send mail')
    const stop = page.getByRole('button', { name: 'Stop it now' })
    expect(await stop.isDisabled()).toBe(true)
    await page.getByLabel(`Type ${name} to confirm`).fill(name)
    await picture(page, 'kill-activate')
    await stop.click()
    await page.getByRole('listitem').getByText('They all send mail').waitFor()
    expect(await ask(agent, { action: 'read:file' })).toMatchObject({
      allowed: false,
      code: 'kill_switch_active',
    })
    await page.getByRole('button', { name: 'Let it go on…' }).click()
    await page.getByLabel('Why it may go on').fill('corrected')
    await page.getByRole('button', { name: 'Let it go on', exact: true }).click()
    await page.getByText('Somebody else must ask as well').waitFor()
    await picture(page, 'kill-active')
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.waitForURL(/\/sign-in\/$/)
    expect(await ask(agent, { action: 'read:file' })).toMatchObject({ allowed: false })
    await openAs(ADMIN, '/kill-switch/')
    await page.getByRole('button', { name: 'Confirm as the second person…' }).click()
    await page.getByLabel('Why it may go on').fill('I looked at it too')
    await page.getByRole('button', { name: 'Let it go on', exact: true }).click()
    await page.getByText('Nothing is stopped').waitFor()
    await page.getByText('I looked at it too').waitFor()
    expect(await ask(agent, { action: 'read:file' })).toMatchObject({ allowed: true })
  })

  it('runs a drill, shows how long stopping took, and lists the drills before', async () => {
    await openAs(OWNER, '/kill-switch/')
    await page.getByText('No drill has been run yet').waitFor()
    await page.getByRole('button', { name: 'Run a drill' }).click()
    await page.getByText('The agent was denied, and nothing was allowed after that.').waitFor()
    const row = page.getByRole('table', { name: 'Past drills' }).getByRole('row').nth(1)
    await row.getByText('Held').waitFor()
    expect(await row.getByText(/^\d+ ms$/).count()).toBeGreaterThanOrEqual(2)
    await picture(page, 'drill')
  })

  it('sends a delivery again that had failed', async () => {
    const receiver = await Receiver.start((response) => response.writeHead(410).end())
    try {
      const made = await owner.post<{ webhook_id: string }>('/webhooks', {
        name: 'Operations desk',
        url: receiver.url,
        events: ['approval.*'],
      })
      const { webhook_id } = made.body
      await owner.post(`/webhooks/${webhook_id}/test`, undefined)
      await receiver.arrived(1)
      await openAs(OWNER, '/webhooks/')
      await page.getByRole('link', { name: 'Operations desk' }).click()
      const row = page.getByRole('row').filter({ hasText: 'webhook.tested' })
      await row.getByText('failed', { exact: true }).waitFor()
      receiver.answer = (response) => response.end()
      await owner.call('PATCH', `/webhooks/${webhook_id}`, { body: { is_enabled: true } })
      await picture(page, 'deliveries')
      await page.getByRole('button', { name: /^Send webhook\.tested of entry \d+ again$/ }).click()
      await receiver.arrived(2)
      await row.getByText('delivered', { exact: true }).waitFor()
      expect(receiver.received[1]?.headers['webhook-id']).toBe(receiver.received[0]?.headers['webhook-id'])
    } finally {
      await receiver.close()
    }
  })

  it('says how people decide, and fits a narrow and a dark screen', async () => {
    await page.setViewportSize({ width: 390, height: 800 })
    await page.emulateMedia({ colorScheme: 'dark' })
    await openAs(OWNER, '/approval-quality/')
    await page.getByRole('table', { name: 'By approver' }).getByText('The approver').waitFor()
    for (const place of ['/approval-quality/', '/approvals/?status=all', '/kill-switch/', '/webhooks/']) {
      await page.goto(at(place))
      await page.getByRole('button', { name: 'Sign out' }).waitFor()
      await page.getByRole('status', { name: /Loading/ }).waitFor({ state: 'detached' })
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      expect([place, wide]).toEqual([place, 0])
      await picture(page, `narrow-${place.replace(/\W+/g, '-')}`)
    }
    expect(await page.evaluate(() => document.documentElement.dataset.theme)).toBe('dark')
    await page.setViewportSize({ width: 1280, height: 900 })
    await page.goto(at('/approvals/?status=all'))
    await page.getByRole('table', { name: 'Approvals' }).waitFor()
    await picture(page, 'dark-approvals')
  })

  it('makes a member of who follows their invitation', async () => {
    const email = 'newcomer@example.com'
    const made = await office.root.post<{ link: string }>('/invitations', { email, roles: ['viewer'] })
    const link = new URL(made.body.link)
    await page.goto(`${office.app.url}${link.pathname}${link.hash}`)
    await page.getByLabel('Your name').fill('Newcomer')
    await page.getByLabel('Password').fill(PASSWORD)
    await page.getByRole('button', { name: 'Set the password' }).click()
    await page.waitForURL(/\/sign-in\/$/)
    await signIn(email)
    await page.getByRole('heading', { name: 'Approval quality' }).waitFor()
  })
})
