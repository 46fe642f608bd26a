import { Client as PgClient } from 'pg'
import type { Member } from '../src/members/members.dto.js'
import type { Organization } from '../src/organizations/organizations.dto.js'
import { PasswordsService } from '../src/passwords/passwords.service.js'
import type { SetUpLink } from '../src/setup/setup.dto.js'
import type { Me, Session } from '../src/sign-in/sign-in.dto.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'
import { browser, cookieOf, firstOwner, PASSWORD, signIn, tokenOf } from './support/people.js'
import { until } from './support/proofs.js'
import { recorded } from './support/recorded.js'

/** As on a laptop: reached as http://localhost. */
const LOCAL = { public_url: undefined }

let app: RunningApp
let root: Client
let nobody: Client
let owner: PgClient

beforeAll(async () => {
  app = await startApp({ settings: LOCAL })
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  nobody = new Client(app.url)
  owner = new PgClient({ connectionString: app.database.owner_url })
  await owner.connect()
  await firstOwner(root)
})
afterAll(async () => {
  await owner?.end()
  await app?.close()
})
afterEach(() => owner.query('DELETE FROM sign_in_failures'))

const login = (body: Record<string, unknown>, headers = {}) => nobody.post<Me>('/auth/login', body, headers)
const EMAIL = 'owner@example.com'

/** As after a thousand failures of every account so far, without the wait: the next one brings the longest. */
const failOften = () =>
  owner.query(`UPDATE sign_in_failures SET failures = 1000, blocked_until = now() WHERE scope = 'account'`)

/** An organization of its own, with an owner. */
async function organization(name: string, email: string): Promise<{ org_id: string; member: Member }> {
  const { org_id } = (await root.post<Organization>('/organizations', { name })).body
  const { member } = await firstOwner(root.with({ ...root.headers, 'X-Org-ID': org_id }), email)
  return { org_id, member }
}

describe('the set-up link', () => {
  const inside = async () => {
    const { org_id } = (await root.post<Organization>('/organizations', { name: 'Fresh' })).body
    return { org_id, admin: root.with({ ...root.headers, 'X-Org-ID': org_id }) }
  }
  const body = (token: string) => ({ token, email: 'ada@example.com', name: 'Ada', password: PASSWORD })

  it('makes one owner, once, and carries its token where no server sees it', async () => {
    const { org_id, admin } = await inside()
    const { link, expires_at } = (await admin.post<SetUpLink>('/setup-links', undefined)).body
    expect(link).toMatch(/^http:\/\/localhost:\d+\/dashboard\/setup\/#token=stp_[0-9A-Za-z]{49}$/)
    expect(Date.parse(String(expires_at)) - Date.now()).toBeGreaterThan(23 * 3600_000)
    const made = await nobody.post('/setup', body(tokenOf(link)))
    expect(made.status).toBe(201)
    expect(made.body).toMatchObject({
      org_id,
      member: { email: 'ada@example.com', roles: ['owner'], team: null, is_active: true },
    })
    const again = await nobody.post('/setup', body(tokenOf(link)))
    expect([again.status, again.body.code]).toEqual([404, 'link_not_valid'])
    expect((await admin.post('/setup-links', undefined)).body.code).toBe('conflict')
    expect((await recorded(app.app, org_id)).map(({ event }) => event)).toEqual([
      'organization.created',
      'setup_link.created',
      'member.created',
      'setup_link.used',
    ])
  })

  it('answers for an unknown, a replaced, an old and a suspended one with the same bytes', async () => {
    const { org_id, admin } = await inside()
    const replaced = tokenOf((await admin.post<SetUpLink>('/setup-links', undefined)).body.link)
    const old = tokenOf((await admin.post<SetUpLink>('/setup-links', undefined)).body.link)
    const bytes = async (token: string) => {
      const { status, body: problem } = await nobody.post('/setup', body(token))
      return JSON.stringify([status, { ...problem, request_id: '' }])
    }
    const unknown = await bytes('nonsense')
    expect(unknown).toContain('link_not_valid')
    expect(await bytes(replaced)).toBe(unknown)
    await root.patch(`/organizations/${org_id}`, { is_active: false })
    expect(await bytes(old)).toBe(unknown)
    await root.patch(`/organizations/${org_id}`, { is_active: true })
    await owner.query(`UPDATE setup_links SET expires_at = now() WHERE org_id = $1`, [org_id])
    expect(await bytes(old)).toBe(unknown)
    // The control: but for its age it is good.
    await owner.query(`UPDATE setup_links SET expires_at = now() + interval '1 hour' WHERE org_id = $1`, [
      org_id,
    ])
    expect((await nobody.post('/setup', body(old))).status).toBe(201)
  })

  it('makes one owner of several who use it at once', async () => {
    const { admin } = await inside()
    const token = tokenOf((await admin.post<SetUpLink>('/setup-links', undefined)).body.link)
    const answers = await Promise.all(
      ['a', 'b', 'c'].map((name) => nobody.post('/setup', { ...body(token), email: `${name}@example.com` })),
    )
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 404, 404])
  })

  it('is the root key’s to make', async () => {
    const key = (await root.post<{ api_key: string }>('/admin-keys', { name: 'x', role: 'owner' })).body
      .api_key
    expect((await root.with({ 'X-Admin-Key': key }).post('/setup-links', undefined)).status).toBe(403)
  })

  it.each(['short', 'Password1234', 'ada@example.com', 'aaaaaaaaaaaaaaaa'])(
    'refuses the password %j and stays good',
    async (password) => {
      const { admin } = await inside()
      const token = tokenOf((await admin.post<SetUpLink>('/setup-links', undefined)).body.link)
      const refused = await nobody.post('/setup', { ...body(token), password })
      expect([refused.status, refused.body.errors?.map(({ path }) => path)]).toEqual([422, ['password']])
      expect(refused.text).not.toContain(password)
      expect((await nobody.post('/setup', body(token))).status).toBe(201)
    },
  )
})

