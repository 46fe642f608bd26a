import { Client, type ProblemBody } from './support/client.js'
import { approve, type AskingAgent, Office } from './support/approvals.js'
import { until } from './support/proofs.js'

/** AuthZEN Access Request and Approval Profile (Draft 1), over approvals. */
interface Evaluated {
  decision: boolean
  context: {
    approval_id?: string
    evaluation_id?: string
    evaluated_at?: string
    access_request?: { expires_at: string }
    next_action?: string
    code?: string
    decision_id: string
  }
}
interface Answered {
  task: {
    id: string
    status: string
    status_endpoint: string
    expires_at: string
    links: { cancel?: string }
  }
  result?: {
    mode?: string
    approval?: { id: string; approved_at: string; approved_until: string }
    reason?: string
  }
}

let office: Office
let agent: AskingAgent
let approver: Client

beforeAll(async () => {
  office = await Office.open({ settings: { public_url: undefined } })
  agent = await office.agent([{ action: 'send:email' }])
  approver = await office.person()
})
afterAll(() => office?.close())

let made = 0
const question = (who = agent) => ({
  subject: { type: 'agent', id: who.agent_id, properties: { shift: 'night' } },
  action: { name: 'send email', properties: { draft: false } },
  resource: { type: 'mailbox', id: `mail://customer-${++made}` },
  context: { run: made },
})
/** Asks as a client does: again, where a busy machine could not record the decision in its two seconds. */
const evaluate = (body: object, who = agent): Promise<Evaluated> =>
  until(async () => {
    const answer = await who.client.post<Evaluated>('/access/v1/evaluation', body)
    if (answer.status === 503) return null
    expect(answer.status).toBe(200)
    return answer.body
  })
const submit = (body: object, who = agent) =>
  who.client.post<Answered & ProblemBody>('/access/v1/requests', body)
const read = (id: string, who = agent) => who.client.get<Answered & ProblemBody>(`/access/v1/requests/${id}`)

/** An evaluation that a person must decide about, and what is submitted for it. */
async function denied(who = agent) {
  const asked = question(who)
  const { context } = await evaluate(asked, who)
  const denial = {
    evaluation_id: context.evaluation_id ?? '',
    expires_at: context.access_request?.expires_at,
  }
  return { asked, context, body: { ...asked, denial } }
}

const ERROR = 'urn:openid:authzen:access-request:error:'

it('goes from the refused evaluation over people to an allow of exactly that, once', async () => {
  const { asked, context, body } = await denied()
  expect(context).toMatchObject({
    evaluation_id: context.decision_id,
    access_request: { expires_at: expect.any(String) },
    next_action: 'request',
  })
  expect(Math.abs(Date.parse(context.evaluated_at ?? '') - Date.now())).toBeLessThan(60_000)
  expect(Date.parse(context.access_request?.expires_at ?? '')).toBeGreaterThan(Date.now() + 3_600_000)

  const submitted = await submit({ ...body, client: { id: 'gateway' }, future: 1 })
  const { task } = submitted.body
  const endpoint = `${office.app.url}/access/v1/requests/${task.id}`
  expect([submitted.status, submitted.headers.get('Location')]).toEqual([201, endpoint])
  expect(submitted.body).toEqual({
    task: {
      id: context.approval_id,
      status: 'pending',
      status_endpoint: endpoint,
      expires_at: context.access_request?.expires_at,
      links: { cancel: `${endpoint}/cancel` },
    },
  })
  // Submitted twice, and by way of the same question again: the same task.
  expect((await submit(body)).body.task.id).toBe(task.id)
  const again = await evaluate(asked)
  const other_denial = { evaluation_id: again.context.evaluation_id }
  expect((await submit({ ...asked, denial: other_denial })).body.task.id).toBe(task.id)

  const waiting = await read(task.id)
  expect([waiting.status, waiting.headers.get('Retry-After'), waiting.body.task.status]).toEqual([
    200,
    '5',
    'pending',
  ])
  const early = { ...asked, context: { ...asked.context, approval: { id: task.id } } }
  expect((await evaluate(early)).context.next_action).toBe('retry')

  await approve(approver, task.id, { reason: 'known customer' })
  const approved = await read(task.id)
  expect(approved.headers.get('Retry-After')).toBeNull()
  expect(approved.body).toMatchObject({
    task: { status: 'approved', links: {} },
    result: { mode: 'reevaluate', reason: 'known customer', approval: { id: task.id } },
  })
  const { approval } = approved.body.result ?? {}
  expect(Date.parse(approval?.approved_until ?? '')).toBeGreaterThan(Date.parse(approval?.approved_at ?? ''))
  const reevaluation = { ...asked, context: { ...asked.context, approval } }
  expect((await evaluate(reevaluation)).decision).toBe(true)
  expect(await evaluate(reevaluation)).toMatchObject({ decision: false, context: { code: 'approval_used' } })
})

