import type { Client as Postgres } from 'pg'
import type { Me } from '../../src/sign-in/sign-in.dto.js'
import { Client } from './client.js'
import { PASSWORD, signIn, tokenOf } from './people.js'
import { until } from './proofs.js'

/** One of everything that belongs to one team of an organization, and who is held to that team. */
export interface Belongings {
  readonly team: string
  /** Path parameters and names in bodies. */
  readonly ids: Readonly<Record<string, string>>
  readonly agent: Client
  readonly key: Client
  readonly member: Client
}

type Made = Record<string, string>

/** @param admin the root key, inside the organization */
export async function makeBelongings(admin: Client, team: string): Promise<Belongings> {
  const made = async (at: string, body: object): Promise<Made> => {
    const answer = await admin.post<Made>(at, body)
    if (answer.status > 201) throw new Error(`${at}: ${answer.text}`)
    return answer.body
  }
  const { api_key = '', admin_id = '' } = await made('/admin-keys', { name: team, role: 'admin', team })
  const bot = await made('/agents', { name: team, owner_team: team, environment: 'dev' })
  const { agent_id = '' } = bot
  await admin.put(`/agents/${agent_id}/policy`, {
    allow: [{ action: 'read', resource: team }],
    require_approval: [{ action: 'ask' }],
  })
  await admin.put(`/teams/${team}/policy`, { deny: [{ action: `never ${team}` }] })
  const agent = new Client(admin.url, { 'X-Agent-Key': bot.api_key ?? '' })
  const asked = { action: 'read', resource: team, context: { team } }
  const { decision_id = '' } = (await agent.post<Made>('/enforce', asked)).body
  const { approval_id = '' } = (await agent.post<Made>('/enforce', { ...asked, action: 'ask' })).body
  const spare = await made(`/agents/${agent_id}/keys`, {})
  const kill = await made('/kill-switch/activate', { scope: 'key', target: spare.key_id, reason: team })
  const role = `role-${team}`
  await made('/roles', { role, permissions: ['logs:read'] })
  const url = `https://hooks.example.com/${team}`
  const webhook = await made('/webhooks', { name: team, url, team, events: ['webhook.disabled'] })
  const invited = { email: `guest.${team}@example.com`, roles: ['viewer'], team }
  const person = await personIn(made, admin.url, team)
  return {
    team,
    agent,
    key: new Client(admin.url, { 'X-Admin-Key': api_key }),
    member: person.client,
    ids: {
      ...{ team, agent_id, admin_id, role, approval_id, task_id: approval_id, log_id: decision_id },
      key_id: bot.key_id ?? '',
      kill_id: kill.kill_id ?? '',
      webhook_id: webhook.webhook_id ?? '',
      invitation_id: (await made('/invitations', invited)).invitation_id ?? '',
      ...person.ids,
      ...{ version: '1', path: '0/000.p/1', workflow: 'standard' },
    },
  }
}

/** A member who is held to the team, signed in. */
async function personIn(made: (at: string, body: object) => Promise<Made>, url: string, team: string) {
  const email = `person.${team}@example.com`
  const { link = '' } = await made('/invitations', { email, roles: ['admin'], team })
  const body = { token: tokenOf(link), name: team, password: PASSWORD }
  const accepted = await new Client(url).post('/invitations/accept', body)
  if (accepted.status !== 201) throw new Error(accepted.text)
  const client = await signIn(url, email)
  const me = (await client.get<Me>('/auth/me')).body
  return { client, ids: { member_id: me.member?.member_id ?? '', session_id: me.session_id ?? '' } }
}

/** What authenticating moves by itself. */
const OWN_USE = ['last_used_at', 'last_seen_at', 'last_login_at']

/**
 * Everything an organization has, as a hash a table: which tables there are is read from the catalog, so that what a
 * new capability keeps is looked at as well.
 */
export async function stateOf(owner: Postgres, org_id: string): Promise<Readonly<Record<string, string>>> {
  const tables = await owner.query<{ name: string }>(
    `SELECT format('%I.%I', n.nspname, c.relname) AS name
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('public', 'ledger') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attname = 'org_id' AND NOT t.attisdropped)
     ORDER BY 1`,
  )
  const state: Record<string, string> = {}
  for (const { name } of tables.rows) {
    const { rows } = await owner.query<{ state: string }>(
      `SELECT count(*) || ' ' || md5(coalesce(string_agg(row, ' ' ORDER BY row), '')) AS state
       FROM (SELECT (to_jsonb(t) - $2::text[])::text AS row FROM ${name} AS t WHERE org_id = $1) AS rows`,
      [org_id, OWN_USE],
    )
    state[name] = rows[0]?.state ?? ''
  }
  return state
}

/** Waits until the workers have nothing left to do for an organization: its log is in the tree, signed and told. */
export const settled = (owner: Postgres, org_id: string): Promise<true> =>
  until(async () => {
    const { rows } = await owner.query<{ settled: boolean }>(
      `SELECT t.signed = h.size AND coalesce(c.next_index, h.size) >= h.size AS settled
       FROM ledger.ledger_head h JOIN ledger.ledger_tree t USING (org_id, epoch)
       LEFT JOIN event_cursors c USING (org_id) WHERE org_id = $1`,
      [org_id],
    )
    return rows[0]?.settled === true ? true : null
  })
