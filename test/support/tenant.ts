import type { RunningApp } from './app.js'
import { Client } from './client.js'
import { firstOwner } from './people.js'

/** An organization that has one of everything. */
export interface Tenant {
  org_id: string
  admin: Client
  agent: Client
  /** Path parameters that exist in this organization. */
  ids: Readonly<Record<string, string>>
}

export async function makeTenant(app: RunningApp, name: string): Promise<Tenant> {
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
    events: ['webhook.disabled'], // none of the sweeps' own doings: nothing is sent
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
      task_id: waiting.body.approval_id,
      workflow: 'standard',
    },
  }
}
