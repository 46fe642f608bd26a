import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Client as Postgres } from 'pg'
import type { OpenAPIObject } from '@nestjs/swagger'
import { buildDocument } from '../src/openapi-document.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client, withoutNames } from './support/client.js'
import { firstOwner } from './support/people.js'
import { until } from './support/proofs.js'

/**
 * Every operation of `openapi.json`, found there and not listed here: a route that is added is swept, and one that
 * needs something this file does not know of fails until it is told.
 */
type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'
interface Operation {
  readonly id: string
  readonly method: Uppercase<Method>
  readonly path: string
  readonly parameters: readonly string[]
  readonly hasBody: boolean
  /** Answers go on and on: only refusals come to an end. */
  readonly streams: boolean
  /** Whether agents may use it. */
  readonly forAgents: boolean
  /** Whether administrators may. */
  readonly forAdmins: boolean
}

const METHODS: readonly Method[] = ['get', 'post', 'put', 'patch', 'delete']

/** Operations that need no credentials. Adding to this list is a decision. */
const PUBLIC = new Set([
  'Index_get',
  'Health_get',
  'Health_ready',
  'Health_live',
  'Health_stats',
  'Proofs_keys', // public keys, of the installation
  'Authzen_configuration', // where the endpoints are
  'Invitations_accept', // the token of an invitation is the credential
  'Setup_setUp', // the token of a set-up link is the credential
  'SignIn_login',
  'SignOn_start',
  'SignOn_callback', // what the browser brings back from its provider is the credential
])

/** Errors of these are text, as their standard wants; everybody else's are problem documents. */
const TEXT_ERRORS = /^\/access\//

const SWEPT_EVALUATION = {
  subject: { type: 'agent', id: 'swept' },
  action: { name: 'swept' },
  resource: { type: 'swept', id: 'swept' },
}

/** A body that is valid, for operations that have one. */
const BODIES: Readonly<Record<string, unknown>> = {
  Organizations_create: { name: 'swept' },
  Organizations_update: { name: 'swept' },
  AdminKeys_create: { name: 'swept', role: 'auditor' },
  Roles_create: { role: 'swept', permissions: ['logs:read'] },
  Roles_replace: { permissions: ['logs:read'] },
  Members_update: { name: 'swept' },
  Invitations_create: { email: 'swept@example.com', roles: ['viewer'] },
  Invitations_accept: { token: 'swept', name: 'swept', password: 'swept and swept' },
  Setup_setUp: { token: 'swept', email: 'swept@example.com', name: 'swept', password: 'swept and swept' },
  SignOn_put: { issuer: 'https://swept.invalid', client_id: 'swept', client_secret: 'swept' },
  SignIn_login: { email: 'swept@example.com', password: 'swept' },
  SignIn_changePassword: { current_password: 'swept', new_password: 'swept and swept' },
  Agents_create: { name: 'swept', owner_team: 'swept', environment: 'dev' },
  Agents_update: { name: 'swept' },
  Keys_create: {},
  Keys_rotate: {},
  Policies_put: { allow: [{ action: 'swept' }] },
  Policies_rollback: { version: 1 },
  TeamPolicies_put: { deny: [{ action: 'swept' }] },
  TeamPolicies_rollback: { version: 1 },
  OrganizationPolicies_put: { deny: [{ action: 'swept' }] },
  OrganizationPolicies_rollback: { version: 1 },
  Enforce_decide: { action: 'swept' },
  Approvals_putSettings: { approve_on_timeout: false },
  Approvals_approve: { reason: 'swept' },
  Approvals_deny: { reason: 'swept' },
  Workflows_put: { levels: [{ roles: ['admin'], time_limit_seconds: 60 }] },
  Enforce_decideBatch: { requests: [{ action: 'swept' }] },
  Authzen_evaluate: SWEPT_EVALUATION,
  Authzen_evaluateAll: { evaluations: [SWEPT_EVALUATION] },
  Logs_report: { action: 'swept', allowed: true, result: 'success' },
  Proofs_startEpoch: { reason: 'swept' },
  Retention_update: { retention_days: 730 },
  Erasure_entry: { reason: 'swept' },
  Erasure_agent: { reason: 'swept' },
  Notifications_put: { email: null, slack: null },
  Webhooks_create: { name: 'swept', url: 'https://hooks.example.com/swept', events: ['kill_switch.*'] },
  Webhooks_update: { name: 'swept' },
  Webhooks_rotateSecret: {},
  Webhooks_replay: { from: '2026-01-01T00:00:00Z' },
  KillSwitch_activate: { scope: 'environment', target: 'stage', reason: 'swept' },
  KillSwitch_deactivate: { scope: 'environment', target: 'stage', reason: 'swept' },
  KillSwitch_putSettings: { two_people: true },
}

