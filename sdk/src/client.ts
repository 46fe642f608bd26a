import { AgentGuardError } from './errors.js'
import { Guard } from './guard/guard.js'
import type { GuardOptions } from './guard/options.js'
import { AdminKeys } from './resources/admin-keys.js'
import { Agents } from './resources/agents.js'
import { Approvals } from './resources/approvals.js'
import { Decisions } from './resources/decisions.js'
import { Keys } from './resources/keys.js'
import { Ledger } from './resources/ledger.js'
import { Logs } from './resources/logs.js'
import { Organizations } from './resources/organizations.js'
import { Policies } from './resources/policies.js'
import { Roles } from './resources/roles.js'
import { Members } from './resources/members.js'
import { Invitations } from './resources/invitations.js'
import { Setup } from './resources/setup.js'
import { Auth } from './resources/auth.js'
import { Authzen } from './resources/authzen.js'
import { SingleSignOn } from './resources/single-sign-on.js'
import { TeamPolicies } from './resources/team-policies.js'
import { OrganizationPolicy } from './resources/organization-policy.js'
import { Erasure } from './resources/erasure.js'
import { DataKeys } from './resources/data-keys.js'
import { Retention } from './resources/retention.js'
import { Webhooks } from './resources/webhooks.js'
import { Notifications } from './resources/notifications.js'
import { KillSwitch } from './resources/kill-switch.js'
import { Events } from './resources/events.js'
import { Workflows } from './resources/workflows.js'
import { Reports } from './resources/reports.js'
import { Tokens } from './resources/tokens.js'
import { Health } from './resources/service.js'
import { Teams } from './resources/teams.js'
import { assertSecret, type Fetch, type RequestOptions, Transport } from './transport.js'
import type { Decision, EnforceRequest } from './types.js'

export interface AgentGuardOptions {
  /** `agk_…`: asks and reports. Default: the environment's AGENTGUARD_AGENT_KEY. */
  agentKey?: string | undefined
  /** `adk_…` or the root key: administers. Default: AGENTGUARD_ADMIN_KEY. */
  adminKey?: string | undefined
  /** A bearer token, or what gives one whenever a call is made. Used where no key fits. */
  token?: string | (() => string | Promise<string>)
  /** Where the service is. Default: AGENTGUARD_URL, else http://localhost:8000. */
  baseURL?: string | undefined
  /** With the root key: the organization to work in. */
  orgId?: string | undefined
  /** For each attempt, until the whole answer is read. Default 5,000. */
  timeoutMs?: number
  /** Attempts after the first, with jittered backoff and `Retry-After`. Default 2. */
  maxRetries?: number
  /** Instead of the global one. */
  fetch?: Fetch
  /** W3C trace context of whatever runs when a call is made. */
  traceContext?: () => { traceparent?: string; tracestate?: string } | undefined
  /** A key in a browser is everybody's key: without this, the client refuses to be made there. */
  dangerouslyAllowBrowser?: boolean
}

/**
 * The service, as a program sees it: `client.<noun>.<verb>(…)`.
 *
 * A client may hold both keys: `enforce` and `logs.report` are the agent's, everything else the administrator's.
 * Keys are in no property, error or log line of this package.
 */
export class AgentGuard {
  readonly baseURL: string
  readonly agents: Agents
  readonly keys: Keys
  readonly policies: Policies
  readonly logs: Logs
  readonly ledger: Ledger
  readonly organizations: Organizations
  readonly adminKeys: AdminKeys
  readonly roles: Roles
  readonly teams: Teams
  readonly approvals: Approvals
  readonly members: Members
  readonly invitations: Invitations
  readonly setup: Setup
  readonly auth: Auth
  readonly singleSignOn: SingleSignOn
  readonly teamPolicies: TeamPolicies
  readonly organizationPolicy: OrganizationPolicy
  readonly erasure: Erasure
  readonly dataKeys: DataKeys
  readonly retention: Retention
  readonly webhooks: Webhooks
  readonly notifications: Notifications
  readonly killSwitch: KillSwitch
  readonly events: Events
  readonly workflows: Workflows
  readonly reports: Reports
  readonly authzen: Authzen
  readonly tokens: Tokens
  readonly health: Health
  private readonly decisions: Decisions

