import { type RunningApp, startApp } from './app.js'
import { Client } from './client.js'

export interface Answered {
  allowed: boolean
  status: string
  code: string
  reason: string
  decision_id: string
  approval_id?: string
  log: { index: number }
}

export interface Approval {
  approval_id: string
  status: string
  level: number
  approvals_needed: number
  votes: { person: string; vote: string }[]
  decision_reason: string | null
  decision_by: string | null
  expires_at: string
  grant: null | { scope: { action: string; resource: string | null } | null; uses: number; used: number }
}

export interface AskingAgent {
  readonly client: Client
  readonly agent_id: string
  readonly key_id: string
}

/** Send an e-mail, which a person must allow. */
export const EMAIL = {
  action: 'send:email',
  resource: 'mail://customer',
  arguments: { to: 'a@example.com', body: { lines: ['hello', 'world'] } },
  context: { run: 7 },
}

export class Office {
  constructor(
    readonly app: RunningApp,
    readonly root: Client,
  ) {}

  static async open(options: Parameters<typeof startApp>[0] = {}): Promise<Office> {
    const app = await startApp(options)
    return new Office(app, new Client(app.url, { 'X-Admin-Key': app.admin_key }))
  }

  /** An administrator key made by the operator: a person of their own. */
  async person(role = 'approver', body: object = {}): Promise<Client & { admin_id?: string }> {
    const made = await this.root.post<{ api_key: string; admin_id: string }>('/admin-keys', {
      name: role,
      role,
      ...body,
    })
    if (made.status !== 201) throw new Error(made.text)
    return Object.assign(new Client(this.app.url, { 'X-Admin-Key': made.body.api_key }), {
      admin_id: made.body.admin_id,
    })
  }

  async agent(
    require_approval: object[] = [{ action: 'send:email' }],
    { by = this.root, team = 'ops' }: { by?: Client; team?: string } = {},
  ): Promise<AskingAgent> {
    const made = await by.post<{ agent_id: string; key_id: string; api_key: string }>('/agents', {
      name: 'asker',
      owner_team: team,
      environment: 'prod',
    })
    const { agent_id, key_id, api_key } = made.body
    const policy = await this.root.put(`/agents/${agent_id}/policy`, {
      allow: [{ action: 'read:*' }],
      require_approval,
    })
    if (policy.status !== 200) throw new Error(policy.text)
    return { agent_id, key_id, client: new Client(this.app.url, { 'X-Agent-Key': api_key }) }
  }

  close(): Promise<void> {
    return this.app.close()
  }
}

const ASKED_FOR_MS = 60_000

/** Asks as a client does: again, where a busy machine could not record the decision in its two seconds. */
export async function ask(agent: AskingAgent, request: object = EMAIL): Promise<Answered> {
  const until = performance.now() + ASKED_FOR_MS
  for (;;) {
    const answer = await agent.client.post<Answered>('/enforce', request)
    if (answer.status === 200) return answer.body
    if (answer.status !== 503 || performance.now() > until) throw new Error(answer.text)
  }
}

/** Asks, and gives back the approval that is waited for. */
export async function pending(agent: AskingAgent, request: object = EMAIL): Promise<string> {
  const { status, approval_id } = await ask(agent, request)
  if (status !== 'pending' || approval_id === undefined) throw new Error(`${status} ${approval_id ?? ''}`)
  return approval_id
}

export const approve = (who: Client, approval_id: string, body: object = { reason: 'fine' }) =>
  who.post<Approval>(`/approvals/${approval_id}/approve`, body)
