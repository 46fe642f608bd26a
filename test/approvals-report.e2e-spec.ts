import { approve, EMAIL, Office, pending } from './support/approvals.js'

interface Report {
  requested: number
  pending: number
  approved: number
  denied: number
  approval_rate: number | null
  p50_ms: number | null
  under_3_s: number
  approvers: { person: string; approved: number; denied: number; under_3_s: number }[]
  workflows: { workflow: string; approved: number }[]
}

let office: Office
beforeAll(async () => {
  office = await Office.open()
})
afterAll(() => office?.close())

describe('GET /reports/approvals', () => {
  it('says how long people take, which way, and who; of a team alone to who is held to it', async () => {
    const empty = await office.root.get<Report>('/reports/approvals')
    expect(empty.body).toMatchObject({
      requested: 0,
      approved: 0,
      approval_rate: null,
      p50_ms: null,
      approvers: [],
    })
    const agent = await office.agent()
    const slow = await office.agent(undefined, { team: 'finance' })
    const [one, two] = [await office.person(), await office.person()]
    const request = (n: number) => ({ ...EMAIL, arguments: { n } })
    for (const n of [1, 2, 3]) await approve(one, await pending(agent, request(n)))
    await two.post(`/approvals/${await pending(agent, request(4))}/deny`, {})
    await pending(agent, request(5))
    await approve(two, await pending(slow, request(6)))
    const { body } = await office.root.get<Report>('/reports/approvals?days=1')
    expect(body).toMatchObject({ requested: 6, pending: 1, approved: 4, denied: 1, approval_rate: 0.8 })
    expect(body.p50_ms).toBeGreaterThan(0)
    expect(body.approvers.map(({ approved, denied }) => [approved, denied])).toEqual([
      [3, 0],
      [1, 1],
    ])
    expect(body.workflows).toMatchObject([{ workflow: 'standard', approved: 4 }])
    const finance = await office.person('approver', { team: 'finance' })
    expect((await finance.get<Report>('/reports/approvals')).body).toMatchObject({
      requested: 1,
      approved: 1,
    })
    expect((await office.root.get('/reports/approvals?days=0')).status).toBe(422)
    expect((await agent.client.get('/reports/approvals')).status).toBe(403)
  })
})
