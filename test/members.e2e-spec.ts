import { Client as PgClient } from 'pg'
import type { CreatedAdminKey } from '../src/admin-keys/admin-keys.dto.js'
import { authorityOfRoles, mayGrant, ROLES } from '../src/core/permissions.js'
import { LedgerService } from '../src/ledger/ledger.service.js'
import type { Member } from '../src/members/members.dto.js'
import { MembersService } from '../src/members/members.service.js'
import type { Organization } from '../src/organizations/organizations.dto.js'
import { Database } from '../src/platform/database/database.service.js'
import { PasswordsService } from '../src/passwords/passwords.service.js'
import { SYSTEM } from '../src/ledger/ledger.service.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client, withoutNames } from './support/client.js'
import { firstOwner, PASSWORD, signIn } from './support/people.js'
import { recorded } from './support/recorded.js'

let app: RunningApp
let root: Client
let sql: PgClient
let hashed: string

beforeAll(async () => {
  app = await startApp({ settings: { public_url: undefined } })
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  sql = new PgClient({ connectionString: app.database.owner_url })
  await sql.connect()
  hashed = await app.app.get(PasswordsService).hash(PASSWORD, [])
})
afterAll(async () => {
  await sql?.end()
  await app?.close()
})
afterEach(() => jest.restoreAllMocks())

interface House {
  readonly org_id: string
  readonly admin: Client
  readonly owner: Member
}
let count = 0

/** An organization with an owner. */
async function house(): Promise<House> {
  const { org_id } = (await root.post<Organization>('/organizations', { name: 'House' })).body
  const admin = root.with({ ...root.headers, 'X-Org-ID': org_id })
  return { org_id, admin, owner: (await firstOwner(admin, `owner${count++}@example.com`)).member }
}

/** Somebody more, as an accepted invitation would make them. */
function join({ org_id }: House, roles: string[], team: string | null = null): Promise<Member> {
  const members = app.app.get(MembersService)
  return app.app.get(Database).withOrg({ org_id }, async (tx) => {
    const person = { email: `person${count++}@example.com`, name: 'A Person', roles, team }
    const member = await members.add(tx, SYSTEM, org_id, person)
    await app.app.get(PasswordsService).set(tx, org_id, member.member_id, hashed)
    return member
  })
}

const pageOf = (member: Member) => signIn(app.url, member.email)

describe('listing', () => {
  it('gives people oldest first in pages with the total, deactivated ones only when asked', async () => {
    const h = await house()
    const kept = await join(h, ['developer'])
    const gone = await join(h, ['viewer'])
    await h.admin.patch(`/members/${gone.member_id}`, { is_active: false })
    const active = await h.admin.get<Member[]>('/members')
    expect(active.body.map(({ member_id }) => member_id)).toEqual([h.owner.member_id, kept.member_id])
    expect(active.headers.get('X-Total-Count')).toBe('2')
    const all = await h.admin.get<Member[]>('/members?include_inactive=true&limit=1&offset=2')
    expect(all.body).toEqual([expect.objectContaining({ member_id: gone.member_id, is_active: false })])
    expect(all.headers.get('X-Total-Count')).toBe('3')
    const found = await h.admin.get<Member[]>(`/members?email=${kept.email.toUpperCase()}`)
    expect(found.body.map(({ member_id }) => member_id)).toEqual([kept.member_id])
    expect((await h.admin.get('/members')).text).not.toMatch(/argon2|hash|password|sso/)
  })

  it('answers for a person of another organization exactly as for nobody', async () => {
    const [a, b] = [await house(), await house()]
    const random = 'mem_AAAAAAAAAAAAAAAA'
    for (const body of [undefined, { name: 'x' }]) {
      const method = body ? 'PATCH' : 'GET'
      const theirs = await a.admin.call(method, `/members/${b.owner.member_id}`, { body })
      const nobodys = await a.admin.call(method, `/members/${random}`, { body })
      expect([theirs.status, theirs.body.code]).toEqual([404, 'member_not_found'])
      expect(withoutNames(theirs, b.owner.member_id)).toEqual(withoutNames(nobodys, random))
    }
    expect((await a.admin.get('/members')).text).not.toContain(b.owner.member_id)
  })
})

