import { Client as PgClient } from 'pg'
import { SMTPServer } from 'smtp-server'
import type { AddressInfo } from 'node:net'
import type { CreatedAdminKey } from '../src/admin-keys/admin-keys.dto.js'
import type { AcceptedInvitation, CreatedInvitation, Invitation } from '../src/invitations/invitations.dto.js'
import type { Organization } from '../src/organizations/organizations.dto.js'
import { SetupService } from '../src/setup/setup.service.js'
import { type RunningApp, startApp } from './support/app.js'
import { type Answer, Client, type ProblemBody, withoutNames } from './support/client.js'
import { firstOwner, PASSWORD, signIn, tokenOf } from './support/people.js'
import { recorded } from './support/recorded.js'

let app: RunningApp
let root: Client
let sql: PgClient

beforeAll(async () => {
  app = await startApp({ settings: { public_url: undefined } })
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  sql = new PgClient({ connectionString: app.database.owner_url })
  await sql.connect()
})
afterAll(async () => {
  await sql?.end()
  await app?.close()
})

let count = 0
const address = (): string => `guest${count++}@example.com`

async function house() {
  const { org_id } = (await root.post<Organization>('/organizations', { name: 'House' })).body
  const admin = root.with({ ...root.headers, 'X-Org-ID': org_id })
  const { member: owner } = await firstOwner(admin, address())
  return { org_id, admin, owner }
}

async function invite(by: Client, roles = ['viewer'], more: object = {}): Promise<CreatedInvitation> {
  const answer = await by.post<CreatedInvitation>('/invitations', { email: address(), roles, ...more })
  if (answer.status !== 201) throw new Error(answer.text)
  return answer.body
}

const accept = (link: string | null, more: object = {}): Promise<Answer<AcceptedInvitation & ProblemBody>> =>
  new Client(app.url).post('/invitations/accept', {
    token: tokenOf(link ?? ''),
    name: 'A Guest',
    password: PASSWORD,
    ...more,
  })

