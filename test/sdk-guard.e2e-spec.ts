import fc from 'fast-check'
import type { Socket } from 'node:net'
import {
  AgentGuard,
  AgentGuardDenied,
  type AgentGuardOptions,
  AgentGuardUnavailable,
  ApprovalPending,
  type GuardOptions,
  type Incident,
} from '../sdk/src/index.js'
import { type RunningApp, startApp } from './support/app.js'
import { decision, json, type Respond, type Seen, StubService } from './support/stub-service.js'

let stub: StubService
beforeAll(async () => {
  stub = await StubService.start()
})
afterAll(() => stub?.close())
beforeEach(() => {
  stub.seen.length = 0
})

const guard = (options: GuardOptions = {}, client: AgentGuardOptions = {}) =>
  new AgentGuard({ agentKey: 'agk_x', baseURL: stub.url, maxRetries: 0, ...client }).guard(options)

/** A service that answers `/enforce` with these, one after the other, and takes every report. */
const answering =
  (...answers: object[]): Respond =>
  (seen, response) =>
    seen.path === '/v1/enforce'
      ? json(response, 200, answers.shift() ?? decision('denied'))
      : json(response, 201, {})

const asked = () => stub.seen.filter(({ path }) => path === '/v1/enforce').map(bodyOf)
const reports = () => stub.seen.filter(({ path }) => path === '/v1/logs').map(bodyOf)
const bodyOf = ({ body }: Seen) => JSON.parse(body) as Record<string, unknown>
const failureOf = (promise: Promise<unknown>) =>
  promise.then(
    () => null,
    (error: unknown) => error,
  )

describe('a guarded tool', () => {
  it('asks before, and reports after, what was called with what', async () => {
    const answer = decision('allowed')
    stub.respond = answering(answer)
    const readFile = guard().tool('read file', ({ path }: { path: string }) => `content of ${path}`, {
      resource: ({ path }) => path,
      context: { run: 7 },
    })
    expect(await readFile({ path: '/a' })).toBe('content of /a')
    expect(asked()).toEqual([
      { action: 'read file', resource: '/a', arguments: { path: '/a' }, context: { run: 7 } },
    ])
    expect(reports()).toEqual([
      {
        action: 'read file',
        resource: '/a',
        allowed: true,
        decision_id: answer.decision_id,
        result: 'success',
      },
    ])
  })

  it('does nothing that is denied, and says what the rule was', async () => {
    stub.respond = answering(decision('denied', { reason: 'Matched deny rule: delete:* on *' }))
    const act = jest.fn()
    const error = await failureOf(guard().tool('delete file', act)({ path: '/a' }))
    expect(error).toBeInstanceOf(AgentGuardDenied)
    expect(error).toMatchObject({ name: 'AgentGuardDenied', code: 'deny_rule', action: 'delete file' })
    expect([act.mock.calls.length, reports()]).toEqual([0, []])
  })

  it('reports an action that failed, and lets its error through', async () => {
    stub.respond = answering(decision('allowed'))
    const failing = guard().tool('read file', () => Promise.reject(new RangeError('secret text')))
    expect(await failureOf(failing())).toBeInstanceOf(RangeError)
    expect(reports()).toMatchObject([{ result: 'error', metadata: { error: 'RangeError' } }])
    expect(JSON.stringify(reports())).not.toContain('secret text')
  })

  it('keeps the result of what was done when the report of it fails', async () => {
    stub.respond = (seen, response) =>
      seen.path === '/v1/enforce' ? json(response, 200, decision('allowed')) : json(response, 503, {})
    const onReportFailed = jest.fn()
    expect(await guard({ onReportFailed }).tool('read file', () => 42)()).toBe(42)
    expect(onReportFailed).toHaveBeenCalledTimes(1)
  })

  it('does not use arguments that were changed while they were decided about', async () => {
    const call = { path: '/allowed' }
    stub.respond = (seen, response) => {
      call.path = '/etc/shadow'
      answering(decision('allowed'))(seen, response, undefined as never)
    }
    const act = jest.fn()
    const error = await failureOf(
      guard().tool('read file', act, { resource: ({ path }: typeof call) => path })(call),
    )
    expect(error).toMatchObject({ code: 'changed_after_decision' })
    expect([act.mock.calls.length, asked()[0]?.resource]).toEqual([0, '/allowed'])
  })
})

