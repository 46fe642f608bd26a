import type { Answer } from './support/client.js'
import { Client } from './support/client.js'
import { approve, type AskingAgent, Office } from './support/approvals.js'

interface Decision {
  decision: boolean
  context: {
    status?: string
    code?: string
    decision_id?: string
    approval_id?: string
    log?: { index: number }
    error?: { status: number; message: string }
  }
}
type Decisions = { evaluations: Decision[] }

let office: Office
let agent: AskingAgent

beforeAll(async () => {
  office = await Office.open()
  agent = await agentNamed('asker', { require_approval: [{ action: 'send:email' }] })
})
afterAll(() => office?.close())

async function agentNamed(name: string, policy: object): Promise<AskingAgent> {
  const body = { name, owner_team: 'ops', environment: 'prod' }
  const made = await office.root.post<{ agent_id: string; key_id: string; api_key: string }>('/agents', body)
  const { agent_id, key_id, api_key } = made.body
  const put = await office.root.put(`/agents/${agent_id}/policy`, {
    allow: [{ action: 'read:*' }],
    ...policy,
  })
  expect(put.status).toBe(200)
  return { agent_id, key_id, client: new Client(office.app.url, { 'X-Agent-Key': api_key }) }
}

const question = (name: string, id = 'record-1', who = agent) => ({
  subject: { type: 'user', id: who.agent_id },
  action: { name },
  resource: { type: 'record', id },
})

const ask = (body: unknown, who = agent, headers = {}): Promise<Answer<Decision>> =>
  who.client.post<Decision>('/access/v1/evaluation', body, headers)
const askAll = (body: unknown, who = agent): Promise<Answer<Decisions>> =>
  who.client.post<Decisions>('/access/v1/evaluations', body)

interface Entry {
  index: number
  context: { authzen: { context?: unknown } }
}
const logOf = async ({ agent_id }: AskingAgent): Promise<Entry[]> =>
  (await office.root.get<Entry[]>(`/logs?agent_id=${agent_id}&type=decision&limit=100`)).body

const entryOf = async (who: AskingAgent, { context: { log } }: Decision): Promise<Entry> => {
  const entry = (await logOf(who)).find(({ index }) => index === log?.index)
  if (!entry) throw new Error('the decision is not in the log')
  return entry
}