describe('changing', () => {
  it('holds from the next request on, and is recorded with before and after', async () => {
    const h = await house()
    const person = await join(h, ['viewer'])
    const page = await pageOf(person)
    expect((await page.get('/members')).status).toBe(403)
    const owner = await pageOf(h.owner)
    const changed = await owner.patch<Member>(`/members/${person.member_id}`, {
      roles: ['auditor', 'developer'],
      name: 'Grace',
    })
    expect([changed.status, changed.body]).toEqual([
      200,
      {
        ...(asJson(person) as Member),
        name: 'Grace',
        roles: ['auditor', 'developer'],
        ...dates(changed.body),
      },
    ])
    expect((await page.get('/members')).status).toBe(200)
    const entry = (await recorded(app.app, h.org_id)).at(-1)
    expect(entry).toMatchObject({
      event: 'member.updated',
      actor: { kind: 'member', id: h.owner.member_id },
      change: { kind: 'member', id: person.member_id, op: 'updated' },
      opened: {
        before: { name: 'A Person', roles: ['viewer'], team: null, is_active: true },
        after: { name: 'Grace', roles: ['auditor', 'developer'], team: null, is_active: true },
      },
    })
  })

  it('ends every session of who is deactivated, and lets them in again when they are activated', async () => {
    const h = await house()
    const person = await join(h, ['auditor'])
    const page = await pageOf(person)
    await h.admin.patch(`/members/${person.member_id}`, { is_active: false })
    expect((await page.get('/auth/me')).status).toBe(401)
    const body = { email: person.email, password: PASSWORD }
    expect((await new Client(app.url).post('/auth/login', body)).status).toBe(401)
    await h.admin.patch(`/members/${person.member_id}`, { is_active: true })
    expect((await page.get('/auth/me')).status).toBe(401) // ended for good, not paused
    expect((await (await pageOf(person)).get('/auth/me')).status).toBe(200)
    const events = (await recorded(app.app, h.org_id)).map(({ event }) => event)
    expect(events.filter((event) => event === 'session.ended')).toHaveLength(1)
  })

  it('leaves everything as it was when its entry cannot be appended', async () => {
    const h = await house()
    const person = await join(h, ['auditor'])
    const page = await pageOf(person)
    jest.spyOn(app.app.get(LedgerService).sealer, 'seal').mockRejectedValue(new Error('no entry today'))
    expect((await h.admin.patch(`/members/${person.member_id}`, { is_active: false })).status).toBe(500)
    jest.restoreAllMocks()
    expect((await page.get('/auth/me')).status).toBe(200)
  })

  it.each<[Record<string, unknown>, string]>([
    [{ roles: [] }, 'roles'],
    [{ roles: ['no-such-role'] }, 'roles'],
    [{ roles: ['Owner'] }, 'roles'],
    [{ team: 'red' }, 'team'], // of an owner
    [{ roles: 'owner' }, 'roles'],
    [{ roles: ['owner', 'owner'] }, 'roles'],
    [{ team: '' }, 'team'],
    [{ is_active: 'no' }, 'is_active'],
    [{ name: null }, 'name'],
    ...[
      'member_id',
      'org_id',
      'email',
      'password',
      'hash',
      'sso_issuer',
      'sso_subject',
      'created_by',
      'permissions',
    ].map((field): [Record<string, unknown>, string] => [{ [field]: 'x' }, field]),
  ])('refuses %j with the path', async (body, path) => {
    const h = await house()
    const answer = await h.admin.patch(`/members/${h.owner.member_id}`, body)
    expect([answer.status, new Set(answer.body.errors?.map((e) => e.path.replace(/\[.*/, '')))]).toEqual([
      422,
      new Set([path]),
    ])
  })
})

describe('nobody gives or takes more than they hold', () => {
  it('between every two roles', async () => {
    const h = await house()
    for (const role of ['owner', 'admin'] as const) {
      const page = await pageOf(await join(h, [role]))
      for (const other of ROLES) {
        const person = await join(h, [other])
        const may = mayGrant(authorityOfRoles([role]), authorityOfRoles([other]))
        const renamed = await page.patch(`/members/${person.member_id}`, { name: 'Renamed' })
        expect([role, other, renamed.status]).toEqual([role, other, may ? 200 : 403])
        const viewer = await join(h, ['viewer'])
        const given = await page.patch(`/members/${viewer.member_id}`, { roles: ['viewer', other] })
        expect([role, other, given.status]).toEqual([role, other, other === 'viewer' ? 422 : may ? 200 : 403])
      }
    }
    // What the table must say for the loop to prove anything.
    const [owner, admin] = [authorityOfRoles(['owner']), authorityOfRoles(['admin'])]
    expect([mayGrant(admin, owner), mayGrant(admin, admin), mayGrant(owner, owner)]).toEqual([
      false,
      true,
      true,
    ])
  })

  it('also not by adding to their own roles, nor with a key', async () => {
    const h = await house()
    const admin = await join(h, ['admin'])
    const page = await pageOf(admin)
    const raised = await page.patch(`/members/${admin.member_id}`, { roles: ['admin', 'owner'] })
    expect([raised.status, raised.body.detail]).toEqual([
      403,
      'You may not make people with the roles admin, owner: nobody gives or takes more than they hold.',
    ])
    const key = await h.admin.post<CreatedAdminKey>('/admin-keys', { name: 'x', role: 'admin' })
    const holder = root.with({ 'X-Admin-Key': key.body.api_key })
    expect((await holder.patch(`/members/${admin.member_id}`, { roles: ['owner'] })).status).toBe(403)
    expect((await holder.patch(`/members/${h.owner.member_id}`, { name: 'x' })).status).toBe(403)
    expect((await holder.patch(`/members/${admin.member_id}`, { roles: ['auditor'] })).status).toBe(200)
  })

  it('read when it is their turn: who was demoted meanwhile gives nothing more', async () => {
    const h = await house()
    const admin = await join(h, ['admin'])
    const person = await join(h, ['viewer'])
    const page = await pageOf(admin)
    await sql.query('BEGIN')
    await sql.query(`SELECT pg_advisory_xact_lock(hashtextextended('agentguard/people/' || $1, 0))`, [
      h.org_id,
    ])
    const waits = page.patch(`/members/${person.member_id}`, { roles: ['admin'] })
    await untilWaiting()
    await sql.query(`UPDATE members SET roles = '{auditor}' WHERE member_id = $1`, [admin.member_id])
    await sql.query('COMMIT')
    expect((await waits).status).toBe(403)
  })

  it('with roles of the organization’s own, which nobody deletes from under them', async () => {
    const h = await house()
    const role = { role: 'release-manager', permissions: ['members:read', 'policies:write'] }
    expect((await h.admin.post('/roles', role)).status).toBe(201)
    const person = await join(h, ['viewer'])
    const page = await pageOf(person)
    expect((await page.get('/members')).status).toBe(403)
    const given = await h.admin.patch(`/members/${person.member_id}`, { roles: ['release-manager'] })
    expect(given.status).toBe(200)
    expect((await page.get('/members')).status).toBe(200)
    const me = await page.get<{ permissions: string[] }>('/auth/me')
    expect(me.body.permissions.sort()).toEqual(['members:read', 'policies:write'])
    const refused = await h.admin.delete('/roles/release-manager')
    expect([refused.status, refused.body.detail]).toEqual([409, expect.stringContaining('1 members')])
    await h.admin.put('/roles/release-manager', { permissions: ['policies:write'] })
    expect((await page.get('/members')).status).toBe(403)
  })

  it('within the team that they are held to', async () => {
    const h = await house()
    const lead = await pageOf(await join(h, ['admin'], 'red'))
    const red = await join(h, ['developer'], 'red')
    const blue = await join(h, ['developer'], 'blue')
    const seen = await lead.get<Member[]>('/members')
    expect(new Set(seen.body.map(({ team }) => team))).toEqual(new Set(['red']))
    expect((await lead.get(`/members/${blue.member_id}`)).status).toBe(404)
    expect((await lead.patch(`/members/${blue.member_id}`, { name: 'x' })).status).toBe(404)
    expect((await lead.patch(`/members/${h.owner.member_id}`, { name: 'x' })).status).toBe(404)
    expect((await lead.patch(`/members/${red.member_id}`, { team: 'blue' })).status).toBe(403)
    expect((await lead.patch(`/members/${red.member_id}`, { team: null })).status).toBe(403)
    expect((await lead.patch(`/members/${red.member_id}`, { roles: ['operator'] })).status).toBe(200)
  })
})

describe('the last owner', () => {
  it.each([{ is_active: false }, { roles: ['admin'] }, { roles: ['admin'], team: 'red' }])(
    'is not lost by %j, not even by the root key',
    async (change) => {
      const h = await house()
      for (const client of [h.admin, await pageOf(h.owner)]) {
        const answer = await client.patch(`/members/${h.owner.member_id}`, change)
        expect([answer.status, answer.body.code]).toEqual([409, 'last_owner'])
      }
      await sql.query(`UPDATE members SET is_active = false WHERE member_id = $1`, [
        (await join(h, ['owner'])).member_id,
      ])
      expect((await h.admin.patch(`/members/${h.owner.member_id}`, change)).status).toBe(409)
      await join(h, ['owner'])
      expect((await h.admin.patch(`/members/${h.owner.member_id}`, change)).status).toBe(200) // the control
    },
  )

  it('remains when two owners demote each other at once', async () => {
    const h = await house()
    const other = await join(h, ['owner'])
    const [one, two] = [await pageOf(h.owner), await pageOf(other)]
    await sql.query('BEGIN')
    await sql.query(`SELECT pg_advisory_xact_lock(hashtextextended('agentguard/people/' || $1, 0))`, [
      h.org_id,
    ])
    const answers = [
      one.patch(`/members/${other.member_id}`, { roles: ['viewer'] }),
      two.patch(`/members/${h.owner.member_id}`, { roles: ['viewer'] }),
    ]
    await untilWaiting(2)
    await sql.query('COMMIT')
    const statuses = (await Promise.all(answers)).map(({ status }) => status).sort()
    expect([
      [200, 403],
      [200, 409],
    ]).toContainEqual(statuses)
    const { rows } = await sql.query(
      `SELECT count(*)::int AS owners FROM members WHERE org_id = $1 AND 'owner' = ANY (roles)`,
      [h.org_id],
    )
    expect(rows).toEqual([{ owners: 1 }])
  })
})

const asJson = (member: Member): unknown => JSON.parse(JSON.stringify(member))
const dates = ({ updated_at, last_login_at }: Member) => ({ updated_at, last_login_at })

/** Until so many statements of this database wait for a lock. */
async function untilWaiting(wanted = 1): Promise<void> {
  for (;;) {
    await sql.query('SELECT pg_stat_clear_snapshot()')
    const { rows } = await sql.query(
      `SELECT count(*)::int AS waiting FROM pg_stat_activity
       WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    )
    if (rows[0].waiting >= wanted) return
  }
}
