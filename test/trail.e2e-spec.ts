import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Client as Postgres } from 'pg'
import { DEFAULT_ORG_ID } from '../src/core/ids.js'
import type { LogEntry } from '../src/logs/logs.dto.js'
import { buildDocument } from '../src/openapi-document.js'
import type { Me } from '../src/sign-in/sign-in.dto.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'
import { CLIENT, startIdentityProvider } from './support/identity-provider.js'
import { BODIES, type Operation, readOperations, send } from './support/operations.js'
import { PASSWORD, signIn, tokenOf } from './support/people.js'
import { makeTenant, type Tenant } from './support/tenant.js'

/**
 * The administration trail: whatever an administrator changes, through any operation of `openapi.json`, leaves exactly
 * these entries in the log, which name them and show what was there before and after, without secrets.
 */
const LEAVES: Readonly<Record<string, readonly string[]>> = {
  Organizations_create: ['organization.created'],
  Organizations_update: ['organization.updated'],
  Roles_create: ['role.created'],
  Roles_replace: ['role.updated'],
  Roles_delete: ['role.deleted'],
  AdminKeys_create: ['admin_key.created'],
  AdminKeys_revoke: ['admin_key.revoked'],
  Members_update: ['member.updated'],
  Invitations_create: ['invitation.created'],
  Invitations_revoke: ['invitation.revoked'],
  Setup_createLink: ['setup_link.created'],
  SignIn_logout: ['session.ended'],
  SignIn_endSession: ['session.ended'],
  SignIn_changePassword: ['password.changed'],
  SignOn_put: ['single_sign_on.updated'],
  SignOn_delete: ['single_sign_on.deleted'],
  Tokens_revoke: ['token.revoked'],
  Tokens_rotateKeys: ['token_signing_keys.rotated'],
  Agents_create: ['agent.created', 'key.created'],
  Agents_update: ['agent.updated'],
  Agents_delete: ['key.revoked', 'agent.deleted'],
  Keys_create: ['key.created'],
  Keys_revoke: ['key.revoked'],
  Keys_rotate: ['key.created', 'key.rotated', 'key.revoked'],
  Policies_put: ['policy.updated'],
  Policies_rollback: ['policy.rolled_back'],
  TeamPolicies_put: ['policy.updated'],
  TeamPolicies_rollback: ['policy.rolled_back'],
  OrganizationPolicies_put: ['policy.updated'],
  OrganizationPolicies_rollback: ['policy.rolled_back'],
  KillSwitch_activate: ['kill_switch.activated'],
  KillSwitch_deactivate: ['kill_switch.deactivated'],
  KillSwitch_putSettings: ['kill_switch.settings_updated'],
  KillDrill_drill: [
    'agent.created',
    'key.created',
    'key.revoked',
    'policy.updated',
    'key.created',
    'kill_switch.activated',
    'kill_switch.deactivated',
    'key.revoked',
    'kill_switch.drilled',
  ],
  Workflows_put: ['workflow.updated'],
  Approvals_putSettings: ['approval_settings.updated'],
  Approvals_cancel: ['approval.cancelled'],
  Approvals_approve: ['approval.voted', 'approval.approved'],
  Approvals_revoke: ['approval.revoked'],
  Approvals_deny: ['approval.voted', 'approval.denied'],
  Erasure_entry: ['payload.erased'],
  Erasure_agent: ['payload.erased'],
  DataKeys_rotate: ['data_key.rotated'],
  Retention_update: ['retention.updated'],
  Proofs_startEpoch: ['epoch.started'],
  Webhooks_create: ['webhook.created'],
  Webhooks_update: ['webhook.updated'],
  Webhooks_delete: ['webhook.deleted'],
  Webhooks_rotateSecret: ['webhook.secret_rotated'],
  Webhooks_test: ['webhook.tested'],
  Webhooks_replay: ['webhook.replayed'],
  Notifications_put: ['notifications.updated'],
}