describe('POST /access/v1/evaluation', () => {
  it('answers as the standard says, with the caller’s X-Request-ID, and the decision stands in the log', async () => {
    const context = { time: '2026-10-26T01:22-07:00' }
    const body = {
      ...question('read', 'record-7'),
      subject: { type: 'user', id: agent.agent_id, properties: { department: 'Sales' } },
      context,
    }
    const answer = await ask(body, agent, { 'X-Request-ID': 'bfe9eb29-ab87-4ca3-be83-a1d5d8305716' })
    expect([answer.status, answer.headers.get('Content-Type')]).toEqual([
      200,
      expect.stringMatching(/^application\/json/),
    ])
    expect(answer.headers.get('X-Request-ID')).toBe('bfe9eb29-ab87-4ca3-be83-a1d5d8305716')
    expect(answer.body).toMatchObject({ decision: true, context: { status: 'allowed', code: 'allow_rule' } })
    expect(await entryOf(agent, answer.body)).toMatchObject({
      agent_id: agent.agent_id,
      action: 'read',
      resource: 'record-7',
      allowed: true,
      context: {
        authzen: {
          subject: { type: 'user', properties: { department: 'Sales' } },
          resource: { type: 'record' },
          context,
        },
      },
    })
  })

  describe('certification: the eight published decisions', () => {
    const records = (action: string, request?: object) => ({
      action,
      resource: 'record-*',
      ...(request && { conditions: { request } }),
    })
    const policies = {
      alice: {
        allow: [
          records('read'),
          records('write'),
          records('delete', { '/context/authzen/action/properties/soft': true }),
        ],
        deny: [
          records('write', {
            '/context/authzen/resource/properties/status': 'archived',
            '/context/authzen/subject/properties/role': { not_in: 'admin' },
          }),
        ],
      },
      bob: { allow: [records('read')] },
    }
    const agents: Record<string, AskingAgent> = {}
    beforeAll(async () => {
      for (const [name, policy] of Object.entries(policies)) agents[name] = await agentNamed(name, policy)
    })

    const archived = { resource: { properties: { status: 'archived' } } }
    const admin = { subject: { properties: { role: 'admin' } } }
    const soft = (value: unknown) => ({ action: { properties: { soft: value } } })
    type Members = Partial<Record<'subject' | 'action' | 'resource', object>>
    const DECISIONS: [keyof typeof policies, string, Members, boolean, string][] = [
      ['alice', 'read', {}, true, 'allow_rule'],
      ['alice', 'write', {}, true, 'allow_rule'],
      ['bob', 'read', {}, true, 'allow_rule'],
      ['bob', 'write', {}, false, 'default_deny'],
      ['alice', 'write', archived, false, 'deny_rule'],
      ['alice', 'write', { ...archived, ...admin }, true, 'allow_rule'],
      ['alice', 'delete', soft(true), true, 'allow_rule'],
      ['alice', 'delete', soft(false), false, 'default_deny'],
    ]
    const asking = (name: string, action: string, more: Members) => {
      const who = agents[name] ?? agent
      const plain = question(action, 'record-1', who)
      const body = {
        subject: { ...plain.subject, ...more.subject },
        action: { ...plain.action, ...more.action },
        resource: { ...plain.resource, ...more.resource },
      }
      return { who, body }
    }

    it.each(DECISIONS)('%s may %s record-1 with %j: %s', async (name, action, more, decision, code) => {
      const { who, body } = asking(name, action, more)
      const { status, body: answer } = await ask(body, who)
      expect([status, answer.decision, answer.context.code]).toEqual([200, decision, code])
    })

    it('are the same when they are asked at once', async () => {
      for (const name of ['alice', 'bob']) {
        const own = DECISIONS.filter(([whose]) => whose === name)
        const evaluations = own.map(([, action, more]) => asking(name, action, more).body)
        const { body } = await askAll({ evaluations }, agents[name])
        expect(body.evaluations.map(({ decision }) => decision)).toEqual(own.map((one) => one[3]))
      }
    })

    it('are not evaded by other spellings of the properties, nor by others beside them', async () => {
      for (const [action, more] of [
        ['write', { resource: { properties: { Status: 'ARCHIVED' } } }],
        ['write', { resource: { properties: { status: ['archived'] } } }],
        ['write', { resource: { properties: { status: { is: 'archived' } } } }],
        ['write', { ...archived, subject: { properties: { role: 'Admin' } } }],
        ['write', { ...archived, subject: { properties: { role: ['admin'] } } }],
        ['write', { ...archived, subject: { properties: { role: 'admin', Role: 'guest' } } }],
        ['delete', soft('true')],
        ['delete', soft([true])],
        ['delete', { action: { properties: { soft: true, Soft: false } } }],
        ['delete', {}],
      ] as [string, Members][]) {
        const { who, body } = asking('alice', action, more)
        expect([action, more, (await ask(body, who)).body.decision]).toEqual([action, more, false])
      }
    })
  })

  it('ignores members that the standard does not know', async () => {
    const known = question('read')
    const more = { ...known, future: 1, subject: { ...known.subject, toString: 'x' }, options: { x: [] } }
    const answer = await ask(more)
    expect([answer.status, answer.body.decision]).toEqual([200, true])
    expect((await entryOf(agent, answer.body)).context).toEqual({
      authzen: { subject: { type: 'user' }, resource: { type: 'record' } },
    })
  })

  it('answers 400 with a message as text for what it cannot understand, and records nothing', async () => {
    const good = question('read')
    const before = (await logOf(agent)).length
    const cases: [unknown, string][] = [
      [{}, 'subject: is required'],
      [{ ...good, subject: 'me' }, 'subject: is required'],
      [{ ...good, subject: { id: agent.agent_id } }, 'subject.type: is required'],
      [{ ...good, subject: { type: 'user' } }, 'subject.id: is required'],
      [{ ...good, action: { name: 7 } }, 'action.name: is required'],
      [{ ...good, action: { name: 'read *' } }, 'action.name: '],
      [{ ...good, resource: { id: 'record-1' } }, 'resource.type: is required'],
      [{ ...good, resource: { type: 'record', id: '' } }, 'resource.id: is required'],
      [{ ...good, resource: { ...good.resource, properties: [] } }, 'resource.properties: must be'],
      [{ ...good, context: null }, 'context: must be a JSON object'],
      [{ ...good, context: { approval: { id: 'ä' } } }, 'context.approval.id: '],
      [[], 'JSON object'],
    ]
    for (const [body, message] of cases) {
      const answer = await ask(body)
      expect([body, answer.status, answer.headers.get('Content-Type')]).toEqual([
        body,
        400,
        'text/plain; charset=utf-8',
      ])
      expect(answer.text).toContain(message)
    }
    for (const text of ['{', '{"subject":1,"subject":2}']) {
      const answer = await agent.client.call('POST', '/access/v1/evaluation', { text })
      expect([answer.status, answer.headers.get('Content-Type')]).toEqual([400, 'text/plain; charset=utf-8'])
    }
    expect(await logOf(agent)).toHaveLength(before)
  })

  it('answers 403 for another subject, and 401 without a key, as text', async () => {
    const other = await agentNamed('other', {})
    for (const id of [other.agent_id, 'alice', ` ${agent.agent_id}`]) {
      const answer = await ask({ ...question('read'), subject: { type: 'user', id } })
      expect([id, answer.status, answer.headers.get('Content-Type')]).toEqual([
        id,
        403,
        'text/plain; charset=utf-8',
      ])
      expect(answer.text).toContain('subject.id')
    }
    expect(await logOf(other)).toEqual([])
    const nobody = await new Client(office.app.url).post('/access/v1/evaluation', question('read'))
    expect([nobody.status, nobody.headers.get('Content-Type'), nobody.text]).toEqual([
      401,
      'text/plain; charset=utf-8',
      expect.not.stringContaining('{'),
    ])
    expect(nobody.headers.get('WWW-Authenticate')).toContain('ApiKey')
    const administrator = await office.root.post('/access/v1/evaluation', question('read'))
    expect(administrator.status).toBe(403)
  })

  it('is false while people decide; the approval, brought back in the context, allows that very request once', async () => {
    const asked = { ...question('send email', 'mail://customer'), context: { run: 7 } }
    const waiting = await ask(asked)
    expect(waiting.body).toMatchObject({ decision: false, context: { status: 'pending' } })
    const { approval_id = '' } = waiting.body.context
    expect((await ask(asked)).body.context.approval_id).toBe(approval_id)
    expect((await approve(await office.person(), approval_id)).status).toBe(200)
    const approval = { id: approval_id, approved_until: '2027-01-01T00:00:00Z' }
    const another = { ...asked, resource: { type: 'other', id: 'mail://customer' } }
    expect((await ask({ ...another, context: { run: 7, approval } })).body.decision).toBe(false)
    const used = await ask({ ...asked, context: { approval, run: 7 } })
    expect(used.body).toMatchObject({ decision: true, context: { status: 'allowed', approval_id } })
    expect((await ask({ ...asked, context: { run: 7, approval } })).body.decision).toBe(false)
  })

  it('is stopped by the kill switch', async () => {
    const who = await agentNamed('stopped', {})
    await office.root.post('/kill-switch/activate', { scope: 'agent', target: who.agent_id, reason: 'test' })
    const answer = await ask(question('read', 'record-1', who), who)
    expect(answer.body).toMatchObject({ decision: false, context: { code: 'kill_switch_active' } })
  })
})

