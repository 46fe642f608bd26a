import type { OpenAPIObject } from '@nestjs/swagger'
import type { Answer, Client, ProblemBody } from './client.js'

/**
 * Every operation of `openapi.json`, found there and not listed in any test: a route that is added is swept, and one
 * that needs something this file does not know of fails until it is told.
 */
export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'
export interface Operation {
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
  /** `self`: about the principal alone. Undefined: public. */
  readonly permission: string | undefined
  readonly within_team: boolean
  readonly schemes: ReadonlySet<string>
}

export const METHODS: readonly Method[] = ['get', 'post', 'put', 'patch', 'delete']

/** Operations that need no credentials. Adding to this list is a decision. */
export const PUBLIC = new Set([
  'Index_get',
  'Health_get',
  'Health_ready',
  'Health_live',
  'Health_stats',
  'Proofs_keys', // public keys, of the installation
  'Authzen_configuration', // where the endpoints are
  'Invitations_accept', // the token of an invitation is the credential
  'Tokens_create', // the key in the body is the credential
  'Tokens_revoke', // takes a token and nothing else, and looks at it by itself
  'Tokens_jwks', // public keys, of the installation
  'Setup_setUp', // the token of a set-up link is the credential
  'SignIn_login',
  'SignOn_start',
  'SignOn_callback', // what the browser brings back from its provider is the credential
])

const SWEPT_EVALUATION = {
  subject: { type: 'agent', id: 'swept' },
  action: { name: 'swept' },
  resource: { type: 'swept', id: 'swept' },
}

/** A body that is valid, for operations that have one. */
export const BODIES: Readonly<Record<string, unknown>> = {
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
  Tokens_create: { agent_key: 'swept' },
  Tokens_rotateKeys: {},
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
  Approvals_revoke: { reason: 'swept' },
  Workflows_put: { levels: [{ roles: ['admin'], time_limit_seconds: 60 }] },
  Enforce_decideBatch: { requests: [{ action: 'swept' }] },
  Authzen_evaluate: SWEPT_EVALUATION,
  AccessRequests_submit: {
    ...SWEPT_EVALUATION,
    denial: { evaluation_id: '01980000-0000-7000-8000-000000000000' },
  },
  AccessRequests_cancel: { reason: 'swept' },
  Authzen_evaluateAll: { evaluations: [SWEPT_EVALUATION] },
  LocalDecisions_record: {
    spool: '01980000-0000-7000-8000-000000000000',
    manifest: 'swept',
    lease: 'swept',
    decisions: [{ seq: 0, decided_at: 0, action: 'swept', effect: 'deny', code: 'swept', reason: 'swept' }],
  },
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
  KillDrill_drill: {},
  KillSwitch_activate: { scope: 'environment', target: 'stage', reason: 'swept' },
  KillSwitch_deactivate: { scope: 'environment', target: 'stage', reason: 'swept' },
  KillSwitch_putSettings: { two_people: true },
}

/** Ids of the right form that exist nowhere. */
export const RANDOM: Readonly<Record<string, string>> = {
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
  task_id: 'apr_0000000000000000',
  workflow: 'no-such-workflow',
  kill_id: 'kil_0000000000000000',
}

export const readOperations = (document: OpenAPIObject): Operation[] =>
  Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const operation = item[method]
      if (!operation) return []
      const extended = operation as unknown as Record<string, unknown>
      const permission = extended['x-permission']
      const schemes = new Set((operation.security ?? []).flatMap((scheme) => Object.keys(scheme)))
      return {
        id: operation.operationId ?? '',
        method: method.toUpperCase() as Uppercase<Method>,
        path,
        parameters: [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? ''),
        hasBody: operation.requestBody !== undefined,
        streams: JSON.stringify(operation.responses).includes('text/event-stream'),
        forAdmins: schemes.has('admin_key'),
        forAgents: schemes.has('agent_key'),
        permission: typeof permission === 'string' ? permission : undefined,
        within_team: extended['x-within-team'] === true,
        schemes,
      }
    }),
  )

/** Let in to what is wrong with the id: a path that leads to nothing, for whoever may call the operation at all. */
export const nowhere = ({ path }: Operation): string =>
  path.replace(/\{version\}/, '1').replace(/\{\w+\}/g, 'none-0000000000000000')

/** Whether the gatekeeper let it through. */
export const admitted = ({ status, body, text }: Answer<ProblemBody>): boolean =>
  status !== 401 &&
  !(
    status === 403 &&
    /^(This (needs the permission|is for )|(Agent|Admin) token required)/.test(body?.detail ?? text)
  )

export function pathOf(operation: Operation, ids: Readonly<Record<string, string>>): string {
  return operation.path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const id = ids[name]
    if (id === undefined) throw new Error(`${operation.id}: test/support/operations.ts knows no ${name}`)
    return id
  })
}

export function send<T = ProblemBody>(
  client: Client,
  operation: Operation,
  ids: Readonly<Record<string, string>>,
  body = BODIES[operation.id],
) {
  if (operation.hasBody && body === undefined)
    throw new Error(`${operation.id}: test/support/operations.ts knows no body for it`)
  return client.call<T>(operation.method, pathOf(operation, ids), operation.hasBody ? { body } : {})
}