describe('inviting', () => {
  it('shows the link once where there is no mail server, and keeps its hash', async () => {
    const { admin, org_id } = await house()
    const email = address().toUpperCase()
    const { status, body } = await admin.post<CreatedInvitation>('/invitations', {
      email,
      roles: ['developer', 'approver'],
      team: 'red',
    })
    expect(status).toBe(201)
    expect(body).toEqual({
      invitation_id: expect.stringMatching(/^inv_[\w-]{16}$/),
      email: email.toLowerCase(),
      roles: ['developer', 'approver'],
      team: 'red',
      status: 'open',
      expires_at: expect.any(String),
      member_id: null,
      created_at: expect.any(String),
      created_by: 'root',
      link: expect.stringMatching(/\/dashboard\/invitation\/#token=ivt_[0-9A-Za-z]{49}$/),
      mail: 'off',
      mail_error: null,
    })
    const days = (Date.parse(String(body.expires_at)) - Date.parse(String(body.created_at))) / 86_400_000
    expect(days).toBe(7)
    const { rows } = await sql.query(`SELECT json_agg(i)::text AS all FROM invitations i`)
    for (const text of [
      (await admin.get('/invitations')).text,
      (await admin.get(`/invitations/${body.invitation_id}`)).text,
      JSON.stringify(await recorded(app.app, org_id)),
      rows[0].all,
    ]) {
      expect(text).toContain(body.invitation_id)
      expect(text).not.toContain(tokenOf(body.link ?? ''))
    }
  })

  it('shows it to a repetition under the same Idempotency-Key no more', async () => {
    const { admin } = await house()
    const body = { email: address(), roles: ['viewer'] }
    const first = await admin.post<CreatedInvitation>('/invitations', body, { 'Idempotency-Key': 'once' })
    const again = await admin.post<CreatedInvitation>('/invitations', body, { 'Idempotency-Key': 'once' })
    expect([first.body.link, again.body.link]).toEqual([expect.any(String), null])
    expect(again.body.invitation_id).toBe(first.body.invitation_id)
  })

  it('is once an address while it is open, and not for members', async () => {
    const { admin, owner } = await house()
    const open = await invite(admin)
    const twice = await admin.post('/invitations', { email: open.email, roles: ['viewer'] })
    expect([twice.status, twice.body.detail]).toEqual([409, expect.stringContaining(open.invitation_id)])
    const member = await admin.post('/invitations', { email: owner.email, roles: ['viewer'] })
    expect([member.status, member.body.detail]).toEqual([409, expect.stringContaining(owner.member_id)])
    await sql.query('UPDATE invitations SET expires_at = now() WHERE invitation_id = $1', [
      open.invitation_id,
    ])
    expect((await admin.post('/invitations', { email: open.email, roles: ['viewer'] })).status).toBe(201)
  })

  it('gives no more than the inviter holds', async () => {
    const { admin } = await house()
    const made = await admin.post<CreatedAdminKey>('/admin-keys', { name: 'x', role: 'admin' })
    const key = root.with({ 'X-Admin-Key': made.body.api_key })
    expect((await key.post('/invitations', { email: address(), roles: ['owner'] })).status).toBe(403)
    expect((await key.post('/invitations', { email: address(), roles: ['viewer', 'owner'] })).status).toBe(
      403,
    )
    expect((await key.post('/invitations', { email: address(), roles: ['admin'] })).status).toBe(201)
    const owners = await invite(admin, ['owner'])
    expect((await key.delete(`/invitations/${owners.invitation_id}`)).status).toBe(403)
    const held = await admin.post<CreatedAdminKey>('/admin-keys', { name: 'x', role: 'admin', team: 'red' })
    const lead = root.with({ 'X-Admin-Key': held.body.api_key })
    expect((await invite(lead)).team).toBe('red')
    for (const team of ['blue', null]) {
      const beyond = await lead.post('/invitations', { email: address(), roles: ['viewer'], team })
      expect(beyond.status).toBe(403)
    }
    expect((await lead.get(`/invitations/${owners.invitation_id}`)).status).toBe(404)
    const auditor = await admin.post<CreatedAdminKey>('/admin-keys', { name: 'x', role: 'auditor' })
    const reader = root.with({ 'X-Admin-Key': auditor.body.api_key })
    expect((await reader.get('/invitations')).status).toBe(200)
    expect((await reader.post('/invitations', { email: address(), roles: ['viewer'] })).status).toBe(403)
  })

  it.each<[Record<string, unknown>, string]>([
    [{ roles: ['viewer'] }, 'email'],
    [{ email: 'ada@example.com\r\nBcc: all@example.com', roles: ['viewer'] }, 'email'],
    [{ email: 'ada@example.com' }, 'roles'],
    [{ email: 'ada@example.com', roles: ['no-such-role'] }, 'roles'],
    [{ email: 'ada@example.com', roles: ['owner'], team: 'red' }, 'team'],
    ...[
      'org_id',
      'invitation_id',
      'token',
      'token_hash',
      'expires_at',
      'status',
      'accepted_at',
      'member_id',
    ].map((field): [Record<string, unknown>, string] => [
      { email: 'ada@example.com', roles: ['viewer'], [field]: 'x' },
      field,
    ]),
    [{ email: 'ada@example.com', roles: ['viewer'], created_by: 'root' }, 'created_by'],
  ])('refuses %j with the path', async (body, path) => {
    const { admin } = await house()
    const answer = await admin.post('/invitations', body)
    expect([answer.status, new Set(answer.body.errors?.map((e) => e.path))]).toEqual([422, new Set([path])])
  })
})

describe('accepting', () => {
  it('makes the member who was meant, once, who signs in then', async () => {
    const { admin, org_id, owner } = await house()
    const page = await signIn(app.url, owner.email)
    const invitation = await invite(page, ['developer'], { team: 'red' })
    const answer = await accept(invitation.link)
    expect(answer.status).toBe(201)
    expect(answer.body).toMatchObject({
      org_id,
      member: { email: invitation.email, roles: ['developer'], team: 'red', created_by: owner.member_id },
    })
    const guest = await signIn(app.url, invitation.email)
    expect((await guest.get('/auth/me')).status).toBe(200)
    const again = await accept(invitation.link)
    expect([again.status, again.body.code]).toEqual([404, 'link_not_valid'])
    const shown = await admin.get<Invitation>(`/invitations/${invitation.invitation_id}`)
    expect(shown.body).toMatchObject({ status: 'accepted', member_id: answer.body.member.member_id })
    expect((await admin.get('/invitations')).text).toBe('[]')
    const events = (await recorded(app.app, org_id)).map(({ event }) => event)
    expect(events.slice(-4, -1)).toEqual(['invitation.created', 'member.created', 'invitation.accepted'])
  })

  it('answers for an unknown, a used, a revoked and an expired link with the same bytes', async () => {
    const { admin, org_id } = await house()
    const bytes = async (link: string | null) => {
      const { status, body } = await accept(link)
      return JSON.stringify([status, { ...body, request_id: '' }])
    }
    const unknown = await bytes('http://x/#token=nonsense')
    expect(unknown).toContain('link_not_valid')
    expect(await bytes(`http://x/#token=ivt_${'0'.repeat(49)}`)).toBe(unknown)
    const used = await invite(admin)
    await accept(used.link)
    expect(await bytes(used.link)).toBe(unknown)
    const revoked = await invite(admin)
    expect((await admin.delete(`/invitations/${revoked.invitation_id}`)).status).toBe(204)
    expect((await admin.delete(`/invitations/${revoked.invitation_id}`)).status).toBe(404)
    expect(await bytes(revoked.link)).toBe(unknown)
    const old = await invite(admin)
    await sql.query('UPDATE invitations SET expires_at = now() WHERE invitation_id = $1', [old.invitation_id])
    expect(await bytes(old.link)).toBe(unknown)
    const suspended = await invite(admin)
    await root.patch(`/organizations/${org_id}`, { is_active: false })
    expect(await bytes(suspended.link)).toBe(unknown)
    await root.patch(`/organizations/${org_id}`, { is_active: true })
    expect((await accept(suspended.link)).status).toBe(201) // the control
  })

  it('is over when who invited was deactivated, demoted or revoked', async () => {
    const { admin } = await house()
    const inviter = await accept((await invite(admin, ['admin'])).link)
    const { email, member_id } = inviter.body.member
    const page = await signIn(app.url, email)
    const [one, two] = [await invite(page, ['admin']), await invite(page, ['viewer'])]
    await admin.patch(`/members/${member_id}`, { roles: ['auditor'] })
    expect((await accept(one.link)).status).toBe(404)
    await admin.patch(`/members/${member_id}`, { roles: ['admin'] })
    expect((await accept(one.link)).status).toBe(201)
    await admin.patch(`/members/${member_id}`, { is_active: false })
    expect((await accept(two.link)).status).toBe(404)
    const made = await admin.post<CreatedAdminKey>('/admin-keys', { name: 'x', role: 'admin' })
    const three = await invite(root.with({ 'X-Admin-Key': made.body.api_key }))
    await admin.delete(`/admin-keys/${made.body.admin_id}`)
    expect((await accept(three.link)).status).toBe(404)
  })

  it('makes one member of several who use the link at once', async () => {
    const { admin, org_id } = await house()
    const { link } = await invite(admin)
    const answers = await Promise.all([accept(link), accept(link), accept(link)])
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 404, 404])
    const { rows } = await sql.query('SELECT count(*)::int AS n FROM members WHERE org_id = $1', [org_id])
    expect(rows).toEqual([{ n: 2 }])
  })

  it.each(['roles', 'team', 'email', 'org_id', 'is_active', 'member_id'])(
    'takes no %s from who accepts',
    async (field) => {
      const { admin } = await house()
      const { link } = await invite(admin)
      const answer = await accept(link, { [field]: 'owner' })
      expect([answer.status, answer.body.errors?.map(({ path }) => path)]).toEqual([422, [field]])
    },
  )

  it('refuses a weak password and stays good', async () => {
    const { admin } = await house()
    const { link, email } = await invite(admin)
    for (const password of ['short', email, 'Password1234']) {
      const answer = await accept(link, { password })
      expect([answer.status, answer.body.errors?.[0]?.path]).toEqual([422, 'password'])
    }
    expect((await accept(link)).status).toBe(201)
  })
})