describe('an approval', () => {
  const pending = () => decision('pending', { approval_id: 'apr_1', code: 'approval_rule' })
  const states = (list: string[], ...after: object[]): Respond => {
    const answers = [pending(), ...after]
    return (seen, response) =>
      seen.path.startsWith('/v1/enforce/approval/')
        ? json(response, 200, { approval_id: 'apr_1', status: list.shift() ?? 'pending' })
        : answering(...answers.splice(0, 1))(seen, response, undefined as never)
  }
  const waitForApproval = { pollMs: 5, timeoutMs: 2_000 }

  it('is thrown when nobody waits, and used up by the call that has it', async () => {
    stub.respond = answering(pending(), decision('allowed'))
    const send = guard().tool('send mail', () => 'sent')
    const error = await failureOf(send())
    expect(error).toBeInstanceOf(ApprovalPending)
    expect(error).toMatchObject({ approval_id: 'apr_1', decision: { status: 'pending' } })
    expect(await send.withApproval('apr_1')()).toBe('sent')
    expect(asked()[1]).toEqual({ action: 'send mail', approval_id: 'apr_1' })
  })

  it('is waited for, and then the very same is asked with it', async () => {
    stub.respond = states(['pending', 'pending', 'approved'], decision('allowed'))
    const send = guard({ waitForApproval }).tool('send mail', (_: { to: string }) => 'sent')
    expect(await send({ to: 'a@example.com' })).toBe('sent')
    const [first, second] = asked()
    expect(second).toEqual({ ...first, approval_id: 'apr_1' })
  })

  it.each(['denied', 'expired', 'cancelled', 'of a kind that is not known'])(
    'that is %s allows nothing',
    async (state) => {
      stub.respond = states(['pending', state], decision('allowed'))
      const act = jest.fn()
      const error = await failureOf(guard({ waitForApproval }).tool('send mail', act)())
      expect(error).toBeInstanceOf(AgentGuardDenied)
      expect([act.mock.calls.length, asked().length]).toEqual([0, 1])
    },
  )

  it('that is approved does not allow what the policy has come to deny', async () => {
    stub.respond = states(['approved'], decision('denied'))
    const act = jest.fn()
    expect(await failureOf(guard({ waitForApproval }).tool('send mail', act)())).toBeInstanceOf(
      AgentGuardDenied,
    )
    expect(act).not.toHaveBeenCalled()
  })

  it('is not waited for longer than was said, nor after the signal', async () => {
    stub.respond = states([])
    const slow = { waitForApproval: { pollMs: 10, timeoutMs: 40 } }
    expect(await failureOf(guard(slow).tool('send mail', () => 1)())).toBeInstanceOf(ApprovalPending)
    const controller = new AbortController()
    const { signal } = controller
    const waiting = states([])
    stub.respond = (seen, ...rest) => {
      if (seen.path.startsWith('/v1/enforce/approval/')) controller.abort()
      waiting(seen, ...rest)
    }
    const ended = guard({ waitForApproval }).tool('send mail', () => 1, { signal: () => signal })
    expect(await failureOf(ended())).toMatchObject({ code: 'aborted' })
  })
})

/** What may go wrong between a guard and the service. */
const FAULTS = {
  none: null,
  down: (_, response) => response.destroy(),
  reset: (_, response) => (response.socket as Socket).resetAndDestroy(),
  slow: () => {},
  limited: (_, response) => json(response, 429, { code: 'rate_limit_exceeded' }, { 'Retry-After': '0' }),
  unavailable: (_, response) => json(response, 503, { code: 'ledger_unavailable' }),
  failing: (_, response) => json(response, 500, { allowed: true, status: 'allowed' }),
  malformed: (_, response) =>
    response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"allowed": tru'),
  page: (_, response) => response.writeHead(200, { 'Content-Type': 'text/html' }).end('<h1>allowed</h1>'),
  empty: (_, response) => response.writeHead(204).end(),
  almost: (_, response) => json(response, 200, { allowed: true }),
  cut: (_, response) => {
    response.writeHead(200, { 'Content-Length': '400' })
    response.write(JSON.stringify(decision('allowed')), () => response.destroy())
  },
  redirect: (_, response) => response.writeHead(307, { Location: '/allows-everything' }).end(),
  revoked: (_, response) => json(response, 401, { code: 'invalid_credentials' }),
} satisfies Record<string, Respond | null>
/** Answers with what was answered before: a broken cache, or a second answer on a connection that is reused. */
const REPEATS = ['repeated', 'twice_on_the_wire'] as const
type Fault = keyof typeof FAULTS | (typeof REPEATS)[number]