describe('signing in', () => {
  it('sets a cookie that scripts cannot read, and says who it is for', async () => {
    const answer = await login({ email: ' Owner@Example.com ', password: PASSWORD })
    expect(answer.status).toBe(200)
    const [cookie, ...others] = answer.headers.getSetCookie()
    expect(others).toEqual([])
    expect(cookie).toMatch(/^agentguard_session=sst_[0-9A-Za-z]{49}; Path=\/; HttpOnly; SameSite=Lax$/)
    expect(answer.body).toMatchObject({
      kind: 'member',
      organization: { org_id: 'org_default', name: 'Default' },
      member: { email: EMAIL, roles: ['owner'], last_login_at: expect.any(String) },
      session_id: expect.stringMatching(/^ses_/),
    })
    expect(answer.text).not.toContain('sst_')
    const me = await browser(app.url, cookieOf(answer)).get<Me>('/auth/me')
    expect(me.body).toEqual(answer.body)
  })

  it('is Secure and __Host- wherever it is not plain http to this machine', async () => {
    const proxied = await startApp({
      database: app.database,
      settings: { public_url: 'https://guard.example.com' },
    })
    try {
      const body = { email: EMAIL, password: PASSWORD }
      const answer = await new Client(proxied.url).post('/auth/login', body)
      expect(answer.headers.getSetCookie()[0]).toMatch(
        /^__Host-agentguard_session=sst_\w+; Path=\/; HttpOnly; SameSite=Lax; Secure$/,
      )
      const origin = 'https://guard.example.com'
      const page = browser(proxied.url, cookieOf(answer)).with({ Cookie: cookieOf(answer) })
      expect((await page.get('/auth/me')).status).toBe(200)
      const changing = { Cookie: cookieOf(answer), 'X-AgentGuard-CSRF': '1', Origin: origin }
      expect((await page.with(changing).post('/auth/logout', undefined)).status).toBe(204)
      // The name that a subdomain could plant is not looked at there.
      const bare = cookieOf(await login(body))
      expect(bare).toMatch(/^agentguard_session=/)
      expect((await new Client(proxied.url, { Cookie: bare }).get('/auth/me')).status).toBe(401)
      expect((await new Client(app.url, { Cookie: bare }).get('/auth/me')).status).toBe(200)
    } finally {
      await proxied.close()
    }
  })

  it('gives a new token at every sign-in and ends the session that the browser had', async () => {
    const first = cookieOf(await login({ email: EMAIL, password: PASSWORD }))
    const second = cookieOf(await login({ email: EMAIL, password: PASSWORD }, { Cookie: first }))
    expect(second).not.toBe(first)
    expect((await browser(app.url, first).get('/auth/me')).status).toBe(401)
    expect((await browser(app.url, second).get('/auth/me')).status).toBe(200)
  })

  it('takes over no token that somebody planted', async () => {
    const planted = `agentguard_session=sst_${'0'.repeat(49)}`
    const answer = await login({ email: EMAIL, password: PASSWORD }, { Cookie: planted })
    expect(cookieOf(answer)).not.toContain('0'.repeat(49))
  })

  it('keeps hashes of token and password only, and tells the log no secret', async () => {
    const answer = await login({ email: EMAIL, password: PASSWORD })
    const token = cookieOf(answer).split('=')[1] ?? ''
    const { rows } = await owner.query(
      `SELECT (SELECT json_agg(s) FROM sessions s)::text || (SELECT json_agg(p) FROM member_passwords p)::text AS all`,
    )
    expect(rows[0].all).toContain('$argon2id$v=19$m=19456,t=2,p=1$')
    const log = JSON.stringify(await recorded(app.app))
    for (const text of [rows[0].all, log]) {
      expect(text).not.toContain(token)
      expect(text).not.toContain(PASSWORD)
    }
    expect((await recorded(app.app)).at(-1)).toMatchObject({
      event: 'session.created',
      actor: { kind: 'member', id: answer.body.member?.member_id },
      change: { kind: 'session', id: answer.body.session_id, op: 'created' },
      opened: { after: { method: 'password', failures_before: 0 } },
    })
  })

  it.each([
    [{ email: EMAIL }, 'password'],
    [{ email: 'nobody', password: 'x' }, 'email'],
    [{ email: EMAIL, password: ['x'] }, 'password'],
    [{ email: EMAIL, password: 'x', member_id: 'mem_x' }, 'member_id'],
    [{ email: EMAIL, password: 'x', roles: ['owner'] }, 'roles'],
  ])('refuses %j with the path', async (body, path) => {
    const answer = await nobody.post('/auth/login', body)
    expect([answer.status, answer.body.errors?.[0]?.path]).toEqual([422, path])
  })
})

