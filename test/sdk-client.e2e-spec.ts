import { readFileSync } from 'node:fs'
import path from 'node:path'
import { inspect } from 'node:util'
import * as sdk from '../sdk/src/index.js'
import { AgentGuard, AgentGuardClient } from '../sdk/src/index.js'
import { type RunningApp, startApp } from './support/app.js'
import { decision, json, StubService } from './support/stub-service.js'

const AGENT_KEY = `agk_${'A'.repeat(49)}`
const ADMIN_KEY = 'root-key-that-nobody-may-see-0123456789'

let stub: StubService

beforeAll(async () => {
  stub = await StubService.start()
})
afterAll(() => stub?.close())
beforeEach(() => {
  stub.seen.length = 0
})

const client = (options: sdk.AgentGuardOptions = {}) =>
  new AgentGuard({ agentKey: AGENT_KEY, adminKey: ADMIN_KEY, baseURL: stub.url, ...options })

describe('the surface', () => {
  interface Operation {
    method: string
    path: string
    pattern: RegExp
  }
  const { paths } = JSON.parse(readFileSync(path.join(__dirname, '../openapi.json'), 'utf8')) as {
    paths: Record<string, Record<string, unknown>>
  }
  const operations: Operation[] = Object.entries(paths).flatMap(([template, methods]) =>
    Object.keys(methods).map((method) => ({
      method: method.toUpperCase(),
      path: template,
      pattern: new RegExp(`^${template.replace(/\{\w+\}/g, '~[^/]+')}$`),
    })),
  )

  /** Every method of every namespace, and what it asks for when each id is `~1`. */
  async function asked(): Promise<string[]> {
    const seen: string[] = []
    const fetch = async (url: string, { method = '' }: RequestInit) => {
      seen.push(`${method} ${new URL(url).pathname}`)
      return new Response('{}', { status: 418, headers: { 'Content-Type': 'application/json' } })
    }
    const guarded = client({ fetch, maxRetries: 0 })
    for (const space of [guarded, ...Object.values(guarded)]) {
      if (typeof space !== 'object' || space === null) continue
      const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(space)).filter(
        (n) => n !== 'constructor',
      )
      for (const name of methods) {
        const method = (space as Record<string, unknown>)[name]
        const call = async () => {
          const asked = (method as (...ids: string[]) => unknown).call(space, '~1', '~2', '~3')
          // A stream asks when it is read.
          return asked instanceof Object && 'next' in asked ? (asked as AsyncGenerator).next() : asked
        }
        await call().catch(() => {})
      }
    }
    return seen
  }

  it('has a method for every operation of openapi.json, and none for another', async () => {
    const seen = await asked()
    const served = ({ method, pattern }: Operation) =>
      seen.some((call) => call.startsWith(`${method} `) && pattern.test(call.slice(method.length + 1)))
    // To add one: a line in sdk/src/resources/<noun>.ts.
    expect(
      operations.filter((operation) => !served(operation)).map(({ method, path }) => `${method} ${path}`),
    ).toEqual([])
    const known = (call: string) =>
      operations.some(
        ({ method, pattern }) => pattern.test(call.slice(method.length + 1)) && call.startsWith(method),
      )
    expect(seen.filter((call) => !known(call))).toEqual([])
  })
})

