import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { OpenAPIObject } from '@nestjs/swagger'
import { Client as Postgres } from 'pg'
import { buildDocument } from '../src/openapi-document.js'
import { type RunningApp, startApp } from './support/app.js'
import { type Belongings, makeBelongings, settled, stateOf } from './support/belongings.js'
import { type Answer, Client, withoutNames } from './support/client.js'
import { ELSEWHERE, type Ids, type Naming, namings, NO_THING, OWN_PLACES, WHOLE } from './support/namings.js'
import { BODIES, type Operation, pathOf, RANDOM, readOperations } from './support/operations.js'
import { signIn } from './support/people.js'
import { makeTenant, type Tenant } from './support/tenant.js'

/**
 * Whose thing it is: every operation of `openapi.json` that names a thing, in its path, query or body × every kind of
 * principal × {its own, another organization's, one that was deleted, another team's}. Whatever is not the caller's to
 * see is answered as an id that was never given out, byte for byte.
 */
const CANARY = 'canary-of-the-other-organization'

let app: RunningApp
let signer_dir: string
let owner: Postgres
let operations: readonly Operation[]
let a: Tenant
let red: Belongings
let blue: Belongings
let gone: Belongings
let others: Belongings
let b: Tenant

interface Caller {
  readonly kind: string
  readonly client: Client
  readonly ids: Ids
  readonly root?: true
}
let whole: readonly Caller[]
let held: readonly Caller[]

const committed = JSON.parse(
  readFileSync(path.join(__dirname, '..', 'openapi.json'), 'utf8'),
) as OpenAPIObject

beforeAll(async () => {
  signer_dir = mkdtempSync(path.join(tmpdir(), 'agentguard-matrix-'))
  app = await startApp({ settings: { ledger_signer_dir: signer_dir } })
  owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
  operations = readOperations(buildDocument(app.app)).filter(({ permission }) => permission !== undefined)
  ;[a, b] = [await makeTenant(app, 'organization-a'), await makeTenant(app, 'organization-b')]
  const inside = ({ org_id }: Tenant) =>
    new Client(app.url, { 'X-Admin-Key': app.admin_key, 'X-Org-ID': org_id })
  red = await makeBelongings(inside(a), 'red')
  blue = await makeBelongings(inside(a), 'blue')
  gone = await makeBelongings(inside(a), 'gone')
  others = await makeBelongings(inside(b), CANARY)
  others = { ...others, ids: { ...others.ids, org_id: b.org_id } }
  await fill(b.admin, others)
  gone = { ...gone, ids: await deleted(inside(a)) }
  const ids = { ...red.ids, org_id: a.org_id, admin_id: a.ids.admin_id ?? '', team: a.ids.team ?? '' }
  whole = [
    { kind: 'root', client: inside(a), ids, root: true },
    { kind: 'key', client: a.admin, ids },
    { kind: 'token', client: await tokenOf({ admin_key: a.admin.headers['X-Admin-Key'] }), ids },
    { kind: 'member', client: await personOf(a), ids },
    { kind: 'agent', client: red.agent, ids },
    { kind: 'agent token', client: await tokenOf({ agent_key: red.agent.headers['X-Agent-Key'] }), ids },
  ]
  const own = { ...red.ids, org_id: a.org_id }
  held = [
    { kind: 'key', client: red.key, ids: own },
    { kind: 'token', client: await tokenOf({ admin_key: red.key.headers['X-Admin-Key'] }), ids: own },
    { kind: 'member', client: red.member, ids: own },
  ]
  await Promise.all([settled(owner, a.org_id), settled(owner, b.org_id)])
})
afterAll(async () => {
  await owner?.end()
  await app?.close()
  rmSync(signer_dir, { recursive: true, force: true })
})

