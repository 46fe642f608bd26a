import { Client as PgClient } from 'pg'
import type { CreatedAdminKey } from '../src/admin-keys/admin-keys.dto.js'
import type { Member } from '../src/members/members.dto.js'
import type { Organization } from '../src/organizations/organizations.dto.js'
import type { Me } from '../src/sign-in/sign-in.dto.js'
import type { SingleSignOn } from '../src/sign-on/sign-on.dto.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'
import { CLIENT, type Lie, startIdentityProvider, startLyingProvider } from './support/identity-provider.js'
import { firstOwner, PASSWORD, tokenOf } from './support/people.js'
import { recorded } from './support/recorded.js'

const PUBLIC_URL = 'https://guard.example.com'
const CALLBACK = `${PUBLIC_URL}/v1/auth/oidc/callback`
const people = {
  ada: { email: 'Ada@Example.com', email_verified: true, name: 'Ada Lovelace', groups: ['engineers', 'x'] },
  bob: { email: 'bob@example.com', email_verified: false, name: 'Bob', groups: ['engineers'] },
  eve: { email: 'eve@example.com', email_verified: true, groups: ['nobody'] },
}
type Sub = keyof typeof people

let app: RunningApp
let root: Client
let sql: PgClient
let real: Awaited<ReturnType<typeof startIdentityProvider>>
let liar: Awaited<ReturnType<typeof startLyingProvider>>

beforeAll(async () => {
  // The provider reminds its operator of what a test has no need of.
  for (const level of ['warn', 'info'] as const) jest.spyOn(console, level).mockImplementation(() => {})
  real = await startIdentityProvider(people, CALLBACK)
  liar = await startLyingProvider()
  app = await startApp({ settings: { public_url: PUBLIC_URL, outbound_allow: ['127.0.0.1'] } })
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  sql = new PgClient({ connectionString: app.database.owner_url })
  await sql.connect()
})
afterAll(async () => {
  await sql?.end()
  await app?.close()
  await real?.close()
  await liar?.close()
})

const MAPPED = { group_roles: [{ group: 'engineers', roles: ['developer', 'approver'] }] }

async function house(connection: object = {}) {
  const { org_id } = (await root.post<Organization>('/organizations', { name: 'House' })).body
  const admin = root.with({ ...root.headers, 'X-Org-ID': org_id })
  const put = await admin.put<SingleSignOn>('/organization/single-sign-on', {
    ...{ issuer: real.issuer, ...CLIENT, ...MAPPED },
    ...connection,
  })
  if (put.status !== 200) throw new Error(put.text)
  return { org_id, admin }
}

const cookiesOf = (answer: Response): string =>
  answer.headers
    .getSetCookie()
    .map((cookie) => cookie.split(';')[0] ?? '')
    .filter((cookie) => !cookie.endsWith('='))
    .join('; ')

/** Leaves for the provider as a browser does. */
async function leave(org_id: string): Promise<{ at: URL; cookie: string }> {
  const answer = await fetch(`${app.url}/auth/oidc/start?organization=${org_id}`, { redirect: 'manual' })
  if (answer.status !== 302) throw new Error(await answer.text())
  return { at: new URL(answer.headers.get('location') ?? ''), cookie: cookiesOf(answer) }
}

/** Comes back from it. */
async function comeBack(url: URL, cookie: string) {
  const answer = await fetch(app.url + url.pathname + url.search, {
    redirect: 'manual',
    headers: { cookie },
  })
  const text = await answer.text()
  const code = text.startsWith('{') ? (JSON.parse(text) as { code: string }).code : ''
  return { status: answer.status, code, location: answer.headers.get('location'), cookie: cookiesOf(answer) }
}

async function signOn(org_id: string, sub: Sub) {
  const { at, cookie } = await leave(org_id)
  return comeBack(await real.visit(at.href, sub), cookie)
}

const me = async (cookie: string) => (await new Client(app.url, { Cookie: cookie }).get<Me>('/auth/me')).body