/** Parameters that name a place in the caller's own log, whoever calls: nothing of another organization. */
const OWN_PLACES = new Set(['path', 'team', 'version', 'workflow'])

const CANARY = 'canary-of-the-other-organization'

let app: RunningApp
let signer_dir: string
let owner: Postgres
let operations: Operation[]
let a: Tenant
let b: Tenant

interface Tenant {
  org_id: string
  admin: Client
  agent: Client
  /** Path parameters that exist in this organization. */
  ids: Readonly<Record<string, string>>
}

async function makeTenant(name: string): Promise<Tenant> {
  const root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  const { org_id } = (await root.post<{ org_id: string }>('/organizations', { name })).body
  const inside = root.with({ ...root.headers, 'X-Org-ID': org_id })
  const { member_id } = (await firstOwner(inside, `${org_id.toLowerCase()}@example.com`)).member
  const invited = { email: `${org_id.toLowerCase()}@example.org`, roles: ['viewer'] }
  const { invitation_id } = (await inside.post<{ invitation_id: string }>('/invitations', invited)).body
  const key = await inside.post<{ api_key: string; admin_id: string }>('/admin-keys', { name, role: 'owner' })
  const admin = new Client(app.url, { 'X-Admin-Key': key.body.api_key })
  const made = await admin.post<{ agent_id: string; key_id: string; api_key: string }>('/agents', {
    name,
    owner_team: name,
    environment: 'dev',
  })
  const { agent_id, key_id, api_key } = made.body
  await admin.put(`/agents/${agent_id}/policy`, {
    allow: [{ action: 'read', resource: name }],
    require_approval: [{ action: 'ask' }],
  })
  for (const path of [`/teams/${name}/policy`, '/organization/policy']) {
    await admin.put(path, { deny: [{ action: `never ${name}` }] })
  }
  const agent = new Client(app.url, { 'X-Agent-Key': api_key })
  const asked = { action: 'read', resource: name, context: { name } }
  const role = `role-${org_id.slice(4).replaceAll(/[^a-z0-9]/g, '')}`
  await admin.post('/roles', { role, permissions: ['logs:read'] })
  const log_id = (await agent.post<{ decision_id: string }>('/enforce', asked)).body.decision_id
  const webhook = await admin.post<{ webhook_id: string }>('/webhooks', {
    name,
    url: `https://hooks.example.com/${name}`,
    events: ['kill_switch.*'], // none of the sweep's own doings: nothing is sent
  })
  const waiting = await agent.post<{ approval_id: string }>('/enforce', { ...asked, action: 'ask' })
  return {
    org_id,
    admin,
    agent,
    ids: {
      webhook_id: webhook.body.webhook_id,
      org_id,
      agent_id,
      key_id,
      admin_id: key.body.admin_id,
      role,
      member_id,
      invitation_id,
      session_id: `ses_${org_id.slice(4)}`,
      team: name,
      version: '1',
      log_id,
      path: '0/000.p/1',
      approval_id: waiting.body.approval_id,
      workflow: 'standard',
    },
  }
}

/** Ids of the right form that exist nowhere. */
const RANDOM: Readonly<Record<string, string>> = {
  org_id: 'org_0000000000000000',
  agent_id: 'agt_0000000000000000',
  key_id: 'key_0000000000000000',
  admin_id: 'adm_0000000000000000',
  role: 'no-such-role',
  member_id: 'mem_0000000000000000',
  invitation_id: 'inv_0000000000000000',
  session_id: 'ses_0000000000000000',
  webhook_id: 'whk_0000000000000000',
  team: 'no-such-team',
  version: '1',
  log_id: '01980000-0000-7000-8000-000000000000',
  path: '63/999',
  approval_id: 'apr_0000000000000000',
  workflow: 'no-such-workflow',
}