/** What an organization has beyond the things that ids name, so that whether it changes can be seen. */
async function fill(admin: Client, { ids }: Belongings): Promise<void> {
  const slack = { url: 'https://hooks.slack.com/services/T0/B0/X', events: ['webhook.disabled'] }
  const level = { roles: ['admin'], time_limit_seconds: 60 }
  const kept = { role: 'kept', permissions: ['logs:read'] }
  const token = await tokenOf({ admin_key: admin.headers['X-Admin-Key'] })
  const answers = [
    await admin.put('/organization/notifications', { email: null, slack }),
    await admin.put('/workflows/own', { levels: [level] }),
    await admin.put('/approvals/settings', { approve_on_timeout: true }),
    await admin.put('/kill-switch/settings', { two_people: true }),
    await admin.put('/ledger/retention', { retention_days: 730 }),
    await admin.post(`/logs/${ids.log_id ?? ''}/erase`, { reason: CANARY }),
    await admin.post('/roles', kept, { 'Idempotency-Key': CANARY }),
    await token.post('/token/revoke', undefined),
  ]
  expect(answers.filter(({ status }) => status >= 300).map(({ text }) => text)).toEqual([])
  // Nothing listens at their webhooks: one that was delivered stands for all.
  await owner.query(
    `INSERT INTO deliveries (org_id, destination_id, log_index, log_id, event, status, next_attempt_at)
     VALUES ($1, $2, 0, $3, 'webhook.disabled', 'delivered', now())`,
    [b.org_id, ids.webhook_id, ids.log_id],
  )
}

async function tokenOf(body: object): Promise<Client> {
  const made = await new Client(app.url).post<{ access_token: string }>('/token', body)
  return new Client(app.url, { Authorization: `Bearer ${made.body.access_token}` })
}

const personOf = ({ org_id }: Tenant): Promise<Client> =>
  signIn(app.url, `${org_id.toLowerCase()}@example.com`)

/** Ends what can be deleted of the team `gone`; the key that is revoked is one of an agent that goes on. */
async function deleted(admin: Client): Promise<Ids> {
  const { ids, member } = gone
  const spare = await admin.post<{ key_id: string }>(`/agents/${red.ids.agent_id ?? ''}/keys`, {})
  const { key_id } = spare.body
  const ended = [
    await member.delete(`/auth/sessions/${ids.session_id ?? ''}`),
    ...(await Promise.all(
      [
        `/agents/${red.ids.agent_id ?? ''}/keys/${key_id}`,
        `/agents/${ids.agent_id ?? ''}`,
        `/admin-keys/${ids.admin_id ?? ''}`,
        `/roles/${ids.role ?? ''}`,
        `/invitations/${ids.invitation_id ?? ''}`,
        `/webhooks/${ids.webhook_id ?? ''}`,
      ].map((at) => admin.delete(at)),
    )),
  ]
  expect(ended.map(({ status, text }) => [status, text])).toEqual(ended.map(() => [204, '']))
  const { agent_id, admin_id, role, invitation_id, webhook_id, session_id } = ids
  return { agent_id, admin_id, role, invitation_id, webhook_id, session_id, key_id } as Ids
}

/** The request of a caller that names these things instead of its own. */
function ask(
  { client, ids }: Caller,
  { operation, names, query, body }: Naming,
  named: Ids,
): Promise<Answer<unknown>> {
  const replaced = Object.fromEntries(names.map((name) => [name, named[name] ?? '']))
  const at = pathOf(operation, { ...ids, ...replaced })
  return client.call(operation.method, query ? `${at}?${query(named)}` : at, {
    ...(operation.hasBody && { body: body ? body(named) : BODIES[operation.id] }),
  })
}

/** What the caller sent, longest first; what is short says nothing. */
const long = (ids: Ids): string[] =>
  Object.values(ids)
    .filter((id) => id.length > 8 || /^(red|blue|gone)$/.test(id))
    .sort((one, other) => other.length - one.length)

/**
 * What an answer says, without what it names, the place that a decision has in the caller's own log, and the checkpoint
 * of that log: it grows with every question of the other callers.
 */
function said(answer: Answer<unknown>, ...names: readonly string[]): Record<string, unknown> {
  const { text, ...rest } = withoutNames(answer, ...names) as { readonly text: string }
  const moving = /"decision_id":"[0-9a-f-]+",|"index":\d+|"checkpoint":\{[^}]*\}/g
  return { ...rest, text: text.replace(moving, '') }
}