describe('who belongs to several organizations', () => {
  it('chooses, but only among those that know the password', async () => {
    const email = 'many@example.com'
    const first = await organization('First', email)
    const second = await organization('Second', email)
    const third = await organization('Third', email)
    await owner.query(
      `UPDATE member_passwords SET hash = (SELECT hash FROM member_passwords LIMIT 1) WHERE org_id = $1`,
      [third.org_id],
    )
    const other = await signIn(app.url, email, PASSWORD, third.org_id)
    const changed = await other.post('/auth/password', {
      current_password: PASSWORD,
      new_password: 'another long secret here',
    })
    expect(changed.status).toBe(204)

    const answer = await nobody.post<{ organizations: unknown }>('/auth/login', { email, password: PASSWORD })
    expect(answer.status).toBe(409)
    expect(answer.headers.getSetCookie()).toEqual([])
    expect(answer.body).toMatchObject({
      code: 'organization_ambiguous',
      organizations: [
        { org_id: first.org_id, name: 'First' },
        { org_id: second.org_id, name: 'Second' },
      ],
    })
    const chosen = await login({ email, password: PASSWORD, organization: second.org_id })
    expect(chosen.body.organization.org_id).toBe(second.org_id)
    const only = await login({ email, password: 'another long secret here' })
    expect(only.body.organization.org_id).toBe(third.org_id)
  })

  it('verifies as many passwords for every address, whether it exists or not', async () => {
    const passwords = app.app.get(PasswordsService)
    const verify = jest.spyOn(passwords, 'verify')
    const counts: number[] = []
    for (const body of [
      { email: EMAIL, password: PASSWORD },
      { email: EMAIL, password: 'wrong' },
      { email: 'many@example.com', password: 'wrong' },
      { email: 'unknown@example.com', password: 'wrong' },
    ]) {
      verify.mockClear()
      await login(body)
      counts.push(verify.mock.calls.length)
      const dummies = verify.mock.calls.filter(([kept]) => kept === null).length
      expect(dummies).toBe({ [EMAIL]: 2, 'many@example.com': 0, 'unknown@example.com': 3 }[body.email])
    }
    expect(counts).toEqual([3, 3, 3, 3])
    verify.mockClear()
    await login({ email: 'unknown@example.com', password: 'x', organization: 'org_default' })
    expect(verify.mock.calls.map(([kept]) => kept)).toEqual([null])
    verify.mockRestore()
  })
})