describe('errors', () => {
  it.each([
    [400, 'bad_request', sdk.BadRequestError, false],
    [401, 'invalid_credentials', sdk.AuthenticationError, false],
    [403, 'forbidden', sdk.PermissionDeniedError, false],
    [404, 'agent_not_found', sdk.NotFoundError, false],
    [409, 'conflict', sdk.ConflictError, false],
    [409, 'idempotency_in_progress', sdk.ConflictError, true],
    [422, 'validation_failed', sdk.UnprocessableEntityError, false],
    [429, 'rate_limit_exceeded', sdk.RateLimitError, true],
    [500, 'internal_server_error', sdk.InternalServerError, true],
    [503, 'ledger_unavailable', sdk.ServiceUnavailableError, true],
  ])('%i %s has a class of its own', async (status, code, Class, retryable) => {
    const errors = [{ path: 'deny[2].action', message: 'must be a string' }]
    stub.respond = (_, response) =>
      json(response, status, { status, code, detail: 'Said so.', request_id: 'req_1', errors })
    const error = await client({ maxRetries: 0 })
      .agents.get('agt_1')
      .catch((e: unknown) => e)
    expect(error).toBeInstanceOf(Class)
    expect(error).toMatchObject({
      name: Class.className,
      status,
      code,
      retryable,
      request_id: 'req_1',
      errors,
    })
    expect(String(error)).toContain('deny[2].action: must be a string')
  })

  it('never shows a key: not by the client, not in what a broken server or fetch throws back', async () => {
    const throwing = (input: string, init: RequestInit) => {
      const error = new Error(`cannot send ${JSON.stringify([...new Headers(init.headers)])} to ${input}`)
      return Promise.reject(Object.assign(error, { request: init }))
    }
    stub.respond = ({ headers }, response) =>
      json(response, 422, {
        code: `code ${String(headers['x-admin-key'])}`,
        detail: `You sent ${JSON.stringify(headers)}`,
        errors: [{ path: 'x', message: JSON.stringify(headers) }],
      })
    const clients = [client({ maxRetries: 0 }), client({ maxRetries: 0, fetch: throwing })]
    const shown: unknown[] = [
      ...clients,
      ...clients.map((each) => new AgentGuardClient(each.baseURL, { adminKey: ADMIN_KEY })),
    ]
    for (const each of clients)
      for (const call of [
        () => each.enforce({ action: 'read' }),
        () => each.agents.list(),
        () => each.logs.export(),
      ])
        shown.push(await Promise.resolve(call()).catch((error: unknown) => error))
    for (const bad of ['agk_ two words', 'agk_\nX-Admin-Key: x', 'agk_\u00e4'])
      shown.push(catching(() => client({ agentKey: bad })))
    expect(shown).toHaveLength(13)
    for (const thing of shown) {
      const error = thing instanceof Error ? [thing.message, thing.stack, `${String(thing)}`] : []
      const text = [inspect(thing, { depth: 20, showHidden: true }), JSON.stringify(thing), ...error].join(
        '\n',
      )
      expect(text).not.toContain(AGENT_KEY)
      expect(text).not.toContain(ADMIN_KEY)
      expect(text).not.toContain('two words')
    }
    // Control: both keys were really sent.
    expect(stub.seen.map(({ headers }) => headers['x-admin-key'] ?? headers['x-agent-key'])).toEqual([
      AGENT_KEY,
      ADMIN_KEY,
      ADMIN_KEY,
    ])
  })

  it('does not follow a redirect with a key in its hands', async () => {
    const other = await StubService.start()
    try {
      stub.respond = (_, response) => response.writeHead(307, { Location: `${other.url}/v1/enforce` }).end()
      const error = await client()
        .enforce({ action: 'read' })
        .catch((e: unknown) => e)
      expect(error).toMatchObject({ code: 'unreadable_answer', retryable: false })
      expect([stub.seen.length, other.seen.length]).toEqual([1, 0])
    } finally {
      await other.close()
    }
  })

  it('refuses ids that would be another path, before anything is sent', async () => {
    for (const id of ['', '.', '..', undefined as unknown as string])
      await expect(async () => client().agents.get(id)).rejects.toThrow('must be the id')
    stub.respond = (_, response) => json(response, 200, {})
    await client().agents.get('../agents?x=/%2e')
    expect(stub.seen.map(({ path }) => path)).toEqual(['/v1/agents/..%2Fagents%3Fx%3D%2F%252e'])
  })

  it('refuses keys in a browser without the flag', () => {
    const page = globalThis as { window?: unknown }
    page.window = { document: {} }
    try {
      expect(() => client()).toThrow('dangerouslyAllowBrowser')
      expect(() => client({ dangerouslyAllowBrowser: true })).not.toThrow()
      expect(() => new AgentGuard({ baseURL: stub.url })).not.toThrow()
    } finally {
      delete page.window
    }
  })
})

function catching(call: () => unknown): unknown {
  try {
    return call()
  } catch (error) {
    return error
  }
}