describe('the whole way through a real provider', () => {
  it('signs in with PKCE, makes the member, and leaves no password', async () => {
    const { org_id } = await house()
    const { at, cookie } = await leave(org_id)
    expect(at.origin).toBe(real.issuer)
    expect(Object.fromEntries(at.searchParams)).toMatchObject({
      client_id: CLIENT.client_id,
      response_type: 'code',
      redirect_uri: CALLBACK,
      code_challenge_method: 'S256',
      code_challenge: expect.stringMatching(/^[\w-]{43}$/),
      state: expect.stringMatching(/^[\w-]{43}$/),
      nonce: expect.stringMatching(/^[\w-]{43}$/),
    })
    // What must come back is sealed, so that whoever reads the cookie cannot finish another's journey with it.
    expect(cookie).toMatch(/^__Host-agentguard_sign_on=v1\./)
    expect(cookie).not.toContain(at.searchParams.get('state'))
    const back = await comeBack(await real.visit(at.href, 'ada'), cookie)
    expect([back.status, back.location]).toEqual([302, `${PUBLIC_URL}/dashboard/`])
    expect(back.cookie).toMatch(/^__Host-agentguard_session=sst_\w{49}$/)
    const { member } = await me(back.cookie)
    expect(member).toMatchObject({
      email: 'ada@example.com',
      name: 'Ada Lovelace',
      roles: ['developer', 'approver'],
      created_by: 'system',
    })
    const { rows } = await sql.query('SELECT FROM member_passwords WHERE org_id = $1', [org_id])
    expect(rows).toEqual([])
    expect((await recorded(app.app, org_id)).map(({ event }) => event)).toEqual([
      'organization.created',
      'single_sign_on.updated',
      'member.created',
      'session.created',
    ])
  })

  it('knows the person again, also under another address, and gives the roles of today’s groups', async () => {
    const { org_id, admin } = await house()
    const first = await me((await signOn(org_id, 'ada')).cookie)
    const moved = { ...MAPPED, group_roles: [{ group: 'x', roles: ['auditor'] }] }
    await admin.put('/organization/single-sign-on', {
      issuer: real.issuer,
      client_id: CLIENT.client_id,
      ...moved,
    })
    people.ada.email = 'ada.king@example.com'
    const second = await me((await signOn(org_id, 'ada')).cookie)
    people.ada.email = 'Ada@Example.com'
    expect(second.member?.member_id).toBe(first.member?.member_id)
    expect(second.member).toMatchObject({ email: 'ada@example.com', roles: ['auditor'] })
    const entry = (await recorded(app.app, org_id)).find(({ event }) => event === 'member.updated')
    expect(entry).toMatchObject({
      actor: { kind: 'system' },
      opened: { before: { roles: ['developer', 'approver'] }, after: { roles: ['auditor'] } },
    })
  })

  it('binds a member by a verified address, and never makes the last owner less', async () => {
    const { org_id, admin } = await house()
    const { member } = await firstOwner(admin, 'ada@example.com')
    const back = await me((await signOn(org_id, 'ada')).cookie)
    expect(back.member).toMatchObject({
      member_id: member.member_id,
      roles: ['developer', 'approver', 'owner'],
    })
  })

  it.each<[string, Sub, object, string]>([
    ['an address that is not verified', 'bob', MAPPED, 'sign_on_refused'],
    ['groups without a role', 'eve', MAPPED, 'sign_on_refused'],
    ['no roles for anybody', 'ada', { group_roles: [] }, 'sign_on_refused'],
  ])('lets nobody in with %s', async (_, sub, connection, code) => {
    const { org_id } = await house(connection)
    const back = await signOn(org_id, sub)
    expect([back.status, back.code, back.cookie]).toEqual([403, code, ''])
    const { rows } = await sql.query('SELECT FROM members WHERE org_id = $1', [org_id])
    expect(rows).toEqual([])
  })

  it('gives the default roles where groups give none', async () => {
    const { org_id } = await house({ default_roles: ['viewer'] })
    expect((await me((await signOn(org_id, 'eve')).cookie)).member).toMatchObject({
      name: 'eve@example.com',
      roles: ['viewer'],
    })
  })

  it('lets a deactivated person in no more, and nobody into a suspended organization', async () => {
    const { org_id, admin } = await house()
    const { member } = await me((await signOn(org_id, 'ada')).cookie)
    await admin.patch(`/members/${member?.member_id ?? ''}`, { is_active: false })
    expect((await signOn(org_id, 'ada')).code).toBe('sign_on_refused')
    await admin.patch<Member>(`/members/${member?.member_id ?? ''}`, { is_active: true })
    expect((await signOn(org_id, 'ada')).status).toBe(302) // the control
    const { at, cookie } = await leave(org_id)
    const url = await real.visit(at.href, 'ada')
    await root.patch(`/organizations/${org_id}`, { is_active: false })
    expect((await comeBack(url, cookie)).code).toBe('sign_on_failed')
    await expect(leave(org_id)).rejects.toThrow('single_sign_on_not_found')
  })
})