const ACTIONS = ['read file', 'delete file', 'send mail'] as const
const schedule = fc.record({
  faults: fc.array(fc.constantFrom<Fault>(...(Object.keys(FAULTS) as Fault[]), ...REPEATS, 'none', 'none'), {
    minLength: 1,
    maxLength: 8,
  }),
  actions: fc.array(fc.constantFrom(...ACTIONS), { minLength: 1, maxLength: 5 }),
  maxRetries: fc.constantFrom(0, 0, 0, 1),
  together: fc.boolean(),
})

/**
 * Runs a schedule: each request gets the next fault, and without one the answer of `truth`. Gives the calls of tools
 * that acted though no whole answer allowing them was ever sent in answer to them.
 */
async function unguarded(
  { faults, actions, maxRetries, together }: typeof schedule extends fc.Arbitrary<infer T> ? T : never,
  truth: (seen: Seen) => Promise<object>,
  call: (client: AgentGuard, action: string, n: number, act: () => void) => Promise<unknown>,
  timeoutMs = SLOW_MS,
): Promise<{ wrong: string[]; acted: number; allowed: number }> {
  const left = [...faults]
  /** Calls that were allowed by a whole answer of their own. */
  const allowed = new Set<number>()
  let last: string | null = null
  const respond = async (...[seen, response, request]: Parameters<Respond>): Promise<void> => {
    if (seen.path === '/allows-everything') return json(response, 200, decision('allowed'))
    if (seen.path === '/v1/logs') return json(response, 201, {})
    const fault = left.shift() ?? 'none'
    if (fault === 'repeated' && last !== null) return void response.writeHead(200).end(last)
    if (fault !== 'none' && fault !== 'repeated' && fault !== 'twice_on_the_wire')
      return (FAULTS[fault] as Respond)(seen, response, request)
    const answer = (await truth(seen)) as { allowed: boolean }
    if (answer.allowed) allowed.add((bodyOf(seen).context as { n: number }).n)
    const text = JSON.stringify(answer)
    // The worst answer to repeat is one that allows.
    if (answer.allowed) last = text
    if (fault !== 'twice_on_the_wire') return void response.writeHead(200).end(text)
    const whole = `HTTP/1.1 200 OK\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
    response.socket?.write(whole + whole)
  }
  // A client that has gone waits for no answer, nor does the test: the service may be closed by then.
  stub.respond = (...args) => void respond(...args).catch(() => args[1].destroy())
  const client = new AgentGuard({ agentKey: KEY.agent, baseURL: stub.url, maxRetries, timeoutMs })
  const acted: [number, string][] = []
  const calls = actions.map(
    (action, n) => () =>
      call(client, action, n, () => {
        acted.push([n, action])
      }).catch(() => {}),
  )
  if (together) await Promise.all(calls.map((each) => each()))
  else for (const each of calls) await each()
  const wrong = acted.filter(([n]) => !allowed.has(n)).map(([n, action]) => `${n} ${action}`)
  const many = acted.filter(([n], i) => acted.findIndex(([other]) => other === n) !== i)
  return { wrong: [...wrong, ...many.map(([n]) => `${n} twice`)], acted: acted.length, allowed: allowed.size }
}

/** When a client gives up on the fault `slow`. */
const SLOW_MS = 60
const KEY = { agent: 'agk_x' }
const only = (status: 'allowed' | 'denied') => decision(status)
const stubTruth = (seen: Seen) =>
  Promise.resolve(only(bodyOf(seen).action === 'read file' ? 'allowed' : 'denied'))
const guardedCall = (client: AgentGuard, action: string, n: number, act: () => void) =>
  client.guard().tool(action, act, { context: { n } })()

describe('under every schedule of faults', () => {
  it('no tool acts without a whole answer that allows this very call', async () => {
    let acted = 0
    await fc.assert(
      fc.asyncProperty(schedule, async (plan) => {
        const result = await unguarded(plan, stubTruth, guardedCall)
        acted += result.acted
        expect(result.wrong).toEqual([])
      }),
      { numRuns: 150, examples: REPEATS.map((fault): [ReturnType<typeof worst>] => [worst(fault)]) },
    )
    // Control: tools did act, so the property is about something.
    expect(acted).toBeGreaterThan(20)
  })

  it('control: a client that only looks at "allowed" acts on the answer of another call', async () => {
    const naive = async (client: AgentGuard, action: string, n: number, act: () => void) => {
      const response = await fetch(`${client.baseURL}/v1/enforce`, {
        method: 'POST',
        body: JSON.stringify({ action, context: { n } }),
      })
      if (((await response.json()) as { allowed: boolean }).allowed) act()
    }
    expect((await unguarded(worst('repeated'), stubTruth, naive)).wrong).toEqual(['1 delete file'])
    expect(
      (await unguarded({ ...worst('almost'), faults: ['almost'] }, stubTruth, naive)).wrong,
    ).toHaveLength(1)
  })

  describe('over the real service', () => {
    let app: RunningApp
    beforeAll(async () => {
      app = await startApp()
      const admin = new AgentGuard({ adminKey: app.admin_key, baseURL: app.url })
      const made = await admin.agents.create({ name: 'a', owner_team: 't', environment: 'dev' })
      KEY.agent = made.api_key
      await admin.policies.put(made.agent_id, {
        allow: [{ action: 'read:file' }],
        deny: [{ action: 'delete:*' }],
      })
    })
    afterAll(() => app?.close())

    it('no tool acts either', async () => {
      const truth = async (seen: Seen) => {
        const headers = {
          'X-Agent-Key': String(seen.headers['x-agent-key']),
          'Content-Type': 'application/json',
        }
        const answer = await fetch(`${app.url}/v1/enforce`, { method: 'POST', headers, body: seen.body })
        return (await answer.json()) as object
      }
      let acted = 0
      await fc.assert(
        fc.asyncProperty(schedule, async (plan) => {
          // Whoever answers here must reach a database: on a busy machine not in `SLOW_MS`.
          const result = await unguarded(plan, truth, guardedCall, 10 * SLOW_MS)
          acted += result.acted
          expect(result.wrong).toEqual([])
        }),
        { numRuns: 40 },
      )
      expect(acted).toBeGreaterThan(3)
    })
  })
})

const worst = (fault: Fault) => ({
  faults: ['none', fault] as Fault[],
  actions: ['read file', 'delete file'] as (typeof ACTIONS)[number][],
  maxRetries: 0 as const,
  together: false,
})

describe('onUnavailable', () => {
  const OPENS: Fault[] = ['down', 'reset', 'slow', 'unavailable', 'failing']
  const CLOSED: Fault[] = ['limited', 'malformed', 'page', 'empty', 'almost', 'redirect', 'revoked']

  /** Only what is never answered may take its time: anything else would be taken for an outage on a busy machine. */
  const timeoutFor = (fault: Fault) => (fault === 'slow' ? SLOW_MS : 30_000)

  const run = async (fault: Fault, allow: (incident: Incident) => void, approval_id?: string) => {
    stub.respond = (seen, response, request) =>
      seen.path === '/v1/logs'
        ? json(response, 503, {})
        : (FAULTS[fault as keyof typeof FAULTS] as Respond)(seen, response, request)
    const act = jest.fn(() => 'done')
    const client = { timeoutMs: timeoutFor(fault) }
    const tool = guard({ onUnavailable: { allow }, report: false }, client).tool('read file', act)
    const error = await failureOf(approval_id === undefined ? tool() : tool.withApproval(approval_id)())
    return { acted: act.mock.calls.length, error }
  }

  it.each(OPENS)('%s: is let through where that was said, and told', async (fault) => {
    const told: Incident[] = []
    expect(await run(fault, (incident) => told.push(incident))).toEqual({ acted: 1, error: null })
    expect(told).toMatchObject([{ request: { action: 'read file' }, failure: { retryable: true } }])
  })

  it.each(OPENS)('%s: is denied where nothing was said', async (fault) => {
    stub.respond = FAULTS[fault as keyof typeof FAULTS] as Respond
    const act = jest.fn()
    const error = await failureOf(guard({}, { timeoutMs: timeoutFor(fault) }).tool('read file', act)())
    expect(error).toBeInstanceOf(AgentGuardUnavailable)
    expect(act).not.toHaveBeenCalled()
  })

  it.each(CLOSED)('%s: is no outage, and never let through', async (fault) => {
    const allow = jest.fn()
    const { acted, error } = await run(fault, allow)
    expect([acted, allow.mock.calls.length]).toEqual([0, 0])
    expect(error).toBeInstanceOf(AgentGuardUnavailable)
  })

  it('denies when it cannot be told, and when a person has to decide', async () => {
    const telling = () => {
      throw new Error('the pager is down')
    }
    expect(await run('down', telling)).toMatchObject({ acted: 0, error: { message: 'the pager is down' } })
    expect(await run('down', () => {}, 'apr_1')).toMatchObject({
      acted: 0,
      error: { code: 'connection_failed' },
    })
  })
})