it('makes one set-up link at the very first start, however many replicas start, and none later', async () => {
  const setup = app.app.get(SetupService)
  const links = await Promise.all([setup.firstLink(), setup.firstLink(), setup.firstLink()])
  const [first, ...others] = links.filter((link) => link !== null)
  expect([first?.link, others]).toEqual([expect.stringContaining('/dashboard/setup/#token=stp_'), []])
  expect(await setup.firstLink()).toBeNull()
  const body = { token: tokenOf(first?.link ?? ''), email: address(), name: 'First', password: PASSWORD }
  expect((await new Client(app.url).post('/setup', body)).status).toBe(201)
})

it('answers for an invitation of another organization exactly as for none', async () => {
  const [a, b] = [await house(), await house()]
  const foreign = (await invite(b.admin)).invitation_id
  const random = 'inv_AAAAAAAAAAAAAAAA'
  for (const method of ['GET', 'DELETE']) {
    const theirs = await a.admin.call(method, `/invitations/${foreign}`)
    const nobodys = await a.admin.call(method, `/invitations/${random}`)
    expect([theirs.status, theirs.body.code]).toEqual([404, 'invitation_not_found'])
    expect(withoutNames(theirs, foreign)).toEqual(withoutNames(nobodys, random))
  }
})

describe('with a mail server', () => {
  const received: string[] = []
  let server: SMTPServer
  let mailing: RunningApp
  let refuse = false

  beforeAll(async () => {
    server = new SMTPServer({
      authOptional: true,
      disabledCommands: ['STARTTLS'],
      onRcptTo: (_, __, done) =>
        done(
          refuse ? Object.assign(new Error('no such user at mail-1.internal'), { responseCode: 550 }) : null,
        ),
      onData: (stream, _, done) => {
        const chunks: Buffer[] = []
        stream.on('data', (chunk: Buffer) => chunks.push(chunk))
        stream.on('end', () => {
          received.push(Buffer.concat(chunks).toString())
          done()
        })
      },
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.server.address() as AddressInfo
    mailing = await startApp({
      database: app.database,
      settings: {
        public_url: 'https://guard.example.com',
        smtp_url: `smtp://127.0.0.1:${port}`,
        smtp_from: 'AgentGuard <guard@example.com>',
      },
    })
  })
  afterAll(async () => {
    await mailing?.close()
    await new Promise<void>((resolve) => server.close(resolve))
  })
  const admin = () => root.with({ 'X-Admin-Key': app.admin_key })
  const byMail = () => new Client(mailing.url, admin().headers)

  it('sends the link to the address, and shows it to nobody else', async () => {
    const { link, mail, mail_error, email } = await invite(byMail())
    expect([link, mail, mail_error]).toEqual([null, 'sent', null])
    const message = received.at(-1)?.replaceAll('=\r\n', '').replaceAll('=3D', '=') ?? ''
    expect(message).toContain(`To: ${email}`)
    expect(message).toContain('From: AgentGuard <guard@example.com>')
    const sent = /https:\/\/guard\.example\.com\/dashboard\/invitation\/#token=ivt_\w{49}/.exec(message)?.[0]
    expect((await accept(sent ?? '')).status).toBe(201)
  })

  it('says when that failed, without losing the invitation or telling of the server’s network', async () => {
    refuse = true
    const { link, mail, mail_error } = await invite(byMail())
    refuse = false
    expect([mail, mail_error]).toEqual(['failed', 'the mail server refused it (550)'])
    expect((await accept(link)).status).toBe(201)
  })
})