/** What two answers say, where they differ. */
const difference = (one: Record<string, unknown>, other: Record<string, unknown>): unknown[] =>
  Object.keys(one)
    .filter((name) => JSON.stringify(one[name]) !== JSON.stringify(other[name]))
    .flatMap((name) => [one[name], other[name]])

/** Faults of one request that names something of somebody else, beside one that names what never was. */
async function compare(caller: Caller, naming: Naming, theirs: Ids): Promise<unknown[]> {
  const [foreign, missing] = [await ask(caller, naming, theirs), await ask(caller, naming, RANDOM)]
  const [one, other] = [foreign, missing].map((answer) => said(answer, ...long(theirs), ...long(RANDOM)))
  if (!one || !other) throw new Error('there are two answers')
  const what = [caller.kind, naming.operation.id, naming.name]
  const faults: unknown[] = []
  if (difference(one, other).length > 0) faults.push([...what, ...difference(one, other)])
  if (!naming.query && !naming.answers && foreign.status < 400)
    faults.push([...what, 'succeeded', foreign.text])
  if (JSON.stringify(one).includes(CANARY) || JSON.stringify(one).includes(b.org_id))
    faults.push([...what, 'shows something of B', foreign.text])
  return faults
}

/** The root key reaches every organization: that is what it is for. */
const beyond = (caller: Caller, { operation }: Naming): boolean =>
  caller.root === true && beyondOrganization(operation)

const beyondOrganization = ({ permission }: Operation): boolean =>
  permission?.startsWith('organizations:') ?? false

async function walk(callers: readonly Caller[], all: readonly Naming[], theirs: Ids) {
  const faults: unknown[] = []
  let cases = 0
  for (const naming of all) {
    const asking = callers.filter((caller) => !beyond(caller, naming))
    cases += asking.length
    faults.push(...(await Promise.all(asking.map((caller) => compare(caller, naming, theirs)))).flat())
  }
  return { faults, cases }
}

it('names every thing that an operation can name', () => {
  const looksLikeOne = /(^|_)ids?$|^roles?$|_roles$|^target$/
  const unknown = operations.flatMap(({ id, method, path: at }) => {
    const operation = committed.paths[at]?.[method.toLowerCase() as 'get']
    const schema =
      /"#\/components\/schemas\/(\w+)"/.exec(JSON.stringify(operation?.requestBody ?? null))?.[1] ?? ''
    const body = committed.components?.schemas?.[schema]
    const members = body && 'properties' in body ? Object.keys(body.properties ?? {}) : []
    const query = (operation?.parameters ?? []).flatMap((one) =>
      'in' in one && one.in === 'query' ? [one.name] : [],
    )
    return [...members, ...query]
      .filter((name) => looksLikeOne.test(name))
      .filter((name) => !(name in (ELSEWHERE[id] ?? {})) && !(`${id} ${name}` in NO_THING))
      .map((name) => `${id} ${name}`)
  })
  expect(unknown).toEqual([])
})

it('another organization’s is answered to every kind of principal as what never was, and stays as it is', async () => {
  const before = await stateOf(owner, b.org_id)
  const { faults, cases } = await walk(whole, namings(operations, OWN_PLACES), others.ids)
  expect(faults).toEqual([])
  expect(cases).toBeGreaterThan(300)
  expect(await stateOf(owner, b.org_id)).toEqual(before)
})

/** What is still shown as ended, or may be ended twice. Adding to this list is a decision. */
const ENDED: Readonly<Record<string, number>> = {
  'AdminKeys_get admin_id': 200, // when it was revoked
  'Invitations_get invitation_id': 200, // what became of it
  'Agents_get agent_id': 200, // deleted is deactivated: entries of the log go on naming it
  'Agents_update agent_id': 200, // it may be activated again
  'Agents_delete agent_id': 204,
  'Erasure_agent agent_id': 200, // what it said is still there to be erased
  'Keys_list agent_id': 200, // when each was revoked
  'Keys_revoke agent_id': 404, // the key is another agent's
  'Keys_revoke key_id': 204,
  'Keys_rotate key_id': 409,
  'Policies_get agent_id': 200, // what its decisions were made by
  'Policies_listVersions agent_id': 200,
  'Policies_getVersion agent_id': 200,
}