/** Operations that leave nothing by an administrator, and why. Adding to this list is a decision. */
const SILENT: Readonly<Record<string, string>> = {
  Retention_run: 'the service expires what is due, of every organization: its own entries, as system',
  Tokens_create: 'keeps nothing: a token is worth no more than its key, whose id stands in all it does',
  Invitations_accept:
    'nobody is signed in yet: member.created and invitation.accepted (invitations.e2e-spec.ts)',
  Setup_setUp: 'nobody is signed in yet: member.created and setup_link.used (sign-in.e2e-spec.ts)',
  SignIn_login: 'session.created, by the person who signs in (sign-in.e2e-spec.ts)',
  Enforce_decide: 'an agent’s: the decision is the entry',
  Enforce_decideBatch: 'an agent’s: the decisions are the entries',
  Authzen_evaluate: 'an agent’s: the decision is the entry',
  Authzen_evaluateAll: 'an agent’s: the decisions are the entries',
  AccessRequests_submit: 'an agent’s: approval.requested, or the decision that nobody need be asked',
  AccessRequests_cancel: 'an agent’s: approval.cancelled, by the agent',
  Logs_report: 'an agent’s: the report is the entry',
  LocalDecisions_record: 'an agent’s: the decisions are the entries',
}

const TRAIL = 'config,approval,kill,redaction,epoch'
/** Whoever has the address of such a hook may write into the channel. */
const CHAT = 'https://hooks.slack.com/services/T000/B000/a-secret-of-the-channel'
const LATER = `${PASSWORD}, later`

type Kind = 'root' | 'admin_key' | 'token' | 'member'
interface Caller {
  readonly kind: Kind
  readonly client: Client
  readonly actor: { readonly kind: string; readonly id: string }
}

let app: RunningApp
let root: Client
let owner: Postgres
let provider: Awaited<ReturnType<typeof startIdentityProvider>>
let signer_dir: string
let everything: readonly Operation[]

beforeAll(async () => {
  for (const level of ['warn', 'info'] as const) jest.spyOn(console, level).mockImplementation(() => {})
  provider = await startIdentityProvider({}, 'https://agentguard.test/v1/auth/oidc/callback')
  signer_dir = mkdtempSync(path.join(tmpdir(), 'agentguard-trail-'))
  app = await startApp({ settings: { ledger_signer_dir: signer_dir, outbound_allow: ['127.0.0.1'] } })
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
  everything = readOperations(buildDocument(app.app))
})
afterAll(async () => {
  await owner?.end()
  await app?.close()
  await provider?.close()
  rmSync(signer_dir, { recursive: true, force: true })
})

const inside = (org_id: string): Client => root.with({ ...root.headers, 'X-Org-ID': org_id })
const emailOf = ({ org_id }: Tenant): string => `${org_id.toLowerCase()}@example.com`

async function callerOf(kind: Kind, tenant: Tenant): Promise<Caller> {
  const { admin_id: key_id = '', member_id = '' } = tenant.ids
  switch (kind) {
    case 'root':
      return { kind, client: inside(tenant.org_id), actor: { kind: 'root', id: 'root' } }
    case 'member':
      return {
        kind,
        client: await signIn(app.url, emailOf(tenant)),
        actor: { kind: 'member', id: member_id },
      }
    case 'admin_key':
      return { kind, client: tenant.admin, actor: { kind: 'admin_key', id: key_id } }
    case 'token':
      return { kind, client: await exchanged(tenant), actor: { kind: 'admin_key', id: key_id } }
  }
}

async function exchanged({ admin }: Tenant): Promise<Client> {
  const body = { admin_key: admin.headers['X-Admin-Key'] }
  const made = await new Client(app.url).post<{ access_token: string }>('/token', body)
  return new Client(app.url, { Authorization: `Bearer ${made.body.access_token}` })
}

/** The last letters are sent last: what ends things that the others need. */
const rank = ({ id, method }: Operation): number =>
  ['Proofs_startEpoch', 'SignIn_logout', 'Tokens_revoke'].indexOf(id) + (method === 'DELETE' ? 1 : 0)