  /** @throws AgentGuardError for a setting that cannot work; it never quotes a key. */
  constructor(options: AgentGuardOptions = {}) {
    const transport = new Transport(settingsOf(options))
    this.baseURL = transport.baseURL
    this.agents = new Agents(transport)
    this.keys = new Keys(transport)
    this.policies = new Policies(transport)
    this.logs = new Logs(transport)
    this.ledger = new Ledger(transport)
    this.organizations = new Organizations(transport)
    this.adminKeys = new AdminKeys(transport)
    this.roles = new Roles(transport)
    this.teams = new Teams(transport)
    this.approvals = new Approvals(transport)
    this.members = new Members(transport)
    this.invitations = new Invitations(transport)
    this.setup = new Setup(transport)
    this.auth = new Auth(transport)
    this.singleSignOn = new SingleSignOn(transport)
    this.teamPolicies = new TeamPolicies(transport)
    this.organizationPolicy = new OrganizationPolicy(transport)
    this.erasure = new Erasure(transport)
    this.dataKeys = new DataKeys(transport)
    this.retention = new Retention(transport)
    this.webhooks = new Webhooks(transport)
    this.notifications = new Notifications(transport)
    this.killSwitch = new KillSwitch(transport)
    this.events = new Events(transport)
    this.workflows = new Workflows(transport)
    this.reports = new Reports(transport)
    this.authzen = new Authzen(transport)
    this.tokens = new Tokens(transport)
    this.health = new Health(transport)
    this.decisions = new Decisions(transport)
  }

  /**
   * May I do this? A deny is an answer, not an error; only `allowed: true` allows. The answer is given after its log
   * entry is on disk. It is asked again after failures that may pass, and each try that arrives stands in the log.
   * @throws APIError when there is no answer: then the action must not be taken
   */
  enforce(request: EnforceRequest, options?: RequestOptions): Promise<Decision> {
    return this.decisions.enforce(request, options)
  }

  /**
   * Up to 100 questions at once, decided from one configuration at one moment; the answers in the same order.
   * @throws APIError when there are no answers: then none of the actions may be taken
   */
  enforceBatch(requests: readonly EnforceRequest[], options?: RequestOptions): Promise<Decision[]> {
    return this.decisions.enforceBatch(requests, options)
  }

  /** A guard for functions and tools: `guard.tool('read file', readFile)` asks before each call. */
  guard(options?: GuardOptions): Guard {
    return new Guard(this, options)
  }
}

/** The variables of the environment, where there is one. */
const environment = (): Readonly<Record<string, string | undefined>> =>
  (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env ?? {}

/** What a transport is made of. @throws AgentGuardError for a setting that cannot work */
export function settingsOf(options: AgentGuardOptions) {
  const env = environment()
  const named = options.agentKey ?? options.adminKey ?? options.token
  const agentKey = options.agentKey ?? (named === undefined ? env.AGENTGUARD_AGENT_KEY : undefined)
  const adminKey = options.adminKey ?? (named === undefined ? env.AGENTGUARD_ADMIN_KEY : undefined)
  const { token, fetch: given = globalThis.fetch, timeoutMs = 5_000, maxRetries = 2 } = options
  for (const [name, secret] of Object.entries({ agentKey, adminKey, token }))
    if (secret !== undefined && typeof secret !== 'function') assertSecret(name, secret)
  const isBrowser = inBrowser()
  if (isBrowser && (agentKey ?? adminKey ?? token) !== undefined && options.dangerouslyAllowBrowser !== true)
    throw new AgentGuardError(
      'This is a browser: whoever opens the page could read the key. Ask from your server, or set dangerouslyAllowBrowser.',
    )
  if (typeof given !== 'function') throw new AgentGuardError('There is no fetch here: give one.')
  if (!(timeoutMs > 0 && timeoutMs < 2 ** 31)) throw new AgentGuardError('timeoutMs must be positive.')
  if (!(maxRetries >= 0)) throw new AgentGuardError('maxRetries must be 0 or more.')
  return {
    baseURL: readBaseURL(options.baseURL ?? env.AGENTGUARD_URL ?? 'http://localhost:8000'),
    agentKey,
    adminKey,
    token,
    orgId: options.orgId,
    timeoutMs,
    maxRetries,
    // A method of window must be called on it.
    fetch: given === globalThis.fetch ? (...args: Parameters<Fetch>) => globalThis.fetch(...args) : given,
    traceContext: options.traceContext,
    isBrowser,
  }
}

function readBaseURL(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash)
    throw new AgentGuardError('baseURL must be http:// or https:// and a host, with nothing after the path.')
  // Paths begin with /v1 already.
  return (url.origin + url.pathname).replace(/\/+$/, '').replace(/\/v1$/, '')
}

const inBrowser = (): boolean =>
  typeof (globalThis as { window?: { document?: unknown } }).window?.document !== 'undefined'