describe('with single sign-on required', () => {
  const PUT = () => ({ issuer: real.issuer, ...CLIENT, ...MAPPED })
  const login = (org_id: string, email: string, password = PASSWORD) =>
    new Client(app.url).post('/auth/login', { email, password, organization: org_id })
  const bytes = ({ status, body }: Awaited<ReturnType<typeof login>>) =>
    JSON.stringify([status, { ...body, request_id: '' }])

  /** An organization with two people who have passwords: its first owner, and an administrator. */
  async function people() {
    const { org_id, admin } = await house()
    const { member: owner } = await firstOwner(admin, `owner.${org_id.toLowerCase()}@example.com`)
    const email = `admin.${org_id.toLowerCase()}@example.com`
    const { link } = (await admin.post<{ link: string }>('/invitations', { email, roles: ['admin'] })).body
    const body = { token: tokenOf(link), name: 'Admin', password: PASSWORD }
    const accepted = await new Client(app.url).post<{ member: Member }>('/invitations/accept', body)
    return { org_id, admin, owner, other: accepted.body.member }
  }

  it('takes no password but the one of the owner who is named, while they are an owner', async () => {
    const { org_id, admin, owner, other } = await people()
    // The control: both could.
    for (const { email } of [owner, other]) expect((await login(org_id, email)).status).toBe(200)
    const required = { ...PUT(), required: true, break_glass_member_id: owner.member_id }
    const put = await admin.put<SingleSignOn>('/organization/single-sign-on', required)
    expect(put.body).toMatchObject({ required: true, break_glass_member_id: owner.member_id })
    const wrong = bytes(await login(org_id, other.email, 'a wrong password'))
    expect(bytes(await login(org_id, other.email))).toBe(wrong)
    const unnamed = { email: other.email, password: PASSWORD }
    expect(bytes(await new Client(app.url).post('/auth/login', unnamed))).toBe(wrong)
    expect((await login(org_id, owner.email)).status).toBe(200)
    expect((await signOn(org_id, 'ada')).status).toBe(302) // the way that is left
    await admin.patch(`/members/${other.member_id}`, { roles: ['owner'] })
    await admin.patch(`/members/${owner.member_id}`, { roles: ['admin'] })
    expect(bytes(await login(org_id, owner.email))).toBe(wrong)
    expect((await admin.delete('/organization/single-sign-on')).status).toBe(204)
    for (const { email } of [owner, other]) expect((await login(org_id, email)).status).toBe(200)
    const changes = (await recorded(app.app, org_id)).filter(({ event }) =>
      event.startsWith('single_sign_on'),
    )
    expect(changes.at(-2)?.opened).toMatchObject({
      before: { required: false, break_glass_member_id: null },
      after: { required: true, break_glass_member_id: owner.member_id },
    })
  })

  it('names only an active owner of the organization who has a password', async () => {
    const { org_id, admin, other } = await people()
    const elsewhere = await people()
    const ada = (await me((await signOn(org_id, 'ada')).cookie)).member
    await admin.patch(`/members/${ada?.member_id ?? ''}`, { roles: ['owner'] })
    const nobody = ['mem_0000000000000000', other.member_id, ada?.member_id, elsewhere.owner.member_id]
    for (const break_glass_member_id of nobody) {
      const body = { ...PUT(), required: true, break_glass_member_id }
      const answer = await admin.put('/organization/single-sign-on', body)
      expect([answer.status, answer.body.errors]).toEqual([
        422,
        [{ path: 'break_glass_member_id', message: 'must be an active owner who has a password' }],
      ])
    }
    expect((await login(org_id, other.email)).status).toBe(200) // nothing was required meanwhile
  })
})