/** Bodies that change something here, whatever was there before. */
const bodyOf = ({ id }: Operation): unknown =>
  ({
    Roles_create: { role: 'made', permissions: ['logs:read'] },
    Roles_replace: { permissions: ['logs:read', 'agents:read'] },
    SignOn_put: { issuer: provider.issuer, ...CLIENT, group_claim: 'teams' },
    SignIn_changePassword: { current_password: PASSWORD, new_password: LATER },
    Invitations_create: { email: 'trail@example.com', roles: ['viewer'] },
    Approvals_putSettings: { approve_on_timeout: true },
    Notifications_put: { email: null, slack: { url: CHAT, events: ['kill_switch.*'] } },
  })[id] ?? BODIES[id]

/** The ids that an operation is sent with: of things that nothing else in the walk needs. */
async function idsFor(operation: Operation, caller: Caller, tenant: Tenant): Promise<Tenant['ids']> {
  const admin = inside(tenant.org_id)
  const own = tenant.ids.agent_id ?? ''
  const agent = { name: 'made', owner_team: 'made', environment: 'dev' }
  const made = async (at: string, body: object) => (await admin.post<Record<string, string>>(at, body)).body
  switch (operation.id) {
    case 'Agents_delete':
      return { ...tenant.ids, ...(await made('/agents', agent)) }
    case 'Keys_revoke':
    case 'Keys_rotate':
      return { ...tenant.ids, key_id: (await made(`/agents/${own}/keys`, {})).key_id ?? '' }
    case 'AdminKeys_revoke':
      return { ...tenant.ids, ...(await made('/admin-keys', { name: 'made', role: 'viewer' })) }
    case 'Setup_createLink':
      return { ...tenant.ids, ...(await made('/organizations', { name: 'made' })) }
    case 'SignIn_endSession': {
      if (caller.kind !== 'member') return tenant.ids
      const other = await signIn(app.url, emailOf(tenant), LATER)
      return { ...tenant.ids, session_id: (await other.get<Me>('/auth/me')).body.session_id ?? '' }
    }
    case 'Approvals_cancel':
    case 'Approvals_approve':
    case 'Approvals_revoke':
    case 'Approvals_deny': {
      const asked = { action: 'ask', resource: operation.id }
      const { body } = await tenant.agent.post<{ approval_id: string }>('/enforce', asked)
      if (operation.id === 'Approvals_revoke') await made(`/approvals/${body.approval_id}/approve`, {})
      return { ...tenant.ids, approval_id: body.approval_id }
    }
    default:
      return tenant.ids
  }
}

/** Brings about what has to be there before. */
async function prepare(operation: Operation, { org_id, ids }: Tenant): Promise<void> {
  const admin = inside(org_id)
  const agent = `/agents/${ids.agent_id ?? ''}/policy`
  if (operation.id === 'SignOn_put')
    await admin.put('/organization/single-sign-on', { issuer: provider.issuer, ...CLIENT })
  if (operation.id === 'Policies_rollback') await admin.put(agent, { allow: [{ action: 'second' }] })
}

/** The newest entries of an organization's trail after this one, oldest first. */
async function trailAfter(org_id: string, index: number): Promise<LogEntry[]> {
  const answer = await inside(org_id).get<LogEntry[]>(`/logs?type=${TRAIL}&limit=200`)
  expect(answer.status).toBe(200)
  return answer.body.filter((entry) => entry.index > index).reverse()
}

async function lastIndex(org_id: string): Promise<number> {
  const { rows } = await owner.query<{ index: number }>(
    'SELECT coalesce(max(index), -1)::float8 AS index FROM ledger.ledger_entry WHERE org_id = $1',
    [org_id],
  )
  return rows[0]?.index ?? -1
}

/** Every string below a member whose name says that it is a secret; of links, the token. */
function secretsIn(value: unknown, name = ''): string[] {
  if (typeof value === 'string') {
    if (name === 'link') return [tokenOf(value)]
    if (value === CHAT) return [CHAT.slice(CHAT.lastIndexOf('/') + 1)]
    return /(key|secret|token|password)$/.test(name) ? [value] : []
  }
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) => secretsIn(inner, key))
}

/** What an entry of this kind lacks: what was made shows what it is, what is gone what it was. */
function lacks({ event, type, before, after, change }: LogEntry): string[] {
  if (type !== 'config') return []
  const first = change !== null && 'version' in change && change.version === 1
  return [
    ...(/\.(created|updated|rolled_back)$/.test(event) && after === null ? ['after'] : []),
    ...(/\.(updated|deleted|rolled_back)$|key\.revoked$/.test(event) && before === null && !first
      ? ['before']
      : []),
  ]
}

