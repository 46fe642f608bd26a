import { APIError, NotFoundError } from '../errors.js'
import { VERSION } from '../version.js'
import { type Command, EXIT } from './command.js'
import type { Connection } from './connection.js'
import { lineOf, printList } from './output.js'

interface Finding {
  readonly check: string
  readonly state: 'ok' | 'warning' | 'failed' | 'skipped'
  readonly detail: string
}

const MAX_SKEW_S = 5

/** What a check says, or what kept it from saying it. */
async function finding(check: string, look: () => Promise<Omit<Finding, 'check'>>): Promise<Finding> {
  try {
    return { check, ...(await look()) }
  } catch (error) {
    const detail =
      error instanceof APIError ? lineOf(error) : error instanceof Error ? error.message : String(error)
    return { check, state: 'failed', detail }
  }
}

export const doctorCommands: readonly Command[] = [
  {
    name: 'doctor',
    summary: 'whether the service answers and is ready, the clocks agree, and what the key may do',
    details: 'Exit code 1 when a check fails.',
    async run(given) {
      const connection = given.connect()
      const reached = await finding('service', () => service(connection))
      const rest =
        reached.state === 'failed'
          ? []
          : await Promise.all([
              finding('ready', () => ready(connection)),
              finding('clock', () => clock(connection)),
              finding('admin key', () => adminKey(connection)),
              finding('agent key', () => agentKey(connection)),
              finding('checkpoint', () => checkpoint(connection)),
            ])
      const findings = [reached, ...rest]
      printList(
        findings,
        [
          ['CHECK', (one) => one.check],
          ['STATE', (one) => one.state],
          ['DETAIL', (one) => one.detail],
        ],
        given.json,
        '',
      )
      return findings.some(({ state }) => state === 'failed') ? EXIT.error : EXIT.ok
    },
  },
]

// These are public: they are asked without any key, so that they answer also when the key does not.
const open = { maxRetries: 0, timeoutMs: 5000 }
async function get(
  url: string,
): Promise<{ status: number; body: Record<string, unknown>; date: number; sent: number }> {
  const sent = Date.now()
  const response = await fetch(url, {
    redirect: 'manual',
    signal: AbortSignal.timeout(open.timeoutMs),
  }).catch((error: unknown) => {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)
    throw new Error(
      `${url} cannot be reached: ${cause}. Is the service running there? Another address: --url.`,
    )
  })
  const text = await response.text()
  try {
    return {
      status: response.status,
      body: Object(JSON.parse(text)) as Record<string, unknown>,
      date: Date.now(),
      sent,
    }
  } catch {
    throw new Error(
      `${url} answers ${response.status}, and not as AgentGuard does. Is it another program or a proxy?`,
    )
  }
}

async function service({ client: { baseURL } }: Connection): Promise<Omit<Finding, 'check'>> {
  const { body } = await get(`${baseURL}/v1/health`)
  const version = String(body.version)
  const detail = `${baseURL} is ${String(body.service)} ${version}; this command is ${VERSION}`
  return { state: version === VERSION ? 'ok' : 'warning', detail }
}

async function ready({ client: { baseURL } }: Connection): Promise<Omit<Finding, 'check'>> {
  const { body } = await get(`${baseURL}/v1/health/ready`)
  const checks = Object.entries(Object(body.checks) as object).map(
    ([name, state]) => `${name} ${String(state)}`,
  )
  const state = body.status === 'ready' ? 'ok' : body.status === 'degraded' ? 'warning' : 'failed'
  return { state, detail: `${String(body.status)}: ${checks.join(', ')}` }
}

async function clock({ client: { baseURL } }: Connection): Promise<Omit<Finding, 'check'>> {
  const { body, date, sent } = await get(`${baseURL}/v1/health`)
  // The answer was made somewhere between asking and reading it.
  const there = Date.parse(String(body.timestamp))
  const skew_s = Math.max(0, sent - there, there - date) / 1000
  const detail = `${skew_s.toFixed(1)} s apart at least`
  if (!(skew_s > MAX_SKEW_S)) return { state: 'ok', detail }
  return { state: 'warning', detail: `${detail}: rules with times of day are decided by the service's clock` }
}

async function adminKey(connection: Connection): Promise<Omit<Finding, 'check'>> {
  const { admin_key, token } = connection.access
  if (admin_key === undefined && token === undefined)
    return { state: 'skipped', detail: 'none: agentguard login or AGENTGUARD_ADMIN_KEY' }
  const me = await connection.request<{
    kind: string
    organization: { org_id?: string }
    permissions: string[]
  }>('GET', '/v1/auth/me')
  const detail = `${me.kind} of ${me.organization.org_id ?? 'its organization'}; may: ${me.permissions.join(', ')}`
  return { state: 'ok', detail }
}

async function agentKey(connection: Connection): Promise<Omit<Finding, 'check'>> {
  const { agent_key, url } = connection.access
  if (agent_key === undefined) return { state: 'skipped', detail: 'none: AGENTGUARD_AGENT_KEY' }
  const asAgent = connection.alone({ url, agent_key })
  const logs = await asAgent.request<unknown[] | { items: unknown[] }>('GET', '/v1/logs', {
    query: { limit: 1 },
  })
  const [entry] = Array.isArray(logs) ? logs : logs.items
  const { agent_id } = Object(entry) as { agent_id?: string }
  return { state: 'ok', detail: agent_id === undefined ? 'valid; has not asked yet' : `valid: ${agent_id}` }
}

async function checkpoint({ client, access }: Connection): Promise<Omit<Finding, 'check'>> {
  if (access.admin_key === undefined && access.agent_key === undefined && access.token === undefined)
    return { state: 'skipped', detail: 'needs a key' }
  const text = await client.ledger.checkpoint().catch((error: unknown) => {
    if (error instanceof NotFoundError) return null
    throw error
  })
  if (text === null) return { state: 'warning', detail: 'nothing of the log has been signed yet' }
  const [origin = '', size = ''] = text.split('\n')
  const unsigned = Math.max(0, (await newestIndex(client)) + 1 - Number(size))
  const detail = `${origin} is signed up to ${size} entries`
  return unsigned === 0
    ? { state: 'ok', detail }
    : { state: 'warning', detail: `${detail}; ${unsigned} wait` }
}

async function newestIndex(client: Connection['client']): Promise<number> {
  const [entry] = await client.logs.list({ limit: 1 }).toArray(1)
  return entry?.index ?? -1
}