describe('a journey that is not one’s own', () => {
  it('ends at a wrong state, without the cookie, with another’s, and the second time', async () => {
    const { org_id } = await house()
    const { at, cookie } = await leave(org_id)
    const other = await leave(org_id)
    const url = await real.visit(at.href, 'ada')
    const forged = new URL(url)
    forged.searchParams.set('state', 'x'.repeat(43))
    for (const [came, sent] of [
      [forged, cookie],
      [url, ''],
      [url, '__Host-agentguard_sign_on=v1.0000000000000000.AAAA'],
      [url, other.cookie],
    ] as const) {
      expect(await comeBack(came, sent)).toMatchObject({ status: 401, code: 'sign_on_failed', cookie: '' })
    }
    expect((await comeBack(url, cookie)).status).toBe(302) // the control
    expect((await comeBack(url, cookie)).code).toBe('sign_on_failed') // the code is used up
  })

  it('ends when the nonce, the verifier or the client is another', async () => {
    const { org_id } = await house()
    for (const [name, value] of [
      ['nonce', 'n'.repeat(43)],
      ['code_challenge', 'c'.repeat(43)],
      ['client_id', 'another'],
    ] as const) {
      const { at, cookie } = await leave(org_id)
      at.searchParams.set(name, value)
      const back = await comeBack(await real.visit(at.href, 'ada'), cookie)
      expect([name, back.status, back.code]).toEqual([name, 401, 'sign_on_failed'])
    }
  })
})

describe('a provider that lies', () => {
  const hour = 3600
  const now = () => Math.floor(Date.now() / 1000)
  const tell = async (lie: Lie) => {
    const { org_id } = await house({ issuer: liar.issuer, group_roles: [], default_roles: ['viewer'] })
    const { at, cookie } = await leave(org_id)
    liar.tell(lie, at)
    const url = new URL(`${CALLBACK}?code=x&state=${at.searchParams.get('state') ?? ''}`)
    return comeBack(url, cookie)
  }

  it('control: is believed while it tells the truth', async () => {
    expect((await tell({})).status).toBe(302)
    expect((await tell({ claims: { aud: [CLIENT.client_id, 'b'], azp: CLIENT.client_id } })).status).toBe(302)
  })

  it.each<[string, () => Lie]>([
    ['another audience', () => ({ claims: { aud: 'another' } })],
    ['another authorized party', () => ({ claims: { aud: [CLIENT.client_id, 'b'], azp: 'b' } })],
    ['another issuer', () => ({ claims: { iss: 'https://accounts.google.com' } })],
    ['another nonce', () => ({ claims: { nonce: 'another' } })],
    ['no nonce', () => ({ claims: { nonce: undefined } })],
    ['a time that is over', () => ({ claims: { iat: now() - 2 * hour, exp: now() - hour } })],
    ['another key', () => ({ signed: 'with another key' })],
    ['no signature', () => ({ signed: 'not at all' })],
  ])('is not believed with %s', async (_, lie) => {
    expect(await tell(lie())).toMatchObject({ status: 401, code: 'sign_on_failed', cookie: '' })
  })

  it.each(['true', 1, null, undefined])('is not taken to have verified an address by %j', async (value) => {
    expect(await tell({ claims: { email_verified: value } })).toMatchObject({ code: 'sign_on_refused' })
  })
})