/** The organization in whose log an operation is recorded. */
function placeOf({ id }: Operation, sent: Tenant['ids'], answer: Record<string, unknown> | null): string {
  if (id === 'Tokens_rotateKeys') return DEFAULT_ORG_ID
  return id === 'Organizations_create' && answer ? String(answer.org_id) : (sent.org_id ?? '')
}

/** Administrators' permissions and kinds of credentials say who is refused; refusals leave nothing. */
const mayCall = ({ kind }: Caller, { schemes, permission = '', id }: Operation): boolean => {
  if (id === 'Tokens_revoke') return kind === 'token'
  if (!schemes.has('admin_key')) return kind === 'member' && schemes.has('session')
  return kind === 'root' || !permission.startsWith('organizations:')
}

describe.each<Kind>(['admin_key', 'token', 'member', 'root'])('everything that a %s changes', (kind) => {
  it('leaves exactly its entries, which name them, with before and after and no secret', async () => {
    const tenant = await makeTenant(app, `trail-${kind.replace('_', '-')}`)
    const caller = await callerOf(kind, tenant)
    const secrets = new Set(Object.values(caller.client.headers).filter((value) => value.length > 30))
    const faults: unknown[] = []
    const done: string[] = []
    const walked = everything
      .filter(({ method, id }) => method !== 'GET' && !(id in SILENT))
      .sort((one, other) => rank(one) - rank(other))
    for (const operation of walked) {
      await prepare(operation, tenant)
      const sent = await idsFor(operation, caller, tenant)
      const known = await lastIndex(placeOf(operation, sent, null))
      const client =
        operation.id === 'Setup_createLink' && kind === 'root' ? inside(sent.org_id ?? '') : caller.client
      const body = bodyOf(operation)
      const answer = await send<Record<string, unknown>>(client, operation, sent, body)
      for (const secret of [...secretsIn(body), ...secretsIn(answer.body)]) secrets.add(secret)
      const succeeded = answer.status < 300
      if (succeeded !== mayCall(caller, operation)) faults.push([operation.id, answer.status, answer.text])
      const made = operation.id === 'Organizations_create' && succeeded
      const news = await trailAfter(placeOf(operation, sent, made ? answer.body : null), made ? -1 : known)
      const events = news.map(({ event }) => event)
      const wanted = succeeded ? (LEAVES[operation.id] ?? []) : []
      if (events.join() !== wanted.join()) faults.push([operation.id, 'left', events, 'not', wanted])
      for (const entry of news) {
        if (JSON.stringify(entry.actor) !== JSON.stringify({ id: caller.actor.id, kind: caller.actor.kind }))
          faults.push([operation.id, entry.event, 'names', entry.actor])
        if (lacks(entry).length > 0) faults.push([operation.id, entry.event, 'lacks', lacks(entry)])
      }
      if (succeeded) done.push(operation.id)
    }
    expect(faults).toEqual([])
    expect(done.length).toBeGreaterThan(35)
    await expectNoSecrets(tenant, secrets)
  })
})

/** Neither in an entry as it is stored nor in what is shown with it. */
async function expectNoSecrets(tenant: Tenant, secrets: ReadonlySet<string>): Promise<void> {
  const { rows } = await owner.query("SELECT convert_from(entry, 'UTF8') AS entry FROM ledger.ledger_entry")
  const shown = await inside(tenant.org_id).get(`/logs?type=${TRAIL}&limit=1000`)
  const written = JSON.stringify(rows) + shown.text
  // The controls: there is much, and what is no secret is found in it.
  expect(secrets.size).toBeGreaterThan(6)
  expect(written).toContain(CLIENT.client_id)
  expect(written).toContain('trail@example.com')
  expect([...secrets].filter((secret) => written.includes(secret))).toEqual([])
}

it('every operation that may change something leaves entries or has a reason not to', () => {
  const known = everything.filter(({ method }) => method !== 'GET').map(({ id }) => id)
  expect([...Object.keys(LEAVES), ...Object.keys(SILENT)].sort()).toEqual([...known].sort())
})
