import { Client as Postgres } from 'pg'
import { ROLES } from '../src/core/permissions.js'
import { buildDocument } from '../src/openapi-document.js'
import type { Me } from '../src/sign-in/sign-in.dto.js'
import { type RunningApp, startApp } from './support/app.js'
import { type Answer, Client, type ProblemBody } from './support/client.js'
import { admitted, nowhere, type Operation, readOperations } from './support/operations.js'
import { PASSWORD, signIn, tokenOf } from './support/people.js'

/**
 * People who are signed in, as a kind of principal of the matrix: every operation of `openapi.json` × every role,
 * beside an administrator key with that role. Ids lead nowhere and bodies are empty, as in matrix.e2e-spec.ts.
 */
let app: RunningApp
let root: Client
let owner: Postgres
let operations: readonly Operation[]

beforeAll(async () => {
  app = await startApp()
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
  operations = readOperations(buildDocument(app.app)).filter(
    // Signing out would end the walk; what the agents' routes say to a cookie is the last test's business.
    ({ id, schemes }) => schemes.has('session') && !/^(SignIn_logout|Proofs_startEpoch)$/.test(id),
  )
})
afterAll(async () => {
  await owner?.end()
  await app?.close()
})

const changes = () => operations.filter(({ method }) => method !== 'GET')

const call = (client: Client, operation: Operation): Promise<Answer<ProblemBody>> =>
  client.call(operation.method, nowhere(operation), operation.hasBody ? { body: {} } : {})

/** A member with this role, signed in; every name is another person. */
async function personOf(name: string, role: string): Promise<Client> {
  const email = `${name}@example.com`
  const { link } = (await root.post<{ link: string }>('/invitations', { email, roles: [role] })).body
  const body = { token: tokenOf(link), name, password: PASSWORD }
  expect((await new Client(app.url).post('/invitations/accept', body)).status).toBe(201)
  return signIn(app.url, email)
}

async function keyOf(role: string): Promise<Client> {
  const made = await root.post<{ api_key: string }>('/admin-keys', { name: role, role })
  return root.with({ 'X-Admin-Key': made.body.api_key })
}

/** What an answer says to anybody; ids of requests and times are not that. */
const said = ({ status, body }: Answer<ProblemBody>) => [status, body?.code, body?.detail]

it('the walk has the operations of people, and every operation of administrators is one', () => {
  expect(changes().length).toBeGreaterThan(25)
  const all = readOperations(buildDocument(app.app))
  expect(all.filter(({ schemes }) => schemes.has('admin_key') && !schemes.has('session'))).toEqual([
    expect.objectContaining({ id: 'Metrics_get' }), // for programs that scrape: a token or a key
  ])
})

describe('a member who is signed in', () => {
  it.each(ROLES)('as %s is answered as a key with that role', async (role) => {
    const member = await personOf(`matrix-${role}`, role)
    const key = await keyOf(role)
    for (const operation of operations) {
      const [ours, theirs] = [await call(member, operation), await call(key, operation)]
      if (operation.forAdmins) {
        expect([operation.id, ...said(ours)]).toEqual([operation.id, ...said(theirs)])
      } else {
        // A person's own account: keys have none.
        expect([operation.id, admitted(ours), admitted(theirs)]).toEqual([operation.id, true, false])
      }
    }
  })

  it('changes nothing without what only our own pages send', async () => {
    const member = await personOf('forged', 'owner')
    const { Cookie = '', Origin = '' } = member.headers
    const forged: readonly Readonly<Record<string, string>>[] = [
      { Cookie, Origin },
      { Cookie, 'X-AgentGuard-CSRF': '1' },
      { Cookie, 'X-AgentGuard-CSRF': '1', Origin: 'https://elsewhere.example' },
    ]
    for (const headers of forged) {
      for (const operation of changes()) {
        const answer = await call(member.with(headers), operation)
        expect([operation.id, answer.status, answer.body.code]).toEqual([operation.id, 403, 'csrf_refused'])
      }
    }
    // The control: with it, the same requests get further, and reading never needed it.
    for (const operation of changes()) {
      expect([operation.id, (await call(member, operation)).body?.code]).not.toContain('csrf_refused')
    }
    expect((await member.with({ Cookie }).get('/agents')).status).toBe(200)
  })

  it('is nobody, with the same bytes, once the session was revoked, idle or too old', async () => {
    const ended = await Promise.all(['revoked', 'idle', 'old'].map((name) => personOf(name, 'owner')))
    const ids = await Promise.all(ended.map(async (one) => (await one.get<Me>('/auth/me')).body.session_id))
    // The control: each of them was somebody.
    for (const one of ended) expect((await one.get('/agents')).status).toBe(200)
    const again = await signIn(app.url, 'revoked@example.com')
    expect((await again.delete(`/auth/sessions/${ids[0] ?? ''}`)).status).toBe(204)
    await owner.query(
      `UPDATE sessions SET last_seen_at = now() - interval '31 minutes' WHERE session_id = $1`,
      [ids[1]],
    )
    await owner.query('UPDATE sessions SET expires_at = now() WHERE session_id = $1', [ids[2]])
    const bodies = new Set<string>()
    for (const operation of operations) {
      for (const one of ended) {
        const answer = await call(one, operation)
        expect([operation.id, answer.status]).toEqual([operation.id, 401])
        bodies.add(JSON.stringify({ ...answer.body, request_id: '' }))
      }
    }
    expect([...bodies]).toHaveLength(1)
  })

  it('is no agent', async () => {
    const member = await personOf('asking', 'owner')
    const asked = readOperations(buildDocument(app.app)).filter(
      ({ forAgents, schemes }) => forAgents && !schemes.has('session'),
    )
    expect(asked.length).toBeGreaterThan(2)
    for (const operation of asked) {
      const { status } = await call(member, operation)
      expect([operation.id, [401, 403].includes(status)]).toEqual([operation.id, true])
    }
  })
})