it('tells of a denial, and of a request that the agent withdraws, which the log records', async () => {
  const refused = await denied()
  const { task } = (await submit(refused.body)).body
  await approver.post(`/approvals/${task.id}/deny`, { reason: 'not today' })
  expect((await read(task.id)).body).toMatchObject({
    task: { status: 'denied', links: {} },
    result: { reason: 'not today' },
  })

  const withdrawn = await denied()
  const { id } = (await submit(withdrawn.body)).body.task
  const cancel = (body: object) =>
    agent.client.post<Answered & ProblemBody>(`/access/v1/requests/${id}/cancel`, body)
  expect((await cancel({ reason: 7 })).status).toBe(400)
  expect((await cancel({ reason: 'not needed', comment: 'found another way' })).body).toMatchObject({
    task: { status: 'cancelled' },
    result: { reason: 'not needed: found another way' },
  })
  const late = await cancel({})
  expect([late.status, late.body]).toEqual([
    409,
    expect.objectContaining({ type: `${ERROR}invalid_task_state` }),
  ])
  const history = await office.root.get<{ event: string; actor: string; reason: string | null }[]>(
    `/approvals/${id}/history`,
  )
  expect(history.body.at(-1)).toMatchObject({
    event: 'cancelled',
    actor: agent.agent_id,
    reason: 'not needed: found another way',
  })
})

it('is bound to the evaluation and to its exact request', async () => {
  const { body } = await denied()
  const other = await office.agent([{ action: 'send:email' }])
  const foreign = await denied(other)
  const wrong: [object, string][] = [
    [{ ...body, resource: { ...body.resource, id: 'mail://else' } }, 'invalid_denial_binding'],
    [{ ...body, resource: { ...body.resource, type: 'folder' } }, 'invalid_denial_binding'],
    [{ ...body, action: { name: 'send email' } }, 'invalid_denial_binding'],
    [{ ...body, subject: { type: 'agent', id: agent.agent_id } }, 'invalid_denial_binding'],
    [{ ...body, context: { run: 0 } }, 'invalid_denial_binding'],
    [{ ...body, context: undefined }, 'invalid_denial_binding'],
    [{ ...body, denial: foreign.body.denial }, 'invalid_denial_binding'],
    [{ ...body, denial: { evaluation_id: 'none' } }, 'invalid_denial_binding'],
    [
      { ...body, denial: { evaluation_id: '01980000-0000-7000-8000-000000000000' } },
      'invalid_denial_binding',
    ],
  ]
  for (const [sent, error] of wrong) {
    const answer = await submit(sent)
    expect([sent, answer.status, answer.body.type]).toEqual([sent, 400, `${ERROR}${error}`])
  }
  // A foreign evaluation looks exactly like one that is not there.
  const [theirs, none] = [wrong[6]?.[0] ?? {}, wrong[8]?.[0] ?? {}]
  const texts = await Promise.all([theirs, none].map(async (sent) => (await submit(sent)).body.detail))
  expect(texts[0]).toBe(texts[1])
  expect((await submit(body)).status).toBe(201)
})