const read = (document: OpenAPIObject): Operation[] =>
  Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const operation = item[method]
      if (!operation) return []
      return {
        id: operation.operationId ?? '',
        method: method.toUpperCase() as Uppercase<Method>,
        path,
        parameters: [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? ''),
        hasBody: operation.requestBody !== undefined,
        streams: JSON.stringify(operation.responses).includes('text/event-stream'),
        forAdmins: operation.security?.some((scheme) => 'admin_key' in scheme) ?? false,
        forAgents: operation.security?.some((scheme) => 'agent_key' in scheme) ?? false,
      }
    }),
  )

function pathOf(operation: Operation, ids: Readonly<Record<string, string>>): string {
  return operation.path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const id = ids[name]
    if (id === undefined) throw new Error(`${operation.id}: the sweep knows no ${name}`)
    return id
  })
}

function send(client: Client, operation: Operation, ids: Readonly<Record<string, string>>) {
  const body = BODIES[operation.id]
  if (operation.hasBody && body === undefined)
    throw new Error(`${operation.id}: the sweep knows no body for it`)
  return client.call(operation.method, pathOf(operation, ids), operation.hasBody ? { body } : {})
}

/** Everything organization B has, but what its own use changes by itself. */
async function stateOf(org_id: string): Promise<string> {
  const state: unknown[] = []
  for (const table of [
    'organizations',
    'admin_keys',
    'teams',
    'agents',
    'agent_config',
    'agent_keys',
    'policies',
    'policy_versions',
    'members',
    'member_passwords',
    'sessions',
    'invitations',
    'setup_links',
    'webhooks',
    'webhook_secrets',
    'notification_settings',
    'single_sign_on',
    'kill_switches',
    'kill_switch_settings',
    'approvals',
    'approval_events',
    'workflows',
  ]) {
    const { rows } = await owner.query(
      `SELECT to_jsonb(t) - 'last_used_at' AS row FROM ${table} AS t WHERE org_id = $1 ORDER BY 1`,
      [org_id],
    )
    state.push(table, rows)
  }
  const { rows } = await owner.query(
    "SELECT index, encode(entry, 'hex') FROM ledger.ledger_entry WHERE org_id = $1 ORDER BY index",
    [org_id],
  )
  return JSON.stringify([...state, rows])
}

beforeAll(async () => {
  signer_dir = mkdtempSync(path.join(tmpdir(), 'agentguard-sweep-'))
  app = await startApp({ settings: { ledger_signer_dir: signer_dir } })
  owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
  operations = read(buildDocument(app.app))
  a = await makeTenant('organization-a')
  b = await makeTenant(CANARY)
})

afterAll(async () => {
  await owner?.end()
  await app?.close()
  rmSync(signer_dir, { recursive: true, force: true })
})