describe('POST /access/v1/evaluations', () => {
  const names = ['read', 'drop', 'read', 'read']
  const evaluations = names.map((name) => ({ action: { name } }))
  const defaults = () => ({ ...question('unused'), context: { from: 'defaults' } })
  const decisions = ({ body }: Answer<Decisions>) => body.evaluations.map(({ decision }) => decision)

  it('evaluates all in order at indexes that follow each other, members taken whole from the request', async () => {
    const answer = await askAll({
      ...defaults(),
      evaluations: [...evaluations, { action: { name: 'read' }, context: { own: 1 } }],
    })
    expect([answer.status, decisions(answer)]).toEqual([200, [true, false, true, true, true]])
    const first = answer.body.evaluations[0]?.context.log?.index ?? NaN
    expect(answer.body.evaluations.map(({ context }) => context.log?.index)).toEqual(
      [0, 1, 2, 3, 4].map((step) => first + step),
    )
    const entries = await Promise.all(answer.body.evaluations.map((one) => entryOf(agent, one)))
    const contexts = entries.map(({ context }) => context.authzen.context)
    const shared = { from: 'defaults' }
    expect(contexts).toEqual([shared, shared, shared, shared, { own: 1 }])
  })

  it.each([
    ['execute_all', ['read', 'drop', 'read'], [true, false, true]],
    ['deny_on_first_deny', ['read', 'drop', 'read'], [true, false]],
    ['deny_on_first_deny', ['read', 'read'], [true, true]],
    ['permit_on_first_permit', ['drop', 'read', 'read'], [false, true]],
    ['permit_on_first_permit', ['drop', 'drop'], [false, false]],
  ])('%s of %j gives %j, and the log holds no more than that', async (semantic, asked, wanted) => {
    const before = (await logOf(agent)).length
    const answer = await askAll({
      ...defaults(),
      evaluations: asked.map((name) => ({ action: { name } })),
      options: { evaluations_semantic: semantic, unknown: true },
    })
    expect([answer.status, decisions(answer)]).toEqual([200, wanted])
    expect(await logOf(agent)).toHaveLength(before + wanted.length)
  })

  it('answers an evaluation that cannot be read, or is about another subject, with false and why', async () => {
    const before = (await logOf(agent)).length
    const answer = await askAll({
      ...defaults(),
      evaluations: [
        { action: {} },
        { action: { name: 'read' } },
        { action: { name: 'read' }, subject: { type: 'user', id: 'bob' } },
      ],
    })
    expect([answer.status, decisions(answer)]).toEqual([200, [false, true, false]])
    expect(answer.body.evaluations.map(({ context }) => context.error?.status)).toEqual([400, undefined, 403])
    expect(answer.body.evaluations[0]?.context.error?.message).toContain('action.name')
    expect(await logOf(agent)).toHaveLength(before + 1)
    const ending = await askAll({
      ...defaults(),
      evaluations: [{ action: {} }, { action: { name: 'read' } }],
      options: { evaluations_semantic: 'deny_on_first_deny' },
    })
    expect(decisions(ending)).toEqual([false])
    expect(await logOf(agent)).toHaveLength(before + 1)
  })

  it('is a single evaluation when it holds none', async () => {
    for (const more of [{}, { evaluations: [] }]) {
      const { status, body } = await agent.client.post<Decision>('/access/v1/evaluations', {
        ...question('read'),
        ...more,
      })
      expect([status, body.decision]).toEqual([200, true])
    }
  })

  it('answers 400 for a request that is wrong as a whole', async () => {
    for (const wrong of [
      { evaluations: {} },
      { evaluations: [7] },
      { evaluations: Array(101).fill({}) },
      { evaluations, options: [] },
      { evaluations, options: { evaluations_semantic: 'any' } },
      { evaluations: [], action: undefined },
    ]) {
      const answer = await askAll({ ...defaults(), ...wrong })
      expect([answer.status, answer.headers.get('Content-Type')]).toEqual([400, 'text/plain; charset=utf-8'])
    }
  })
})

describe('GET /.well-known/authzen-configuration', () => {
  const read = async (url: string) =>
    (await new Client(url).get<Record<string, unknown>>('/.well-known/authzen-configuration')).body
  const under = (base: string) => ({
    policy_decision_point: base,
    access_evaluation_endpoint: `${base}/access/v1/evaluation`,
    access_evaluations_endpoint: `${base}/access/v1/evaluations`,
    access_request_endpoint: `${base}/access/v1/requests`,
    capabilities: ['urn:openid:authzen:capability:access-request'],
  })

  it('names the endpoints under PUBLIC_URL, or under the address that was asked', async () => {
    expect(await read(office.app.url)).toEqual(under('https://agentguard.test'))
    const plain = await Office.open({ settings: { public_url: undefined } })
    try {
      expect(await read(plain.app.url)).toEqual(under(plain.app.url))
    } finally {
      await plain.close()
    }
  })
})
