import { recorded, recordedApprovals } from './support/recorded.js'
import { approve, type Approval, ask, type AskingAgent, EMAIL, Office, pending } from './support/approvals.js'
import { startApp } from './support/app.js'
import { createTestDatabase } from './support/postgres.js'
import { Client } from './support/client.js'

type Shown = Approval & {
  workflows: string[]
  risk_level: string | null
  levels: number
  reason_required: boolean
}

let office: Office
let approver: Client

beforeAll(async () => {
  office = await Office.open()
  approver = await office.person()
})

afterAll(() => office?.close())

const rate = async ({ agent_id }: AskingAgent, risk_level: string | null) => {
  const { status, text } = await office.root.patch(`/agents/${agent_id}`, { risk_level })
  if (status !== 200) throw new Error(text)
}

async function agentOf(risk_level: string | null, rules?: object[]): Promise<AskingAgent> {
  const agent = await office.agent(rules)
  await rate(agent, risk_level)
  return agent
}

const shown = async (approval_id: string) => (await office.root.get<Shown>(`/approvals/${approval_id}`)).body

const requested = async () =>
  (await recordedApprovals(office.app.app)).filter(({ approval }) => approval.op === 'requested')

const asked = async (agent: AskingAgent, to = 'a') =>
  shown(await pending(agent, { ...EMAIL, arguments: { to } }))

const settle = (body: object, who = office.root) =>
  who.put<{ risk_workflows: Record<string, string | null> }>('/approvals/settings', body)

describe('the risk of an agent', () => {
  it.each([
    [null, ['standard'], 1],
    ['low', ['standard'], 1],
    ['medium', ['standard'], 1],
    ['high', ['high-risk', 'standard'], 2],
    ['critical', ['critical', 'standard'], 2],
  ])('joins what rules ask for: %s waits by %j', async (risk_level, workflows, approvals_needed) => {
    expect(await asked(await agentOf(risk_level))).toMatchObject({ risk_level, workflows, approvals_needed })
  })

  it('makes it stricter, never easier: a rule that names standard or critical changes nothing of the other', async () => {
    const named = (workflow: string) => [{ action: 'send:email', workflow }]
    const critical = await asked(await agentOf('critical', named('standard')))
    expect(critical).toMatchObject({ workflows: ['critical', 'standard'], levels: 1, reason_required: true })
    expect((await approve(approver, critical.approval_id)).status).toBe(403)
    const low = await asked(await agentOf('low', named('critical')))
    expect(low).toMatchObject({ workflows: ['critical'], approvals_needed: 2 })
    const high = await asked(await agentOf('high', named('critical')))
    expect(high).toMatchObject({ workflows: ['critical', 'high-risk'], approvals_needed: 2 })
  })

  it('escalates high-risk at once: those of the second level decide from the beginning', async () => {
    const rules = [{ action: 'send:email', workflow: 'high-risk' }]
    const [high, low] = [await asked(await agentOf('high', rules)), await asked(await agentOf('low', rules))]
    expect([high.levels, low.levels]).toEqual([1, 2])
    expect((await approve(approver, high.approval_id)).status).toBe(403)
    expect((await approve(approver, low.approval_id)).status).toBe(200)
    const [first, second] = [await office.person('admin'), await office.person('admin')]
    expect((await approve(first, high.approval_id)).body).toMatchObject({ status: 'pending' })
    expect((await approve(second, high.approval_id)).body).toMatchObject({ status: 'approved' })
  })

  it('stands in the log with the workflows, and which of them it chose', async () => {
    const { approval_id } = await asked(await agentOf('high'))
    const entry = (await requested()).find(({ approval }) => approval.id === approval_id)
    expect(entry?.approval).toMatchObject({
      workflows: ['high-risk', 'standard'],
      risk: { level: 'high', workflow: 'high-risk' },
    })
    const unrated = await asked(await agentOf(null))
    const other = (await requested()).find(({ approval }) => approval.id === unrated.approval_id)
    expect(other?.approval).toMatchObject({ workflows: ['standard'] })
    expect(other?.approval.risk).toBeUndefined()
  })

  it('leaves what waits as it was asked for, and what was granted', async () => {
    const agent = await agentOf('low')
    const waiting = await asked(agent, 'waits')
    const granted = await pending(agent, { ...EMAIL, arguments: { to: 'granted' } })
    await approve(approver, granted)
    await rate(agent, 'critical')
    expect(await asked(agent, 'waits')).toMatchObject({
      approval_id: waiting.approval_id,
      workflows: ['standard'],
      risk_level: 'low',
    })
    expect((await approve(approver, waiting.approval_id)).status).toBe(200)
    const use = { ...EMAIL, arguments: { to: 'granted' }, approval_id: granted }
    expect((await ask(agent, use)).allowed).toBe(true)
    expect(await asked(agent, 'new')).toMatchObject({ workflows: ['critical', 'standard'] })
  })

  it('is the one of the log: nothing asked for after it was raised waits by the risk from before', async () => {
    const agents = await Promise.all(Array.from({ length: 4 }, () => agentOf('low')))
    await Promise.all(
      agents.map(async (agent, a) => {
        const asks = Array.from({ length: 12 }, (_, i) => pending(agent, { ...EMAIL, arguments: { a, i } }))
        await asks[0]
        await rate(agent, 'critical')
        await Promise.all(asks)
      }),
    )
    const raised = (await recorded(office.app.app)).filter(({ event }) => event === 'agent.updated')
    for (const { agent_id } of agents) {
      const at = raised.filter(({ change }) => change.id === agent_id).at(-1)?.index ?? -1
      const own = (await requested()).filter(({ subject }) => subject.agent_id === agent_id)
      expect(own).toHaveLength(12)
      for (const { index, approval } of own)
        expect([index, approval.risk?.level]).toEqual([index, index > at ? 'critical' : 'low'])
    }
  })

  it('is still there after a restart, and so is what the organization chose', async () => {
    const database = await createTestDatabase()
    try {
      const before = await startApp({ database })
      const first = new Office(before, new Client(before.url, { 'X-Admin-Key': before.admin_key }))
      const agent = await first.agent()
      await first.root.patch(`/agents/${agent.agent_id}`, { risk_level: 'medium' })
      await settle({ risk_workflows: { medium: 'critical' } }, first.root)
      const waiting = await pending(agent)
      await before.close()

      const after = await startApp({ database })
      const root = new Client(after.url, first.root.headers)
      const again = { ...agent, client: new Client(after.url, agent.client.headers) }
      expect(await pending(again)).toBe(waiting)
      const other = await pending(again, { ...EMAIL, arguments: {} })
      for (const approval_id of [waiting, other])
        expect((await root.get<Shown>(`/approvals/${approval_id}`)).body).toMatchObject({
          workflows: ['critical', 'standard'],
          risk_level: 'medium',
        })
      await after.close()
    } finally {
      await database.drop()
    }
  })
})