describe('failing', () => {
  const bytes = async (body: Record<string, unknown>): Promise<string> => {
    const answer = await nobody.post('/auth/login', body)
    expect(answer.headers.getSetCookie()).toEqual([])
    return JSON.stringify([answer.status, { ...answer.body, request_id: '' }])
  }

  it('is one answer for an unknown address, a wrong password, a deactivated person and a suspended organization', async () => {
    const gone = await organization('Gone', 'gone@example.com')
    const closed = await organization('Closed', 'closed@example.com')
    await owner.query('UPDATE members SET is_active = false WHERE org_id = $1', [gone.org_id])
    await root.patch(`/organizations/${closed.org_id}`, { is_active: false })
    const wrong = await bytes({ email: EMAIL, password: 'wrong' })
    expect(wrong).toContain('"status":401')
    for (const body of [
      { email: 'unknown@example.com', password: PASSWORD },
      { email: 'gone@example.com', password: PASSWORD },
      { email: 'closed@example.com', password: PASSWORD },
      { email: 'closed@example.com', password: PASSWORD, organization: closed.org_id },
      { email: EMAIL, password: PASSWORD, organization: closed.org_id },
      { email: EMAIL, password: PASSWORD, organization: 'org_unknown' },
    ]) {
      expect(await bytes(body)).toBe(wrong)
    }
    await owner.query('UPDATE members SET is_active = true WHERE org_id = $1', [gone.org_id])
    expect((await login({ email: 'gone@example.com', password: PASSWORD })).status).toBe(200) // the control
  })

  it.each([EMAIL, 'unknown@example.com'])(
    'makes the account %s wait longer and longer, also for the right password',
    async (email) => {
      const delays: number[] = []
      for (let i = 0; i < 9; i++) {
        expect((await login({ email, password: 'wrong' })).status).toBe(401)
        const { rows } = await owner.query(
          `SELECT extract(epoch FROM blocked_until - last_at)::int AS s FROM sign_in_failures WHERE scope = 'account'`,
        )
        delays.push(rows[0].s)
        await owner.query('UPDATE sign_in_failures SET blocked_until = now()')
      }
      expect(delays).toEqual([0, 0, 0, 0, 1, 2, 4, 8, 16])
      await failOften()
      await login({ email, password: 'wrong' })
      const refused = await nobody.post('/auth/login', { email, password: PASSWORD })
      expect([refused.status, refused.body.code]).toEqual([429, 'too_many_failures'])
      expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(800)
      expect(Number(refused.headers.get('Retry-After'))).toBeLessThanOrEqual(900)
    },
  )

  it('starts anew after the right password, and after a day', async () => {
    const failures = async () => {
      const { rows } = await owner.query(`SELECT failures FROM sign_in_failures WHERE scope = 'account'`)
      return rows.map((row) => row.failures as number)
    }
    for (let i = 0; i < 4; i++) await login({ email: EMAIL, password: 'wrong' })
    expect(await failures()).toEqual([4])
    expect((await login({ email: EMAIL, password: PASSWORD })).status).toBe(200)
    expect(await failures()).toEqual([])
    for (let i = 0; i < 4; i++) await login({ email: EMAIL, password: 'wrong' })
    await owner.query(
      `UPDATE sign_in_failures SET last_at = now() - interval '25 hours' WHERE scope = 'account'`,
    )
    await login({ email: EMAIL, password: 'wrong' })
    expect(await failures()).toEqual([1])
  })

  it('makes an address wait whatever accounts it tries, and counts those at once one by one', async () => {
    await login({ email: 'no@example.com', password: 'x' })
    const set = (failures: number) =>
      owner.query(
        `UPDATE sign_in_failures SET failures = $1, blocked_until = now() WHERE scope = 'address'`,
        [failures],
      )
    await set(18)
    expect((await login({ email: 'no19@example.com', password: 'x' })).status).toBe(401)
    expect((await login({ email: 'no20@example.com', password: 'x' })).status).toBe(401)
    await set(29)
    const tries = Array.from({ length: 10 }, (_, i) => login({ email: `no${i}@example.com`, password: 'x' }))
    const statuses = (await Promise.all(tries)).map(({ status }) => status)
    expect(statuses.sort()).toEqual([401, ...Array<number>(9).fill(429)])
    expect((await login({ email: EMAIL, password: PASSWORD })).status).toBe(429)
    // A right password gives back the one try, not those before.
    await owner.query(`UPDATE sign_in_failures SET blocked_until = now() WHERE scope = 'address'`)
    expect((await login({ email: EMAIL, password: PASSWORD })).status).toBe(200)
    const { rows } = await owner.query(`SELECT failures FROM sign_in_failures WHERE scope = 'address'`)
    expect(rows).toEqual([{ failures: 30 }])
  })

  it('is shared by replicas', async () => {
    const replica = await startApp({ database: app.database, settings: LOCAL })
    try {
      await login({ email: EMAIL, password: 'wrong' })
      await failOften()
      await login({ email: EMAIL, password: 'wrong' })
      const body = { email: EMAIL, password: PASSWORD }
      expect((await new Client(replica.url).post('/auth/login', body)).status).toBe(429)
    } finally {
      await replica.close()
    }
  })

  it('is told to the log at 5, 10, 20 … failures and not at each; the table names nobody', async () => {
    const { org_id, member } = await organization('Watched', 'watched@example.com')
    const told = async () =>
      (await recorded(app.app, org_id)).filter(({ event }) => event === 'authentication.failed')
    for (let i = 0; i < 11; i++) {
      await owner.query(`UPDATE sign_in_failures SET blocked_until = now()`)
      await login({ email: 'watched@example.com', password: 'wrong' })
    }
    const entries = await until(async () => ((await told()).length === 2 ? told() : null))
    expect(entries).toMatchObject([
      { actor: { kind: 'system' }, change: { kind: 'member', id: member.member_id } },
      { change: { op: 'authentication_failed' } },
    ])
    expect(entries.map(({ opened }) => opened?.after)).toEqual([
      { failures: 5, address: expect.stringContaining('127.0.0.1') },
      { failures: 10, address: expect.stringContaining('127.0.0.1') },
    ])
    const { rows } = await owner.query(`SELECT json_agg(f)::text AS all FROM sign_in_failures f`)
    expect(rows[0].all).not.toContain('watched')
    expect(rows[0].all).not.toContain('127.0.0.1')
  })

  it('is counted as a metric', async () => {
    const read = async () => {
      const { text } = await root.get('/metrics')
      return Number(/agentguard_authentication_failures_total\{type="sign_in"\} (\d+)/.exec(text)?.[1] ?? 0)
    }
    const before = await read()
    await login({ email: 'unknown@example.com', password: 'x' })
    expect((await read()) - before).toBe(1)
  })
})

