import type { Operation } from './operations.js'

/** Ids by the names of path parameters. */
export type Ids = Readonly<Record<string, string>>

/** A request that names things: an operation, and how its path, query and body name them. */
export interface Naming {
  readonly name: string
  readonly operation: Operation
  readonly names: readonly string[]
  readonly query?: (ids: Ids) => string
  readonly body?: (ids: Ids) => unknown
  /** Answered with what the caller's own request came to, whatever it names: not with an error. */
  readonly answers?: true
}

/** Parameters that name a place in the caller's own log or organization, whoever calls. */
export const OWN_PLACES = new Set(['path', 'team', 'version', 'workflow'])

/** The same for who is held to a team: roles and the organization are nobody's team's. */
export const WHOLE = new Set(['path', 'version', 'workflow', 'org_id', 'role'])

/** Things that are named in queries and bodies. */
export const ELSEWHERE: Readonly<
  Record<string, Readonly<Record<string, Pick<Naming, 'query' | 'body' | 'answers'>>>>
> = {
  AdminKeys_create: { role: { body: ({ role }) => ({ name: 'named', role }) } },
  Members_update: { roles: { body: ({ role }) => ({ roles: [role] }) } },
  Invitations_create: { roles: { body: ({ role }) => ({ email: 'named@example.com', roles: [role] }) } },
  SignOn_put: {
    default_roles: {
      body: ({ role }) => ({ issuer: 'https://named.invalid', client_id: 'x', default_roles: [role] }),
    },
  },
  Workflows_put: {
    levels: { body: ({ role }) => ({ levels: [{ roles: [role], time_limit_seconds: 60 }] }) },
  },
  KillSwitch_activate: {
    target: { body: ({ agent_id: target }) => ({ scope: 'agent', target, reason: 'named' }) },
    key: { body: ({ key_id: target }) => ({ scope: 'key', target, reason: 'named' }) },
  },
  KillSwitch_deactivate: {
    target: { body: ({ agent_id: target }) => ({ scope: 'agent', target, reason: 'named' }) },
    key: { body: ({ key_id: target }) => ({ scope: 'key', target, reason: 'named' }) },
    kill_id: { body: ({ kill_id }) => ({ kill_id, reason: 'named' }) },
  },
  KillDrill_drill: { agent_id: { body: ({ agent_id }) => ({ agent_id }) } },
  Approvals_list: { agent_id: { query: ({ agent_id }) => `agent_id=${agent_id}` } },
  Logs_list: {
    agent_id: { query: ({ agent_id }) => `agent_id=${agent_id}` },
    log_id: { query: ({ log_id }) => `log_id=${log_id}` },
    decision_id: { query: ({ log_id }) => `decision_id=${log_id}` },
  },
  Proofs_verify: { agent_id: { query: ({ agent_id }) => `agent_id=${agent_id}` } },
  Webhooks_replay: {
    delivery_ids: {
      body: ({ log_id, webhook_id }) => ({ delivery_ids: [`${log_id}_${webhook_id}`] }),
      answers: true,
    },
  },
  Enforce_decide: {
    approval_id: { body: ({ approval_id }) => ({ action: 'ask', approval_id }), answers: true },
  },
}

/** Members of queries and bodies whose names look like things, and why they are not asked for here. */
export const NO_THING: Readonly<Record<string, string>> = {
  'SignOn_put client_id': 'what the identity provider calls this service',
  'SignOn_put group_roles': 'as default_roles',
  'SignOn_put break_glass_member_id': 'needs a provider that answers: sign-on.e2e-spec.ts compares the two',
  'Events_stream last_event_id': 'a place in the caller’s own log',
  'Logs_report request_id': 'the agent’s own word',
  'Logs_report decision_id':
    'recorded as it was said; a report agrees with decisions of the agent’s own only',
  'Enforce_decideBatch requests': 'as Enforce_decide',
  'Roles_create role': 'the name of what is made',
}

/** Every way in which an operation names things that somebody else may have. */
export function namings(operations: readonly Operation[], own_places: ReadonlySet<string>): Naming[] {
  return operations.flatMap((operation) => {
    const names = operation.parameters.filter((name) => !own_places.has(name))
    const single = names.length > 1 ? names.map((name) => [name]) : []
    return [
      ...[names, ...single].flatMap((some) =>
        some.length > 0 ? [{ name: some.join(), operation, names: some }] : [],
      ),
      ...Object.entries(ELSEWHERE[operation.id] ?? {})
        .filter(([name]) => !(own_places.has('role') && /^(roles?|default_roles|levels)$/.test(name)))
        .map(([name, where]) => ({
          ...{ name: `${name} elsewhere`, operation, names: [] },
          ...where,
        })),
    ]
  })
}
