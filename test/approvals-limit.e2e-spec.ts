import { Client as Postgres } from 'pg'
import { type Answered, approve, ask, type AskingAgent, EMAIL, Office, pending } from './support/approvals.js'

let office: Office

beforeAll(async () => {
  office = await Office.open()
})

afterAll(() => office?.close())

const settle = (body: object) => office.root.put<object>('/approvals/settings', body)

const to = (name: unknown) => ({ ...EMAIL, arguments: { to: name } })

const waitingOf = async ({ agent_id }: AskingAgent): Promise<number> =>
  (await office.root.get<{ total: number }>(`/approvals?status=pending&agent_id=${agent_id}&limit=1`)).body
    .total

const inAll = async (): Promise<number> =>
  (await office.root.get<{ pending_count: number }>('/approvals?limit=1')).body.pending_count

/** What became of as many requests at once. */
const crowd = async (agents: readonly AskingAgent[], requests: number): Promise<Answered[]> =>
  Promise.all(
    agents.flatMap((agent, a) => Array.from({ length: requests }, (_, i) => ask(agent, to([a, i])))),
  )

const full = (answers: readonly Answered[]) => answers.filter(({ code }) => code === 'approval_limit')

describe('how many requests wait for people', () => {
  afterEach(() => settle({ max_waiting_per_agent: 100, max_waiting: 10_000 }))

  it('is bounded for an agent: one more is denied, says how to go on, and others still ask', async () => {
    await settle({ max_waiting_per_agent: 2 })
    const [agent, other] = [await office.agent(), await office.agent()]
    const first = await pending(agent, to(1))
    const second = await pending(agent, to(2))
    const denied = await ask(agent, to(3))
    expect(denied).toMatchObject({ allowed: false, status: 'denied', code: 'approval_limit' })
    expect(denied.reason).toContain('(2); ask again when some are decided')
    expect(denied.approval_id).toBeUndefined()
    // The same request again is the one that waits, and takes no place.
    expect(await pending(agent, to(2))).toBe(second)
    expect(await pending(other, to(3))).toMatch(/^apr_/)
    // Whoever decides makes room.
    await approve(office.root, first)
    expect(await pending(agent, to(3))).toMatch(/^apr_/)
    expect(await waitingOf(agent)).toBe(2)
    expect((await ask(agent, { ...to(1), approval_id: first })).allowed).toBe(true)
  })

  it('is bounded for the organization, whoever asks', async () => {
    const agents = [await office.agent(), await office.agent()] as const
    await settle({ max_waiting: (await inAll()) + 2 })
    for (const agent of agents) await pending(agent)
    const denied = await ask(agents[1], to('more'))
    expect(denied).toMatchObject({ status: 'denied', code: 'approval_limit' })
    expect(denied.reason).toContain('of the organization')
    await settle({ max_waiting: 10_000 })
    expect(await pending(agents[1], to('more'))).toMatch(/^apr_/)
  })

  it('gives the last places away once, however many ask at once', async () => {
    await settle({ max_waiting_per_agent: 5 })
    const agent = await office.agent()
    expect(full(await crowd([agent], 12))).toHaveLength(7)
    expect(await waitingOf(agent)).toBe(5)
    const agents = await Promise.all(Array.from({ length: 4 }, () => office.agent()))
    const most = (await inAll()) + 6
    await settle({ max_waiting: most })
    expect(full(await crowd(agents, 4))).toHaveLength(10)
    expect(await inAll()).toBe(most)
  })

  it('is recorded: why nobody could be asked, so that it can be decided again from the log', async () => {
    await settle({ max_waiting_per_agent: 1 })
    const agent = await office.agent()
    await pending(agent)
    const { decision_id } = await ask(agent, to('one more'))
    const owner = new Postgres({ connectionString: office.app.database.owner_url })
    await owner.connect()
    const { rows } = await owner.query<{ entry: { facts: object; decision: object; approval?: object } }>(
      `SELECT convert_from(entry, 'UTF8')::jsonb AS entry FROM ledger.ledger_entry WHERE id = $1`,
      [decision_id],
    )
    await owner.end()
    expect(rows[0]?.entry).toMatchObject({
      facts: { approval: { full: 'agent', limit: 1 } },
      decision: {
        effect: 'deny',
        code: 'approval_limit',
        findings: [
          { effect: 'pending', code: 'approval_rule' },
          { effect: 'deny', code: 'approval_limit' },
        ],
      },
    })
    expect(rows[0]?.entry.approval).toBeUndefined()
  })

  it('is answered to a batch for each request', async () => {
    await settle({ max_waiting_per_agent: 1 })
    const agent = await office.agent()
    const { body } = await agent.client.post<{ results: Answered[] }>('/enforce/batch', {
      requests: [to(1), to(2), to(1)],
    })
    expect(body.results.map(({ code }) => code)).toEqual(['approval_rule', 'approval_limit', 'approval_rule'])
  })

  it.each([
    [{ max_waiting_per_agent: 0 }, 'max_waiting_per_agent'],
    [{ max_waiting_per_agent: 10_001 }, 'max_waiting_per_agent'],
    [{ max_waiting_per_agent: '5' }, 'max_waiting_per_agent'],
    [{ max_waiting: 1.5 }, 'max_waiting'],
    [{ max_waiting: null }, 'max_waiting'],
  ])('refuses the limit %j with the path', async (body, path) => {
    const { status, body: answer } = await settle(body)
    expect([status, (answer as { errors?: { path: string }[] }).errors?.[0]?.path]).toEqual([422, path])
  })
})