describe('a session', () => {
  it('does what its roles allow, in its own organization', async () => {
    const page = await signIn(app.url, EMAIL)
    const agent = await page.post('/agents', { name: 'a', owner_team: 't', environment: 'dev' })
    expect(agent.status).toBe(201)
    expect((await recorded(app.app)).at(-1)?.actor.kind).toBe('member')
    expect((await page.get('/organizations')).status).toBe(403)
    expect((await page.get('/agents', { 'X-Org-ID': 'org_other' })).status).toBe(404)
    expect((await page.get('/agents', { 'X-Org-ID': 'org_default' })).status).toBe(200)
    const enforced = await page.post('/enforce', { action: 'read' })
    expect([enforced.status, enforced.body.code]).toEqual([403, 'forbidden'])
  })

  it('is left aside where a key is presented, good or bad', async () => {
    const page = await signIn(app.url, EMAIL)
    const both = page.with({ ...page.headers, 'X-Admin-Key': app.admin_key })
    expect((await both.get<Me>('/auth/me')).body.kind).toBe('root')
    const wrong = page.with({ ...page.headers, 'X-Admin-Key': 'adk_wrong' })
    expect((await wrong.get('/auth/me')).status).toBe(401)
    // No page of another site can send that header, so a key needs no other proof.
    const key = page.with({ Cookie: page.headers.Cookie ?? '', 'X-Admin-Key': app.admin_key })
    expect((await key.post('/agents', { name: 'b', owner_team: 't', environment: 'dev' })).status).toBe(201)
  })

  it('changes nothing without the header and an Origin of ours', async () => {
    const { headers } = await signIn(app.url, EMAIL)
    const cookie = { Cookie: headers.Cookie ?? '' }
    const body = { name: 'forged', owner_team: 't', environment: 'dev' }
    const csrf = { 'X-AgentGuard-CSRF': '1' }
    for (const sent of [
      cookie,
      { ...cookie, ...csrf },
      { ...cookie, Origin: app.url },
      { ...cookie, Origin: app.url, 'X-AgentGuard-CSRF': 'true' },
      { ...cookie, ...csrf, Origin: 'https://evil.example' },
      { ...cookie, ...csrf, Origin: 'null' },
      { ...cookie, ...csrf, Origin: `${app.url}.evil.example` },
      { ...cookie, ...csrf, Origin: app.url.replace(/:\d+$/, ':1') },
    ]) {
      const refused = await nobody.with(sent).post('/agents', body)
      expect([sent, refused.status, refused.body.code]).toEqual([sent, 403, 'csrf_refused'])
    }
    expect((await root.get('/agents?name=forged')).text).toBe('[]')
    for (const Origin of [app.url, 'http://localhost:3000']) {
      expect((await nobody.with({ ...cookie, ...csrf, Origin }).post('/agents', body)).status).toBe(201)
    }
    expect((await nobody.with(cookie).get('/agents')).status).toBe(200) // what changes nothing needs neither
  })

  it('is not believed for every origin because CORS_ORIGINS=*', async () => {
    const open = await startApp({ database: app.database, settings: { ...LOCAL, cors_origins: ['*'] } })
    try {
      const page = await signIn(open.url, EMAIL)
      const evil = page.with({ ...page.headers, Origin: 'https://evil.example' })
      expect((await evil.post('/auth/logout', undefined)).body.code).toBe('csrf_refused')
      expect((await page.post('/auth/logout', undefined)).status).toBe(204)
    } finally {
      await open.close()
    }
  })

  it('is not begun by a page of another site', async () => {
    const body = { email: EMAIL, password: PASSWORD }
    const refused = await nobody.post('/auth/login', body, { Origin: 'https://evil.example' })
    expect([refused.status, refused.headers.getSetCookie()]).toEqual([403, []])
    expect((await nobody.post('/auth/login', body, { Origin: app.url })).status).toBe(200)
  })

  it('is over 30 minutes after its last use and 12 hours after its first, by the database’s clock', async () => {
    const page = await signIn(app.url, EMAIL)
    const { session_id } = (await page.get<Me>('/auth/me')).body
    const set = (what: string) =>
      owner.query(`UPDATE sessions SET ${what} WHERE session_id = $1`, [session_id])
    const status = async () => (await page.get('/auth/me')).status
    await set(`last_seen_at = now() - interval '29 minutes'`)
    expect(await status()).toBe(200)
    // That was a use: the half hour begins again.
    const { rows } = await owner.query(
      `SELECT last_seen_at > now() - interval '1 minute' AS fresh FROM sessions WHERE session_id = $1`,
      [session_id],
    )
    expect(rows).toEqual([{ fresh: true }])
    await set(`last_seen_at = now() - interval '31 minutes'`)
    expect(await status()).toBe(401)
    await set(`last_seen_at = now(), expires_at = now() + interval '1 minute'`)
    expect(await status()).toBe(200)
    await set(`expires_at = now()`)
    expect(await status()).toBe(401)
  })

  it('is listed without its token, and ended by its person alone', async () => {
    const one = await signIn(app.url, EMAIL)
    const two = await signIn(app.url, EMAIL)
    const listed = await one.get<Session[]>('/auth/sessions')
    expect(listed.text).not.toContain('sst_')
    expect(listed.body.filter(({ is_current }) => is_current)).toHaveLength(1)
    const other = (await two.get<Me>('/auth/me')).body.session_id ?? ''

    const { org_id } = await organization('Strangers', 'stranger@example.com')
    const stranger = await signIn(app.url, 'stranger@example.com', PASSWORD, org_id)
    const foreign = await stranger.delete(`/auth/sessions/${other}`)
    expect([foreign.status, foreign.body.code]).toEqual([404, 'session_not_found'])
    expect((await two.get('/auth/me')).status).toBe(200)

    expect((await one.delete(`/auth/sessions/${other}`)).status).toBe(204)
    expect((await two.get('/auth/me')).status).toBe(401)
    expect((await one.delete(`/auth/sessions/${other}`)).status).toBe(404)
    expect((await recorded(app.app)).at(-1)).toMatchObject({
      event: 'session.ended',
      change: { kind: 'session', id: other, op: 'ended' },
    })
  })

  it('is over with signing out, and the cookie taken back', async () => {
    const page = await signIn(app.url, EMAIL)
    const answer = await page.post('/auth/logout', undefined)
    expect([answer.status, answer.text]).toEqual([204, ''])
    expect(answer.headers.getSetCookie()).toEqual([
      'agentguard_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0',
    ])
    expect((await page.get('/auth/me')).body.code).toBe('invalid_credentials')
  })

  it('answers for a malformed, an unknown, an ended and a doubled cookie as one', async () => {
    const ended = await signIn(app.url, EMAIL)
    await ended.post('/auth/logout', undefined)
    const bytes = new Set<string>()
    for (const Cookie of [
      'agentguard_session=x',
      `agentguard_session=sst_${'0'.repeat(49)}`,
      ended.headers.Cookie ?? '',
    ]) {
      const { status, body } = await nobody.get('/auth/me', { Cookie })
      bytes.add(JSON.stringify([status, { ...body, request_id: '' }]))
    }
    expect(bytes.size).toBe(1)
    expect([...bytes][0]).toContain('[401')
    const good = (await signIn(app.url, EMAIL)).headers.Cookie ?? ''
    const doubled = await nobody.get('/auth/me', { Cookie: `${good}; agentguard_session=x` })
    expect([doubled.status, doubled.body.code]).toEqual([401, 'unauthenticated'])
  })

  it('is for people: keys have no password and no sessions', async () => {
    for (const path of ['/auth/sessions']) expect((await root.get(path)).status).toBe(403)
    expect((await root.post('/auth/logout', undefined)).status).toBe(403)
    expect((await root.get<Me>('/auth/me')).body).toMatchObject({ kind: 'root', member: null })
  })
})