it('is for what people can change: not for a deny, and not for one whose time is over', async () => {
  const strict = await office.agent([{ action: 'send:email' }])
  await office.root.put(`/agents/${strict.agent_id}/policy`, { allow: [], deny: [{ action: 'send:email' }] })
  const asked = question(strict)
  const { context } = await evaluate(asked, strict)
  expect([context.access_request, context.next_action]).toEqual([undefined, 'none'])
  const answer = await submit({ ...asked, denial: { evaluation_id: context.decision_id } }, strict)
  expect([answer.status, answer.body.type]).toEqual([400, `${ERROR}not_requestable`])

  await office.root.put('/workflows/hasty', { levels: [{ roles: ['admin'], time_limit_seconds: 1 }] })
  const hasty = await office.agent([{ action: 'send:email', workflow: 'hasty' }])
  const late = await denied(hasty)
  const { task } = (await submit(late.body, hasty)).body
  const end = Date.now() + 60_000
  while ((await read(task.id, hasty)).body.task.status === 'pending' && Date.now() < end);
  expect((await read(task.id, hasty)).body.task.status).toBe('expired')
  const expired = await submit(late.body, hasty)
  expect([expired.status, expired.body.type]).toEqual([410, `${ERROR}expired_denial`])
})

it('hides the tasks of others as if they were not there, and belongs to agents alone', async () => {
  const { body } = await denied()
  const { id } = (await submit(body)).body.task
  const other = await office.agent([{ action: 'send:email' }])
  for (const path of ['', '/cancel']) {
    const ask = (task: string) =>
      path === ''
        ? read(task, other)
        : other.client.post<ProblemBody>(`/access/v1/requests/${task}${path}`, {})
    const [foreign, none] = [await ask(id), await ask('apr_0000000000000000')]
    expect([foreign.status, foreign.body.type]).toEqual([404, `${ERROR}unknown_task`])
    const without = (text: string, name: string) =>
      text.replaceAll(name, '…').replace(/"request_id":"[^"]*"/, '')
    expect(without(foreign.text, id)).toBe(without(none.text, 'apr_0000000000000000'))
  }
  expect((await read(id)).body.task.status).toBe('pending')
  expect((await office.root.post('/access/v1/requests', body)).status).toBe(403)
  expect((await new Client(office.app.url).post('/access/v1/requests', body)).status).toBe(401)
  expect((await submit({ ...body, subject: { type: 'agent', id: other.agent_id } })).status).toBe(403)
})

it('says what it does not read or serve', async () => {
  const { body } = await denied()
  const cases: [object, string][] = [
    [{ ...body, denial: undefined }, 'denial'],
    [{ ...body, denial: 'x' }, 'denial'],
    [{ ...body, denial: { binding_token: 'x' } }, 'denial.evaluation_id'],
    [{ ...body, items: [] }, 'items'],
    [{ ...body, callback: { endpoint: 'https://hooks.example.com' } }, 'callback'],
    [{ ...body, action: undefined }, 'action'],
    [{ ...body, resource: { type: 'x' } }, 'resource.id'],
  ]
  for (const [sent, path] of cases) {
    const answer = await submit(sent)
    expect([sent, answer.status, answer.body.errors?.[0]?.path]).toEqual([sent, 400, path])
  }
})

it('gives a requestable answer to each of several evaluations', async () => {
  const [one, two] = [question(), question()]
  const answer = await agent.client.post<{ evaluations: Evaluated[] }>('/access/v1/evaluations', {
    evaluations: [one, { ...one, action: { name: 'read' } }, two],
  })
  const contexts = answer.body.evaluations.map(({ context }) => context)
  expect(contexts.map(({ access_request }) => access_request !== undefined)).toEqual([true, false, true])
  const denial = { evaluation_id: contexts[2]?.evaluation_id }
  expect((await submit({ ...two, denial })).body.task.id).toBe(contexts[2]?.approval_id)
  expect((await submit({ ...one, denial })).status).toBe(400)
})
