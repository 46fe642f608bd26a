import type { Client } from './support/client.js'
import { approve, type AskingAgent, Office, pending } from './support/approvals.js'

/** Who decides sees which rule asked, as it stood when it did. */
let office: Office

beforeAll(async () => {
  office = await Office.open()
})
afterAll(() => office?.close())

interface Shown {
  rule: null | { policy_id: string; version: number; index: number; conditions_left_out: boolean }
  other_rules?: object[]
  reason: string
}

const BIG = { request: { '/arguments/amount': { min: 1000 }, '/context/tenant': ['acme', 'globex'] } }
const RULES = [
  { action: 'read:nothing' },
  { action: 'send:*', resource: 'mail://*', conditions: { env: 'prod', ...BIG } },
  { action: 'send:email', workflow: 'standard' },
]
const REQUEST = {
  action: 'send:email',
  resource: 'mail://customer',
  arguments: { amount: 5000 },
  context: { tenant: 'acme' },
}

const show = async (approval_id: string, by: Client = office.root) =>
  by.get<Shown & { status: number | string; code: string }>(`/approvals/${approval_id}`)
const replace = async ({ agent_id }: AskingAgent, require_approval: object[]) =>
  expect((await office.root.put(`/agents/${agent_id}/policy`, { require_approval })).status).toBe(200)

it('shows the rules of the version that asked, with their conditions, also after the policy has changed', async () => {
  const agent = await office.agent(RULES)
  const approval_id = await pending(agent, REQUEST)
  const policy = await office.root.get<{ policy_id: string; version: number }>(
    `/agents/${agent.agent_id}/policy`,
  )
  const { policy_id, version } = policy.body
  const list = 'require_approval'
  const place = { scope: 'agent', policy_id, version, list, conditions_left_out: false }
  const rule = {
    ...place,
    index: 1,
    action: 'send:*',
    resource: 'mail://*',
    workflow: null,
    conditions: { env: 'prod', ...BIG },
  }
  const other = {
    ...place,
    index: 2,
    action: 'send:email',
    resource: null,
    workflow: 'standard',
    conditions: null,
  }
  // The place that the rule had is another one's now.
  await replace(agent, [{ action: 'never:this' }, { action: 'send:*', conditions: { env: 'dev' } }])
  expect((await show(approval_id)).body).toMatchObject({ rule, other_rules: [other] })
  const { items } = (await office.root.get<{ items: (Shown & { approval_id: string })[] }>('/approvals')).body
  expect(items.find((one) => one.approval_id === approval_id)).toMatchObject({ rule })
  expect((await approve(office.root, approval_id)).body).toMatchObject({ status: 'approved', rule })
})

it('shows rules of team and organization, the one that the reason names first', async () => {
  const agent = await office.agent([{ action: 'send:email' }], { team: 'mailers' })
  const put = await office.root.put('/teams/mailers/policy', {
    require_approval: [{ action: 'send:*', conditions: { env: ['prod'] } }],
  })
  expect(put.status).toBe(200)
  const { rule, other_rules } = (await show(await pending(agent, REQUEST))).body
  expect(rule).toMatchObject({ scope: 'team', index: 0, conditions: { env: ['prod'] } })
  expect(other_rules).toEqual([expect.objectContaining({ scope: 'agent', conditions: null })])
})

it('is as missing as before to another organization', async () => {
  const approval_id = await pending(await office.agent(RULES), REQUEST)
  const made = await office.root.post<{ org_id: string }>('/organizations', { name: 'others' })
  const others = office.root.with({ ...office.root.headers, 'X-Org-ID': made.body.org_id })
  const [foreign, missing] = [await show(approval_id, others), await show('apr_AAAAAAAAAAAAAAAA', others)]
  expect([foreign.status, foreign.body.code]).toEqual([404, 'approval_not_found'])
  expect(missing.status).toBe(404)
})

it('leaves out conditions that are too long to be shown, and says so; shows ten rules and no more', async () => {
  const conditions = { env: Array.from({ length: 2000 }, () => 'prod') }
  const rules = Array.from({ length: 12 }, () => ({ action: 'send:email', conditions }))
  const { rule, other_rules } = (await show(await pending(await office.agent(rules), REQUEST))).body
  expect(rule).toMatchObject({ index: 0, conditions: null, conditions_left_out: true })
  expect(other_rules).toHaveLength(9)
})