describe('a call', () => {
  it('is tried again after 503 and 429 under one request id and one idempotency key', async () => {
    const answers = [503, 429, 201]
    stub.respond = (_, response) => {
      const status = answers.shift() ?? 500
      json(response, status, { agent_id: 'agt_1', api_key: 'agk_x' }, { 'Retry-After': '0' })
    }
    const made = await client().agents.create({ name: 'a', owner_team: 't', environment: 'dev' })
    expect(made.agent_id).toBe('agt_1')
    const ids = stub.seen.map(
      ({ headers }) => `${String(headers['idempotency-key'])} ${String(headers['x-request-id'])}`,
    )
    expect([ids.length, new Set(ids).size]).toEqual([3, 1])
    expect(stub.seen[0]?.headers['user-agent']).toBe(`agentguard-sdk/${sdk.VERSION}`)
  })

  it('waits as Retry-After says, but not for minutes', async () => {
    const at: number[] = []
    stub.respond = (_, response) => {
      at.push(performance.now())
      json(response, at.length === 1 ? 429 : 200, [], { 'Retry-After': '1' })
    }
    await client().agents.list()
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThan(990)
    stub.respond = (_, response) =>
      json(response, 429, { code: 'rate_limit_exceeded' }, { 'Retry-After': '60' })
    await expect(client().agents.list()).rejects.toMatchObject({ status: 429, retry_after_s: 60 })
    expect(stub.seen).toHaveLength(3)
  })

  it('has an idempotency key on changes, and on enforce only with an approval', async () => {
    stub.respond = ({ path: url }, response) =>
      json(response, 200, url === '/v1/enforce' ? decision('allowed') : [])
    const asking = client()
    await asking.enforce({ action: 'read' })
    await asking.enforce({ action: 'read', approval_id: 'apr_1' })
    await asking.agents.list()
    await asking.agents.update('agt_1', { name: 'b' }, { idempotencyKey: 'mine' })
    const keys = stub.seen.map(({ headers }) => headers['idempotency-key'])
    expect(keys).toEqual([undefined, expect.any(String), undefined, 'mine'])
  })

  it('passes the trace context on', async () => {
    stub.respond = (_, response) => json(response, 200, [])
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    await client({ traceContext: () => ({ traceparent, tracestate: 'a=1' }) }).agents.list()
    await client().agents.list({}, { traceparent })
    expect(stub.seen.map(({ headers }) => [headers.traceparent, headers.tracestate])).toEqual([
      [traceparent, 'a=1'],
      [traceparent, undefined],
    ])
  })

  it('ends with its timeout, also in the middle of an answer, and with its signal', async () => {
    let begun = () => {}
    stub.respond = (_, response) => {
      response.writeHead(200, { 'Content-Type': 'application/json' }).write('[', () => begun())
    }
    // Long enough for both requests to arrive, however busy the machine.
    const slow = client({ timeoutMs: 1_000, maxRetries: 1 })
    await expect(slow.agents.list()).rejects.toBeInstanceOf(sdk.APITimeoutError)
    expect(stub.seen).toHaveLength(2)
    const controller = new AbortController()
    const { signal } = controller
    begun = () => controller.abort()
    await expect(client().agents.list({}, { signal })).rejects.toMatchObject({
      code: 'aborted',
      retryable: false,
    })
    await expect(client().agents.list({}, { signal })).rejects.toBeInstanceOf(sdk.APIUserAbortError)
    expect(stub.seen).toHaveLength(3)
  })

  it('takes nothing for a decision that is not one, and none twice', async () => {
    const once = decision('allowed')
    const bodies: unknown[] = [
      { ...decision('allowed'), allowed: 'true' },
      { ...decision('denied'), allowed: true },
      { ...decision('allowed'), decision_id: '' },
      { ...decision('allowed'), status: 'ok' },
      [],
      null,
      'allowed',
    ]
    const asking = client({ maxRetries: 0 })
    for (const body of bodies) {
      stub.respond = (_, response) => json(response, 200, body)
      await expect(asking.enforce({ action: 'read' })).rejects.toBeInstanceOf(sdk.UnreadableAnswerError)
    }
    stub.respond = (_, response) => json(response, 200, once)
    expect(await asking.enforce({ action: 'read' })).toEqual(once)
    await expect(asking.enforce({ action: 'delete' })).rejects.toMatchObject({ code: 'unreadable_answer' })
  })

  it('says so when an answer with a secret was lost, instead of handing out null', async () => {
    stub.respond = (_, response) =>
      json(response, 201, { agent_id: 'agt_1', api_key: null }, { 'Idempotent-Replayed': 'true' })
    const error = await client()
      .agents.create({ name: 'a', owner_team: 't', environment: 'dev' })
      .catch((e: unknown) => e)
    expect(error).toBeInstanceOf(sdk.SecretLostError)
    expect(error).toMatchObject({ code: 'secret_lost', made: { agent_id: 'agt_1' } })
  })
})