describe('every operation of openapi.json', () => {
  it('is there, under /v1, with an id of its own', () => {
    expect(operations.length).toBeGreaterThan(25)
    expect(new Set(operations.map(({ id }) => id)).size).toBe(operations.length)
    expect(operations.filter(({ path }) => !/^\/(v1|\.well-known|access)\//.test(path))).toEqual([
      expect.objectContaining({ id: 'Index_get', path: '/v1' }),
    ])
  })

  it('answers 401 without credentials, and with ones that are not valid, always with the same bytes', async () => {
    const none = new Client(app.url)
    const wrong = ['nonsense', `adk_${'x'.repeat(49)}`, `agk_${'0'.repeat(49)}`, '']
    const bodies = new Set<string>()
    const texts = new Set<string>()
    for (const operation of operations) {
      if (PUBLIC.has(operation.id)) continue
      const text = TEXT_ERRORS.test(operation.path)
      const answer = await send(none, operation, a.ids)
      expect([operation.id, answer.status]).toEqual([operation.id, 401])
      if (!text) expect([operation.id, answer.body.code]).toEqual([operation.id, 'unauthenticated'])
      for (const key of wrong) {
        for (const header of ['X-Admin-Key', 'X-Agent-Key']) {
          const refused = await send(none.with({ [header]: key }), operation, a.ids)
          expect([operation.id, key, refused.status]).toEqual([operation.id, key, 401])
          if (key === '') continue
          if (text) texts.add(refused.text)
          else bodies.add(JSON.stringify({ ...refused.body, request_id: '' }))
        }
      }
    }
    expect([bodies.size, texts.size]).toEqual([1, 1])
  })

  it('is served under its bare path as well', async () => {
    for (const operation of operations) {
      if (PUBLIC.has(operation.id)) continue
      const bare = { ...operation, path: operation.path.replace(/^\/v1/, '') }
      expect([operation.id, (await send(new Client(app.url), bare, a.ids)).status]).toEqual([
        operation.id,
        401,
      ])
    }
  })

  it('answers for another organization’s thing exactly as for one that does not exist', async () => {
    const before = await stateOf(b.org_id)
    const compared: string[] = []
    for (const operation of operations) {
      if (operation.parameters.every((name) => OWN_PLACES.has(name))) continue
      for (const client of [a.admin, a.agent]) {
        const foreign = await send(client, operation, b.ids)
        const missing = await send(client, operation, RANDOM)
        expect([operation.id, foreign.status]).toEqual([
          operation.id,
          client === a.admin ? foreign.status : operation.forAgents ? 404 : 403,
        ])
        expect(foreign.status).toBeGreaterThanOrEqual(403)
        expect(withoutNames(foreign, ...Object.values(b.ids).filter((id) => id !== '1'))).toEqual(
          withoutNames(missing, ...Object.values(RANDOM).filter((id) => id !== '1')),
        )
        expect(foreign.text).not.toContain(CANARY)
      }
      if (operation.parameters.includes('key_id')) {
        // A key of B below A's own agent must not be reachable either.
        const mixed = await send(a.admin, operation, { ...b.ids, agent_id: a.ids.agent_id ?? '' })
        expect([operation.id, mixed.status]).toEqual([operation.id, 404])
      }
      compared.push(operation.id)
    }
    expect(compared.length).toBeGreaterThan(12)
    expect(await stateOf(b.org_id)).toBe(before)
  })

  it('control: the same operations do succeed on the organization’s own things', async () => {
    const own: Record<string, number> = {}
    await until(async () =>
      (await a.admin.get(`/logs/${a.ids.log_id ?? ''}/proof`)).status === 200 ? true : null,
    )
    for (const operation of operations) {
      if (operation.parameters.length === 0 || operation.method !== 'GET') continue
      const client = operation.forAgents && !operation.forAdmins ? a.agent : a.admin
      own[operation.id] = (await send(client, operation, a.ids)).status
    }
    const { Organizations_get: organization, ...rest } = own
    expect(organization).toBe(403) // organizations are the root key's
    expect(new Set(Object.values(rest))).toEqual(new Set([200]))
  })

  it('never shows organization A anything of B in its lists', async () => {
    const before = await stateOf(b.org_id)
    for (const operation of operations) {
      if (operation.parameters.length > 0 || operation.streams) continue
      for (const client of [a.admin, a.agent]) {
        const answer = await send(client, operation, {})
        expect([operation.id, answer.text.includes(CANARY)]).toEqual([operation.id, false])
        expect(answer.text).not.toContain(b.org_id)
      }
    }
    const named = await a.admin.get(`/logs?agent_id=${b.ids.agent_id ?? ''}&type=decision,action,config`)
    expect([named.status, named.text]).toEqual([200, '[]'])
    const entered = await a.admin.get('/agents', { 'X-Org-ID': b.org_id })
    const invented = await a.admin.get('/agents', { 'X-Org-ID': RANDOM.org_id ?? '' })
    expect(entered.status).toBe(404)
    expect(withoutNames(entered, b.org_id)).toEqual(withoutNames(invented, RANDOM.org_id ?? ''))
    expect(await stateOf(b.org_id)).toBe(before)
  })

  it('answers 401 to every key of an organization that is suspended', async () => {
    const root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
    expect((await b.agent.post('/enforce', { action: 'read' })).status).toBe(200)
    await root.patch(`/organizations/${b.org_id}`, { is_active: false })
    for (const operation of operations) {
      if (PUBLIC.has(operation.id)) continue
      for (const client of [b.admin, b.agent]) {
        expect([operation.id, (await send(client, operation, b.ids)).status]).toEqual([operation.id, 401])
      }
    }
    await root.patch(`/organizations/${b.org_id}`, { is_active: true })
    expect((await b.agent.post('/enforce', { action: 'read' })).status).toBe(200)
  })
})
