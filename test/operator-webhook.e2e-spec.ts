import { createHmac } from 'node:crypto'
import { Client as Postgres } from 'pg'
import { approve, Office, pending } from './support/approvals.js'
import { until } from './support/proofs.js'
import { Receiver } from './support/receiver.js'

/** `WEBHOOK_URL` (row AG-84): approvals of the default organization, over the outbox. */
let receiver: Receiver
let office: Office

const SECRET = 'a shared secret'
const received = () => receiver.received.map(({ body }) => body)
const count = (wanted: number) => until(() => Promise.resolve(receiver.received.length >= wanted || null))

beforeAll(async () => {
  receiver = await Receiver.start()
  office = await Office.open({
    settings: {
      webhook_url: receiver.url,
      webhook_secret: SECRET,
      outbound_allow: ['127.0.0.1'],
    },
  })
})
afterAll(async () => {
  await office?.close()
  await receiver?.close()
})

it('tells what is asked and decided, under the old names, signed, and nothing else', async () => {
  receiver.answer = (response, _, nth) => {
    // The first attempt fails: it is made again.
    response.statusCode = nth === 1 ? 500 : 200
    response.end()
  }
  const agent = await office.agent()
  const approval_id = await pending(agent)
  await count(2)
  const [first, second] = receiver.received
  expect(first?.text).toBe(second?.text)
  expect(first?.headers['webhook-id']).toBe(second?.headers['webhook-id'])
  expect(received()[0]).toMatchObject({
    event: 'approval.created',
    type: 'approval.created',
    data: { approval: { id: approval_id, op: 'requested' }, subject: { agent_id: agent.agent_id } },
  })
  expect(first?.text).not.toContain('a@example.com')
  const mac = createHmac('sha256', SECRET)
    .update(first?.text ?? '')
    .digest('hex')
  expect(first?.headers['x-agentguard-signature']).toBe(`sha256=${mac}`)

  await approve(await office.person(), approval_id)
  const denied = await pending(agent, { action: 'send:email', arguments: { to: 'nobody' } })
  await office.root.post(`/approvals/${denied}/deny`, {})
  await count(5)
  const names = received().map(({ type }) => type)
  expect([...new Set(names)].sort()).toEqual(['approval.approved', 'approval.created', 'approval.denied'])
})

it('is of the default organization alone', async () => {
  const before = receiver.received.length
  const made = await office.root.post<{ org_id: string }>('/organizations', { name: 'other' })
  const elsewhere = office.root.with({ ...office.root.headers, 'X-Org-ID': made.body.org_id })
  const { body } = await elsewhere.post<{ agent_id: string; key_id: string; api_key: string }>('/agents', {
    name: 'asker',
    owner_team: 'ops',
    environment: 'prod',
  })
  await elsewhere.put(`/agents/${body.agent_id}/policy`, { require_approval: [{ action: 'send:email' }] })
  const client = office.root.with({ 'X-Agent-Key': body.api_key })
  const asked = await client.post<{ status: string }>('/enforce', { action: 'send:email' })
  expect(asked.body.status).toBe('pending')
  await pending(await office.agent())
  await count(before + 1)
  expect(received().slice(before)).toEqual([expect.objectContaining({ type: 'approval.created' })])
  expect(JSON.stringify(received().slice(before))).not.toContain(made.body.org_id)
})

it('is sent nowhere that is not allowed, and says why', async () => {
  const before = receiver.received.length
  const walled = await Office.open({ settings: { webhook_url: receiver.url, outbound_allow: [] } })
  const owner = new Postgres({ connectionString: walled.app.database.owner_url })
  try {
    await owner.connect()
    await pending(await walled.agent())
    const tried = await until(async () => {
      const { rows } = await owner.query<{ error: string | null }>(
        "SELECT error FROM deliveries WHERE destination_id = 'opr_webhook' AND error IS NOT NULL",
      )
      return rows[0] ?? null
    })
    expect(tried.error).not.toContain('127.0.0.1')
    expect(receiver.received.length).toBe(before)
  } finally {
    await owner.end()
    await walled.close()
  }
})