it('what was deleted is answered as what never was, unless it is shown as ended', async () => {
  const all = namings(operations, OWN_PLACES).filter(
    ({ names: [name = '', ...more] }) => name in gone.ids && more.length === 0,
  )
  const isShown = ({ operation: { id }, names }: Naming) => `${id} ${names.join()}` in ENDED
  const { faults, cases } = await walk(
    whole,
    all.filter((naming) => !isShown(naming)),
    gone.ids,
  )
  expect(faults).toEqual([])
  expect(cases).toBeGreaterThan(60)
  const shown: Record<string, number> = {}
  for (const naming of all.filter(isShown)) {
    const [root, ...rest] = await Promise.all(whole.map((caller) => ask(caller, naming, gone.ids)))
    const key = `${naming.operation.id} ${naming.names.join()}`
    shown[key] = root?.status ?? 0
    const [agents, people] = [rest.slice(-2), rest.slice(0, -2)]
    expect([key, ...people.map(({ status }) => status)]).toEqual([key, ...people.map(() => root?.status)])
    expect([key, ...agents.map(({ status }) => status)]).toEqual([key, 403, 403])
  }
  expect(shown).toEqual(ENDED)
})

it('another team’s is answered to who is held to a team as what never was, and stays as it is', async () => {
  await settled(owner, a.org_id)
  const before = await stateOf(owner, a.org_id)
  const { faults, cases } = await walk(held, namings(operations, WHOLE), blue.ids)
  expect(faults).toEqual([])
  expect(cases).toBeGreaterThan(150)
  expect(await stateOf(owner, a.org_id)).toEqual(before)
})

it('webhooks are closed to who is held to a team, also the team’s own', async () => {
  const { webhook_id = '' } = red.ids
  for (const { kind, client } of held) {
    for (const at of ['/webhooks', `/webhooks/${webhook_id}`, `/webhooks/${webhook_id}/deliveries`]) {
      const answer = await client.get<{ detail: string }>(at)
      expect([kind, at, answer.status]).toEqual([kind, at, 403])
      expect(answer.body.detail).toContain('You are held to the team red')
      expect((await a.admin.get(at)).status).toBe(200) // the control
    }
  }
})

it('control: what is one’s own is shown, to who is held to a team as well', async () => {
  const faults: unknown[] = []
  for (const operation of operations) {
    if (operation.method !== 'GET' || operation.parameters.length === 0) continue
    for (const caller of [...whole, ...held]) {
      const isAgent = caller.kind.startsWith('agent')
      if (isAgent ? !operation.forAgents : !operation.forAdmins) continue
      if (held.includes(caller) && !operation.within_team) continue
      const answer = await ask(caller, { name: 'own', operation, names: [] }, {})
      const wanted = beyondOrganization(operation) && !caller.root ? 403 : 200
      if (answer.status !== wanted) faults.push([caller.kind, operation.id, answer.status, answer.text])
    }
  }
  expect(faults).toEqual([])
})

it('control: the state of an organization is all that it has', async () => {
  const before = await stateOf(owner, b.org_id)
  // Where nothing of B stands nothing could be seen to change. Adding to this list is a decision.
  expect(Object.keys(before).filter((table) => before[table]?.startsWith('0 '))).toEqual([
    'ledger.ledger_expired', // nothing is old enough
    'ledger.ledger_halt', // nothing was tampered with
    'public.local_spools', // needs a signed bundle: local-recording.e2e-spec.ts
    'public.single_sign_on', // needs a provider: sign-on.e2e-spec.ts
  ])
  await b.admin.post('/roles', { role: 'another', permissions: ['logs:read'] })
  const after = await stateOf(owner, b.org_id)
  expect(Object.keys(after).filter((table) => after[table] !== before[table])).toEqual(
    expect.arrayContaining(['public.roles', 'ledger.ledger_entry', 'ledger.ledger_head']),
  )
})