describe('which workflow a risk waits for', () => {
  const SHIPPED = { unrated: null, low: null, medium: null, high: 'high-risk', critical: 'critical' }
  afterEach(() => settle({ risk_workflows: SHIPPED }))

  it('is shipped, can be chosen one by one, and is recorded', async () => {
    const { body } = await office.root.get<object>('/approvals/settings')
    expect(body).toEqual({
      approve_on_timeout: false,
      max_waiting_per_agent: 100,
      max_waiting: 10_000,
      risk_workflows: SHIPPED,
    })
    const slow = { levels: [{ roles: ['admin'], time_limit_seconds: 60 }], approvals: 3 }
    expect((await office.root.put('/workflows/board', slow)).status).toBe(200)
    const chosen = await settle({ risk_workflows: { unrated: 'high-risk', critical: 'board' } })
    const wanted = { ...SHIPPED, unrated: 'high-risk', critical: 'board' }
    expect(chosen.body.risk_workflows).toEqual(wanted)
    expect(await asked(await agentOf(null))).toMatchObject({
      workflows: ['high-risk', 'standard'],
      risk_level: null,
      levels: 2,
    })
    expect(await asked(await agentOf('critical'))).toMatchObject({
      workflows: ['board', 'standard'],
      approvals_needed: 3,
    })
    const entry = (await recorded(office.app.app)).findLast(
      ({ event }) => event === 'approval_settings.updated',
    )
    expect(entry).toMatchObject({
      opened: { before: { risk_workflows: SHIPPED }, after: { risk_workflows: wanted } },
    })
    expect((await settle({ risk_workflows: { critical: null } })).body.risk_workflows).toEqual({
      ...wanted,
      critical: null,
    })
    expect(await asked(await agentOf('critical'), 'b')).toMatchObject({ workflows: ['standard'] })
  })

  it.each([
    [{ risk_workflows: { high: 'nobodys' } }, 'risk_workflows.high'],
    [{ risk_workflows: { high: 'constructor' } }, 'risk_workflows.high'],
    [{ risk_workflows: { high: 7 } }, 'risk_workflows.high'],
    [{ risk_workflows: { high: '' } }, 'risk_workflows.high'],
    [{ risk_workflows: { severe: 'critical' } }, 'risk_workflows.severe'],
    [{ risk_workflows: ['critical'] }, 'risk_workflows'],
    [{ risk_workflows: null }, 'risk_workflows'],
    [{ approve_on_timeout: 'yes' }, 'approve_on_timeout'],
  ])('refuses %j with the path', async (body, path) => {
    const answer = await settle(body)
    expect([answer.status, (answer.body as { errors?: { path: string }[] }).errors?.[0]?.path]).toEqual([
      422,
      path,
    ])
  })

  it('is only of the organization: a workflow of another one is none, and who may not settle it does not', async () => {
    const made = await office.root.post<{ org_id: string }>('/organizations', { name: 'Other' })
    const other = office.root.with({ ...office.root.headers, 'X-Org-ID': made.body.org_id })
    const document = { levels: [{ roles: ['admin'], time_limit_seconds: 60 }] }
    expect((await other.put('/workflows/theirs', document)).status).toBe(200)
    expect((await settle({ risk_workflows: { high: 'theirs' } })).status).toBe(422)
    expect((await settle({ risk_workflows: { high: 'theirs' } }, other)).status).toBe(200)
    expect((await settle({ risk_workflows: { high: null } }, approver)).status).toBe(403)
  })

  it('makes several mistakes known at once, and many changes at once lose none', async () => {
    const wrong = await settle({ risk_workflows: { low: 'x', high: 'y' } })
    expect((wrong.body as unknown as { errors: object[] }).errors).toHaveLength(2)
    const levels = ['unrated', 'low', 'medium', 'critical']
    await Promise.all(levels.map((level) => settle({ risk_workflows: { [level]: 'high-risk' } })))
    const { body } = await settle({})
    expect(body.risk_workflows).toEqual(Object.fromEntries([...levels, 'high'].map((l) => [l, 'high-risk'])))
  })
})