describe('the connection', () => {
  it('never shows its secret, and keeps it sealed', async () => {
    const { org_id, admin } = await house()
    const shown = await admin.get<SingleSignOn>('/organization/single-sign-on')
    expect(shown.body).toEqual({
      issuer: real.issuer,
      client_id: CLIENT.client_id,
      group_claim: 'groups',
      ...MAPPED,
      default_roles: [],
      required: false,
      break_glass_member_id: null,
      redirect_uri: CALLBACK,
      updated_at: expect.any(String),
      updated_by: 'root',
    })
    const { rows } = await sql.query('SELECT to_jsonb(s)::text AS all FROM single_sign_on s')
    const log = JSON.stringify(await recorded(app.app, org_id))
    for (const text of [shown.text, rows[0].all, log]) expect(text).not.toContain(CLIENT.client_secret)
    expect(log).toContain('single_sign_on.updated')
  })

  it('keeps the secret for whom it was given', async () => {
    const { admin } = await house()
    const same = { issuer: real.issuer, client_id: CLIENT.client_id }
    expect((await admin.put('/organization/single-sign-on', same)).status).toBe(200)
    for (const other of [
      { ...same, issuer: liar.issuer },
      { ...same, client_id: 'another' },
    ]) {
      const refused = await admin.put('/organization/single-sign-on', other)
      expect([refused.status, refused.body.errors?.[0]?.path]).toEqual([422, 'client_secret'])
    }
  })

  it('is an owner’s to make, because it says who anybody is', async () => {
    const { admin } = await house()
    const body = { issuer: real.issuer, ...CLIENT }
    for (const [role, wanted] of [
      ['owner', 200],
      ['admin', 403],
    ] as const) {
      const made = await admin.post<CreatedAdminKey>('/admin-keys', { name: role, role })
      const key = root.with({ 'X-Admin-Key': made.body.api_key })
      expect([role, (await key.put('/organization/single-sign-on', body)).status]).toEqual([role, wanted])
    }
  })

  it.each<[string, object]>([
    ['issuer', { issuer: 'https://10.0.0.1' }],
    ['issuer', { issuer: 'http://accounts.example.com' }],
    ['issuer', { issuer: 'file:///etc/passwd' }],
    ['issuer', { issuer: 'https://user:password@accounts.example.com' }],
    ['issuer', { issuer: 'http://127.0.0.1:1' }],
    ['group_roles[0].roles', { group_roles: [{ group: 'x', roles: ['no-such-role'] }] }],
    ['group_roles[0].org_id', { group_roles: [{ group: 'x', roles: ['viewer'], org_id: 'x' }] }],
    ['default_roles', { default_roles: ['no-such-role'] }],
    ['updated_by', { updated_by: 'root' }],
  ])('refuses a wrong %s', async (path, wrong) => {
    const { admin } = await house()
    const body = { issuer: real.issuer, ...CLIENT, ...wrong }
    const answer = await admin.put('/organization/single-sign-on', body)
    expect([answer.status, answer.body.errors?.map((error) => error.path)]).toEqual([422, [path]])
  })

  it('ends, and is then as if it had never been; an organization without one as one that is not', async () => {
    const { org_id, admin } = await house()
    expect((await admin.delete('/organization/single-sign-on')).status).toBe(204)
    expect((await admin.delete('/organization/single-sign-on')).status).toBe(404)
    expect((await admin.get('/organization/single-sign-on')).body.code).toBe('single_sign_on_not_found')
    const bytes = async (id: string) => {
      const { status, body } = await new Client(app.url).get(`/auth/oidc/start?organization=${id}`)
      return JSON.stringify([status, { ...body, request_id: '' }])
    }
    expect(await bytes(org_id)).toBe(await bytes('org_0000000000000000'))
  })
})