describe('the password', () => {
  const change = (page: Client, current_password: string, new_password: string) =>
    page.post('/auth/password', { current_password, new_password })

  it('is changed by who knows it, and ends the other sessions', async () => {
    const { org_id } = await organization('Changing', 'changing@example.com')
    const one = await signIn(app.url, 'changing@example.com')
    const two = await signIn(app.url, 'changing@example.com')
    const next = 'an entirely new sentence'
    const wrong = await change(one, 'wrong', next)
    expect([wrong.status, wrong.body.errors]).toEqual([
      422,
      [{ path: 'current_password', message: 'is wrong' }],
    ])
    const weak = await change(one, PASSWORD, 'changing@example.com')
    expect([weak.status, weak.body.errors?.[0]?.path]).toEqual([422, 'new_password'])
    expect((await change(one, PASSWORD, next)).status).toBe(204)
    expect((await one.get('/auth/me')).status).toBe(200)
    expect((await two.get('/auth/me')).status).toBe(401)
    expect((await login({ email: 'changing@example.com', password: PASSWORD })).status).toBe(401)
    expect((await login({ email: 'changing@example.com', password: next })).status).toBe(200)
    const log = await recorded(app.app, org_id)
    expect(log.map(({ event }) => event)).toContain('password.changed')
    expect(JSON.stringify(log)).not.toContain(next)
  })

  it('cannot be guessed in an open browser either', async () => {
    await organization('Open', 'open@example.com')
    const page = await signIn(app.url, 'open@example.com')
    expect((await change(page, 'wrong', 'whatever that may be')).status).toBe(422)
    await failOften()
    await change(page, 'wrong', 'whatever that may be')
    expect((await change(page, PASSWORD, 'whatever that may be')).status).toBe(429)
  })
})
