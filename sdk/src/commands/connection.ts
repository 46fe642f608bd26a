import { AgentGuard } from '../client.js'
import { readJson } from '../resources/resource.js'
import { type Query, type RequestOptions, Transport } from '../transport.js'
import { UsageError } from '../usage.js'
import { readProfiles } from './profiles.js'

/** Where the service is and how to speak with it. */
export interface Access {
  readonly url: string
  readonly admin_key?: string
  readonly agent_key?: string
  readonly token?: string
  readonly org_id?: string
}

interface Wanted {
  readonly url?: string | undefined
  readonly profile?: string | undefined
  readonly org_id?: string | undefined
}

const DEFAULT_URL = 'http://localhost:8000'
const TIMEOUT_MS = 10_000

/**
 * One source of keys, never a mixture: the profile that was named, else the environment if it has a key, else the
 * current profile. A profile's keys go to the profile's service and nowhere else: `--url` or AGENTGUARD_URL with
 * another address leaves them out, so that no address in a script or shell can collect them.
 */
export function accessOf({ url, profile: name, org_id }: Wanted, env = process.env): Access {
  const { AGENTGUARD_ADMIN_KEY: admin_key, AGENTGUARD_AGENT_KEY: agent_key, AGENTGUARD_TOKEN: token } = env
  const org = org_id === undefined ? {} : { org_id }
  if (name === undefined && (admin_key || agent_key || token))
    return {
      url: url ?? (env.AGENTGUARD_URL || DEFAULT_URL),
      ...(admin_key && { admin_key }),
      ...(agent_key && { agent_key }),
      ...(token && { token }),
      ...org,
    }
  const { current, profiles } = readProfiles(env)
  const profile = profiles[name ?? current]
  if (name !== undefined && !profile)
    throw new UsageError(`There is no profile ${name}. Make it with: agentguard login --profile ${name}`)
  const asked = url ?? (name === undefined && env.AGENTGUARD_URL ? env.AGENTGUARD_URL : undefined)
  if (!profile) return { url: asked ?? DEFAULT_URL, ...org }
  if (asked === undefined || sameService(asked, profile.url)) return { ...profile, ...org }
  return { url: asked, ...org }
}

export function sameService(one: string, other: string): boolean {
  if (!URL.canParse(one) || !URL.canParse(other)) return false
  const [a, b] = [new URL(one), new URL(other)]
  const pathOf = ({ pathname }: URL) => pathname.replace(/\/+$/, '').replace(/\/v1$/, '')
  return a.origin === b.origin && pathOf(a) === pathOf(b)
}

/** A service and the keys for it. */
export class Connection {
  readonly client: AgentGuard
  private readonly transport: Transport

  constructor(readonly access: Access) {
    const { url, admin_key, agent_key, token, org_id } = access
    // A key that is not this service's must not be taken from the environment either: see `accessOf`.
    const none = admin_key === undefined && agent_key === undefined && token === undefined
    this.client = new AgentGuard({
      baseURL: url,
      timeoutMs: TIMEOUT_MS,
      adminKey: admin_key,
      agentKey: agent_key,
      ...(token !== undefined && { token }),
      ...(none && { token: () => noKey(url) }),
      orgId: org_id,
    })
    this.transport = new Transport({
      baseURL: this.client.baseURL,
      adminKey: admin_key,
      agentKey: agent_key,
      token: none ? () => noKey(url) : token,
      orgId: org_id,
      timeoutMs: TIMEOUT_MS,
      maxRetries: 2,
      fetch: (...args) => fetch(...args),
      traceContext: undefined,
      isBrowser: false,
    })
  }

  /** The same service with other keys. */
  alone(access: Access): Connection {
    return new Connection(access)
  }

  /** An operation that the client has no method for. */
  async request<T>(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    { query, body }: { query?: Query; body?: unknown } = {},
    options: RequestOptions = {},
  ): Promise<T> {
    const call = { method, path, ...(query && { query }), ...(body !== undefined && { body }) }
    return (await this.transport.send(call, options, readJson)).value as T
  }
}

/** A path below `prefix`, of an id that people type: it names nothing else than that one thing. */
export function pathTo(prefix: string, id: string, rest = ''): string {
  if (/^\.{0,2}$/.test(id)) throw new UsageError('An id is missing.')
  return `${prefix}/${encodeURIComponent(id)}${rest}`
}

function noKey(url: string): never {
  throw new UsageError(
    `There is no key for ${url}. Give it one: agentguard login --url ${url}, or set AGENTGUARD_ADMIN_KEY or AGENTGUARD_AGENT_KEY.`,
  )
}