describe('the real service', () => {
  let app: RunningApp
  beforeAll(async () => {
    app = await startApp()
  })
  afterAll(() => app?.close())

  it('is administered and asked with types, and its lists end', async () => {
    const admin = new AgentGuard({ adminKey: app.admin_key, baseURL: `${app.url}/v1/` })
    const made = await admin.agents.create({ name: 'reader', owner_team: 'research', environment: 'dev' })
    await admin.policies.put(made.agent_id, {
      allow: [{ action: 'read:file' }],
      deny: [{ action: 'delete:*' }],
    })
    const agent = new AgentGuard({ agentKey: made.api_key, baseURL: app.url })
    const answers = await Promise.all(
      ['read file', 'delete file', 'write file'].map((action) =>
        agent.enforce({ action, resource: 'a.txt' }),
      ),
    )
    expect(answers.map(({ status }) => status)).toEqual(['allowed', 'denied', 'denied'])
    const report = { action: 'read file', allowed: true, result: 'success' as const }
    await agent.logs.report({ ...report, ...(answers[0] && { decision_id: answers[0].decision_id }) })
    const indexes: number[] = []
    for await (const entry of admin.logs.list({ limit: 2 })) indexes.push(entry.index)
    expect(indexes).toHaveLength(4)
    expect(indexes).toEqual([...indexes].sort((a, b) => b - a))
    const page = await agent.logs.list({ limit: 3 })
    expect([page.items.length, page.total, page.hasNext]).toEqual([3, 4, true])
    for (let i = 0; i < 4; i++) await admin.keys.create(made.agent_id)
    expect(await admin.keys.list(made.agent_id, { limit: 2 }).toArray()).toHaveLength(5)
    expect(await admin.keys.list(made.agent_id, { limit: 2 }).toArray(3)).toHaveLength(3)
    await expect(admin.agents.get('agt_nothing')).rejects.toBeInstanceOf(sdk.NotFoundError)
    await expect(admin.policies.put(made.agent_id, { deny: [{ action: '' }] })).rejects.toMatchObject({
      errors: [{ path: 'deny[0].action' }],
    })
    await admin.agents.delete(made.agent_id)
    await expect(agent.enforce({ action: 'read file' })).rejects.toBeInstanceOf(sdk.AuthenticationError)
    expect(await admin.health.ready()).toMatchObject({ status: 'ready' })
  })

  it('answers to the method names of AgentGuardClient', async () => {
    const admin = new AgentGuardClient(app.url, { adminKey: app.admin_key })
    const made = await admin.createAgent('a', 't', 'dev')
    await admin.setPolicy(made.agent_id, [{ action: 'read:*' }], [{ action: 'delete:*' }])
    const agent = new AgentGuardClient(app.url, { agentKey: made.api_key })
    expect(await agent.enforce('read file', 'x', { why: 'test' })).toMatchObject({ allowed: true })
    expect(await agent.logAction('read file', 'x', true, 'success')).toMatchObject({
      agent_id: made.agent_id,
    })
    expect(await agent.queryLogs({ allowed: true })).toHaveLength(2)
    expect(await admin.getPolicy(made.agent_id)).toMatchObject({ version: 1 })
    expect((await admin.listAgents({ name: 'a' })).map(({ agent_id }) => agent_id)).toContain(made.agent_id)
    await admin.deleteAgent(made.agent_id)
    expect(await admin.getAgent(made.agent_id)).toMatchObject({ is_active: false })
  })

  it('waits for people by the method names of AgentGuardClient, with a token that it keeps', async () => {
    const admin = new AgentGuardClient(app.url, { adminKey: app.admin_key })
    const made = await admin.createAgent('a', 't', 'dev')
    await admin.setPolicy(made.agent_id, [], [], [{ action: 'send:*' }])
    const sent: string[] = []
    const watching: typeof fetch = (input, init) => {
      const headers = new Headers(init?.headers)
      sent.push(
        `${headers.has('x-agent-key') ? 'key' : headers.get('authorization')} ${new URL(input instanceof Request ? input.url : input).pathname}`,
      )
      return fetch(input, init)
    }
    const agent = new AgentGuardClient(app.url, { agentKey: made.api_key, useToken: true, fetch: watching })
    const { approval_id = '' } = await agent.enforce('send mail', 'mail://a')
    await expect(agent.waitForApproval(approval_id, { timeoutMs: 30, pollMs: 20 })).rejects.toMatchObject({
      name: 'TimeoutError',
    })
    expect((await admin.listApprovals({ status: 'pending' })).map((each) => each.approval_id)).toContain(
      approval_id,
    )
    const waited = agent.waitForApproval(approval_id, { pollMs: 20 })
    await admin.approveRequest(approval_id, 'it may')
    expect(await waited).toMatchObject({ status: 'approved' })
    expect(await admin.getApproval(approval_id)).toMatchObject({ decision_reason: 'it may' })
    const second = await agent.enforce('send mail', 'mail://b')
    await admin.denyRequest(second.approval_id ?? '', 'no')
    expect(await agent.pollApproval(second.approval_id ?? '')).toMatchObject({ status: 'denied' })

    const tokens = new Set(sent.filter((line) => line.startsWith('Bearer')).map((line) => line.split(' ')[1]))
    expect(tokens.size).toBe(1)
    expect(sent.filter((line) => line.endsWith('/v1/token'))).toHaveLength(1)
    expect(await agent.revokeToken()).toMatchObject({ revoked: true })
    expect(await agent.enforce('send mail', 'mail://b')).toMatchObject({ status: 'pending' })
    expect(sent.filter((line) => line.endsWith('/v1/token'))).toHaveLength(2)
    expect(() => new AgentGuardClient(app.url, { useToken: true, adminKey: 'a', agentKey: 'b' })).toThrow(
      TypeError,
    )
  })
})
