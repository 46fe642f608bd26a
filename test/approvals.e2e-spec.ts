import fc from 'fast-check'
import { Client as Postgres } from 'pg'
import { ApprovalEndingService } from '../src/approvals/ending.service.js'
import { approve, type Approval, ask, type AskingAgent, EMAIL, Office, pending } from './support/approvals.js'
import { Client, type ProblemBody } from './support/client.js'
import { startApp } from './support/app.js'
import { until } from './support/proofs.js'

let office: Office
let agent: AskingAgent
let approver: Client

beforeAll(async () => {
  office = await Office.open()
  agent = await office.agent()
  approver = await office.person()
})

afterAll(() => office?.close())

const entriesOf = async (approval_id: string) => {
  const { body } = await office.root.get<
    { event: string; actor: { kind: string }; change: { id: string; op: string }; after: object | null }[]
  >('/logs?type=approval&limit=1000')
  return body.filter(({ change }) => change.id === approval_id).reverse()
}

/** What waits ends right after a kill switch was committed, not with it. */
const isCancelled = (approval_id: string) =>
  until(async () => {
    const { body } = await office.root.get<Approval>(`/approvals/${approval_id}`)
    return body.status === 'cancelled' ? true : null
  })

describe('asking', () => {
  it('answers pending with an approval, and the same request again with the same one', async () => {
    const first = await ask(agent)
    expect(first).toMatchObject({ allowed: false, status: 'pending', code: 'approval_rule' })
    expect(first.approval_id).toMatch(/^apr_/)
    const again = await ask(agent, {
      ...EMAIL,
      action: 'SEND EMAIL',
      context: { run: 7, trace: { id: 'x' } },
    })
    expect(again.approval_id).toBe(first.approval_id)
    expect(again.decision_id).not.toBe(first.decision_id)
    const other = await ask(agent, { ...EMAIL, arguments: { to: 'b@example.com' } })
    expect(other.approval_id).not.toBe(first.approval_id)
    expect((await entriesOf(first.approval_id ?? '')).map(({ event }) => event)).toEqual([
      'approval.requested',
    ])
  })

  it('makes one approval of the same request sent twenty times at once', async () => {
    const request = { ...EMAIL, arguments: { to: 'crowd@example.com' } }
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(agent, request)))
    expect(new Set(answers.map(({ approval_id }) => approval_id)).size).toBe(1)
  })

  it('shows people the exact request, and agents only what became of their own', async () => {
    const approval_id = await pending(agent)
    const shown = await office.root.get<object>(`/approvals/${approval_id}`)
    expect(shown.body).toMatchObject({
      status: 'pending',
      agent_id: agent.agent_id,
      action: EMAIL.action,
      resource: EMAIL.resource,
      arguments: EMAIL.arguments,
      context: EMAIL.context,
      workflows: ['standard'],
      terms: {
        levels: [
          { who: [{ roles: ['approver', 'admin'], teams: [] }], time_limit_seconds: 3600 },
          { who: [{ roles: ['admin'], teams: [] }], time_limit_seconds: 3600 },
        ],
        first_denial_ends: true,
        on_timeout: 'deny',
        creator_may_decide: true,
        grant_seconds: 3600,
        widest_grant: { seconds: 86_400, uses: 1000 },
      },
      redacted: false,
    })
    const listed = await office.root.get<{ items: Approval[]; total: number; pending_count: number }>(
      `/approvals?status=pending&agent_id=${agent.agent_id}&limit=1`,
    )
    expect(listed.body.items).toHaveLength(1)
    expect(listed.body.total).toBe(listed.body.pending_count)
    expect(listed.text).not.toContain('hello')
    expect((await office.root.get('/approvals?status=approve')).status).toBe(422)
    const own = await agent.client.get<object>(`/enforce/approval/${approval_id}`)
    expect(own.body).toMatchObject({
      approval_id,
      status: 'pending',
      decision_reason: null,
      decision_by: null,
    })
    const stranger = await office.agent()
    expect((await stranger.client.get(`/enforce/approval/${approval_id}`)).body.code).toBe(
      'approval_not_found',
    )
  })

  it('records nothing without its approval: a batch is all or nothing', async () => {
    const bodies = [
      { action: 'read:file' },
      { ...EMAIL, arguments: { n: 1 } },
      { ...EMAIL, arguments: { n: 1 } },
    ]
    const { body } = await agent.client.post<{ results: { status: string; approval_id?: string }[] }>(
      '/enforce/batch',
      { requests: bodies },
    )
    const answers = body.results
    expect(answers.map(({ status }) => status)).toEqual(['allowed', 'pending', 'pending'])
    expect(answers[1]?.approval_id).toBe(answers[2]?.approval_id)
  })
})

describe('using what was granted', () => {
  it('allows exactly that request, once, and says who and why in the log', async () => {
    const request = { ...EMAIL, arguments: { to: 'once@example.com' } }
    const approval_id = await pending(agent, request)
    expect((await approve(approver, approval_id)).body).toMatchObject({
      status: 'approved',
      decision_reason: 'fine',
      grant: { scope: null, uses: 1, used: 0 },
    })
    expect(await ask(agent, { ...request, approval_id })).toMatchObject({
      allowed: true,
      status: 'allowed',
      code: 'approval_granted',
      approval_id,
    })
    expect(await ask(agent, { ...request, approval_id })).toMatchObject({
      allowed: false,
      status: 'denied',
      code: 'approval_used',
    })
    expect((await entriesOf(approval_id)).map(({ event, actor }) => [event, actor.kind])).toEqual([
      ['approval.requested', 'agent'],
      ['approval.voted', 'admin_key'],
      ['approval.approved', 'admin_key'],
      ['approval.used', 'agent'],
      ['approval.refused', 'agent'],
    ])
    expect((await entriesOf(approval_id))[2]?.after).toEqual({ reason: 'fine' })
    const history = await office.root.get<{ event: string }[]>(`/approvals/${approval_id}/history`)
    expect(history.body.map(({ event }) => event)).toEqual([
      'requested',
      'voted',
      'approved',
      'used',
      'refused',
    ])
  })

  it('lets exactly one of 50 parallel uses through', async () => {
    const request = { ...EMAIL, arguments: { to: 'fifty@example.com' } }
    const approval_id = await pending(agent, request)
    await approve(approver, approval_id)
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => ask(agent, { ...request, approval_id })),
    )
    const allowed = answers.filter((answer) => answer.allowed)
    const { grant } = (await approver.get<Approval>(`/approvals/${approval_id}`)).body
    expect(grant).toMatchObject({ uses: 1, used: 1 })
    expect(allowed.length).toBeLessThanOrEqual(1) // none, where the answer to the one came too late and was a 503
    expect(answers.filter(({ code }) => code === 'approval_used')).toHaveLength(50 - allowed.length)
  })

  it('says pending while it waits, and refuses what was denied, cancelled or never asked for', async () => {
    const request = { ...EMAIL, arguments: { to: 'no@example.com' } }
    const approval_id = await pending(agent, request)
    expect(await ask(agent, { ...request, approval_id })).toMatchObject({ status: 'pending', approval_id })
    expect((await approver.post<Approval>(`/approvals/${approval_id}/deny`, {})).body).toMatchObject({
      status: 'denied',
      decision_reason: 'Denied by admin',
    })
    expect(await ask(agent, { ...request, approval_id })).toMatchObject({ code: 'approval_denied' })
    const second = await pending(agent, request)
    expect(second).not.toBe(approval_id)
    expect((await approver.delete(`/approvals/${second}`)).status).toBe(204)
    expect((await approver.delete(`/approvals/${second}`)).body).toMatchObject({
      status: 409,
      detail: 'Approval is already cancelled',
    })
    expect(await ask(agent, { ...request, approval_id: second })).toMatchObject({
      code: 'approval_cancelled',
    })
    expect(await ask(agent, { ...request, approval_id: 'apr_nothing' })).toMatchObject({
      allowed: false,
      code: 'approval_not_found',
    })
    const bad = await agent.client.post('/enforce', { ...request, approval_id: 'ä' })
    expect([bad.status, bad.body.errors?.[0]?.path]).toEqual([422, 'approval_id'])
  })

  it('can be taken back before it is used, and between its uses, with who and why', async () => {
    const request = { ...EMAIL, arguments: { to: 'taken-back@example.com' } }
    const approval_id = await pending(agent, request)
    const revoke = (who: Client, body = {}) => who.post<Approval>(`/approvals/${approval_id}/revoke`, body)
    expect((await revoke(approver)).status).toBe(409)
    await approve(approver, approval_id, { grant: { action: 'send:email', seconds: 600, uses: 3 } })
    expect((await ask(agent, { ...request, approval_id })).allowed).toBe(true)
    expect((await revoke(await office.person('viewer'))).status).toBe(403)
    expect((await revoke(approver, { reason: 'wrong customer' })).body).toMatchObject({
      status: 'cancelled',
      decision_reason: 'wrong customer',
      grant: { uses: 3, used: 1 },
    })
    expect(await ask(agent, { ...request, approval_id })).toMatchObject({
      allowed: false,
      code: 'approval_cancelled',
    })
    const entries = await entriesOf(approval_id)
    expect(entries.map(({ event }) => event).slice(-2)).toEqual(['approval.revoked', 'approval.refused'])
    expect(entries.at(-2)).toMatchObject({
      actor: { kind: 'admin_key' },
      after: { reason: 'wrong customer' },
    })
    expect([(await revoke(approver)).status, (await approve(approver, approval_id)).status]).toEqual([
      409, 409,
    ])
    const other = await pending(agent, request)
    expect(other).not.toBe(approval_id)
  })

  it('cannot be taken back once it is used up', async () => {
    const request = { ...EMAIL, arguments: { to: 'spent@example.com' } }
    const approval_id = await pending(agent, request)
    await approve(approver, approval_id)
    await ask(agent, { ...request, approval_id })
    const late = await approver.post(`/approvals/${approval_id}/revoke`, {})
    expect([late.status, late.body.detail]).toEqual([409, expect.stringContaining('used up')])
  })

  it('is used or taken back, never both, when both happen at once', async () => {
    const rounds = Array.from({ length: 8 }, async (_, i) => {
      const request = { ...EMAIL, arguments: { to: `race-${i}` } }
      const approval_id = await pending(agent, request)
      await approve(approver, approval_id)
      const [used, revoked] = await Promise.all([
        ask(agent, { ...request, approval_id }),
        approver.post(`/approvals/${approval_id}/revoke`, {}),
      ])
      // What the approval says itself: the answer to a use may have come too late and have been a 503.
      const { grant } = (await approver.get<Approval>(`/approvals/${approval_id}`)).body
      expect([grant?.used, revoked.status]).toEqual(grant?.used === 1 ? [1, 409] : [0, 200])
      if (used.allowed) expect(grant?.used).toBe(1)
    })
    await Promise.all(rounds)
  })

  it('refuses another agent, also of the same team and with the same policy', async () => {
    const approval_id = await pending(agent, { ...EMAIL, arguments: { to: 'mine' } })
    await approve(approver, approval_id)
    const other = await office.agent()
    expect(await ask(other, { ...EMAIL, arguments: { to: 'mine' }, approval_id })).toMatchObject({
      code: 'approval_not_found',
    })
  })

  it('refuses what the policy denies by now, and what it holds back for another reason', async () => {
    const changing = await office.agent()
    const approval_id = await pending(changing)
    await approve(approver, approval_id)
    const policy = `/agents/${changing.agent_id}/policy`
    await office.root.put(policy, { deny: [{ action: 'send:email' }] })
    expect(await ask(changing, { ...EMAIL, approval_id })).toMatchObject({
      allowed: false,
      code: 'deny_rule',
    })
    await office.root.put(policy, { require_approval: [{ action: 'send:*' }] })
    expect(await ask(changing, { ...EMAIL, approval_id })).toMatchObject({ code: 'approval_outdated' })
    await office.root.put(policy, { require_approval: [{ action: 'send:email', workflow: 'critical' }] })
    expect(await ask(changing, { ...EMAIL, approval_id })).toMatchObject({ code: 'approval_outdated' })
    // The rule that asked, at another place of another version: the same question, so the same answer.
    await office.root.put(policy, { require_approval: [{ action: 'drop:table' }, { action: 'send:email' }] })
    expect(await ask(changing, { ...EMAIL, approval_id })).toMatchObject({ allowed: true })
  })

  it('stops with the agent: what waits is cancelled, and the key is a 401', async () => {
    const leaving = await office.agent()
    const waiting = await pending(leaving)
    const granted = await pending(leaving, { ...EMAIL, arguments: {} })
    await approve(approver, granted)
    await office.root.patch(`/agents/${leaving.agent_id}`, { is_active: false })
    expect((await office.root.get(`/approvals/${waiting}`)).body).toMatchObject({ status: 'cancelled' })
    const refused = await leaving.client.post('/enforce', { ...EMAIL, arguments: {}, approval_id: granted })
    expect(refused.status).toBe(401)
  })

  it('stops with the agent or its last key, with who and why: deactivated, deleted, revoked', async () => {
    const [admin, idle, gone, keyless] = [
      await office.person('admin'),
      await office.agent(),
      await office.agent(),
      await office.agent(),
    ]
    const endings = [
      [
        idle,
        'The agent is not active any more',
        () => admin.patch(`/agents/${idle.agent_id}`, { is_active: false }),
      ],
      [gone, 'The agent is not active any more', () => admin.delete(`/agents/${gone.agent_id}`)],
      [
        keyless,
        'The last key of the agent was revoked',
        () => admin.delete(`/agents/${keyless.agent_id}/keys/${keyless.key_id}`),
      ],
    ] as const
    for (const [agent, reason, end] of endings) {
      const approval_id = await pending(agent)
      expect((await end()).status).toBeLessThan(300)
      // In the same transaction: nobody sees the one without the other.
      expect((await office.root.get<Approval>(`/approvals/${approval_id}`)).body).toMatchObject({
        status: 'cancelled',
        decision_by: admin.admin_id,
        decision_reason: reason,
      })
      const ended = (await entriesOf(approval_id)).at(-1)
      expect(ended).toMatchObject({
        event: 'approval.cancelled',
        actor: { kind: 'admin_key', id: admin.admin_id },
        after: { reason },
      })
    }
  })

  it('takes grants back with the agent or its last key, wider ones too: nothing comes back with it', async () => {
    const [idle, gone, keyless] = [await office.agent(), await office.agent(), await office.agent()]
    const wider = { reason: 'fine', grant: { action: 'send:email', seconds: 600, uses: 3 } }
    const grantTo = async (asker: AskingAgent, name: string, body?: object) => {
      const approval_id = await pending(asker, { ...EMAIL, arguments: { name } })
      expect((await approve(approver, approval_id, body)).body).toMatchObject({ status: 'approved' })
      return approval_id
    }
    const INACTIVE = 'The agent is not active any more'
    const endings = [
      [idle, INACTIVE, () => office.root.patch(`/agents/${idle.agent_id}`, { is_active: false })],
      [gone, INACTIVE, () => office.root.delete(`/agents/${gone.agent_id}`)],
      [
        keyless,
        'The last key of the agent was revoked',
        () => office.root.delete(`/agents/${keyless.agent_id}/keys/${keyless.key_id}`),
      ],
    ] as const
    for (const [asker, reason, end] of endings) {
      const used = await grantTo(asker, 'used')
      expect((await ask(asker, { ...EMAIL, arguments: { name: 'used' }, approval_id: used })).allowed).toBe(
        true,
      )
      const [exact, wide] = [await grantTo(asker, 'exact'), await grantTo(asker, 'wide', wider)]
      expect((await end()).status).toBeLessThan(300)
      for (const approval_id of [exact, wide]) {
        expect((await office.root.get<Approval>(`/approvals/${approval_id}`)).body).toMatchObject({
          status: 'cancelled',
          decision_reason: reason,
          grant: { used: 0 },
        })
        expect((await entriesOf(approval_id)).at(-1)).toMatchObject({
          event: 'approval.revoked',
          after: { reason },
        })
      }
      expect((await office.root.get(`/approvals/${used}`)).body).toMatchObject({ status: 'approved' })
    }
    // Active again, or with a new key: people are asked again.
    const approval_id = await pending(idle).catch(() => null)
    expect(approval_id).toBeNull()
    expect((await office.root.patch(`/agents/${idle.agent_id}`, { is_active: true })).status).toBe(200)
    const { body } = await office.root.get<{ items: Approval[] }>(`/approvals?agent_id=${idle.agent_id}`)
    const wide = body.items.find(({ grant }) => grant?.scope)?.approval_id
    expect(await ask(idle, { ...EMAIL, arguments: { name: 'wide' }, approval_id: wide })).toMatchObject({
      allowed: false,
      code: 'approval_cancelled',
    })
    expect((await ask(idle, { ...EMAIL, arguments: { name: 'other' } })).status).toBe('pending')
  })

  /** Leaves the agent as a process does that ends after the commit, and looks for it as the next one does. */
  const expectEndedByWorker = async (agent_id: string, approval_id: string): Promise<void> => {
    const owner = new Postgres({ connectionString: office.app.database.owner_url })
    await owner.connect()
    await owner.query('UPDATE agents SET is_active = false WHERE agent_id = $1', [agent_id])
    await owner.end()
    await office.app.app.get(ApprovalEndingService).round()
    expect((await office.root.get(`/approvals/${approval_id}`)).body).toMatchObject({
      status: 'cancelled',
      decision_by: 'system',
    })
  }

  it('takes grants back also when nobody is left who ended the agent', async () => {
    const left = await office.agent()
    const approval_id = await pending(left)
    await approve(approver, approval_id)
    await expectEndedByWorker(left.agent_id, approval_id)
  })

  it('waits on while the agent has another key', async () => {
    const rotating = await office.agent()
    const waiting = await pending(rotating)
    const keys = `/agents/${rotating.agent_id}/keys`
    expect((await office.root.post(keys, {})).status).toBe(201)
    expect((await office.root.delete(`${keys}/${rotating.key_id}`)).status).toBe(204)
    expect((await office.root.get(`/approvals/${waiting}`)).body).toMatchObject({ status: 'pending' })
  })

  it('ends with the agent however much of it waits, also when nobody is left who ended it', async () => {
    const busy = await office.agent()
    const statuses = () =>
      office.root
        .get<{ items: Approval[] }>(`/approvals?agent_id=${busy.agent_id}&limit=500`)
        .then(({ body }) => new Set(body.items.map(({ status }) => status)))
    for (let i = 0; i < 53; i++) await pending(busy, { ...EMAIL, resource: `mail://customer/${i}` })
    expect((await office.root.patch(`/agents/${busy.agent_id}`, { is_active: false })).status).toBe(200)
    await until(async () => ((await statuses()).has('pending') ? null : true))
    expect(await statuses()).toEqual(new Set(['cancelled']))

    const left = await office.agent()
    const approval_id = await pending(left)
    await expectEndedByWorker(left.agent_id, approval_id)
  })

  it('stops with a kill switch of its scope, and what was granted is denied', async () => {
    const stopped = await office.agent()
    const other = await office.agent()
    const waiting = await pending(stopped)
    const elsewhere = await pending(other)
    const approval_id = await pending(stopped, { ...EMAIL, arguments: {} })
    await approve(approver, approval_id)
    const kill = { scope: 'agent', target: stopped.agent_id, reason: 'stop' }
    expect((await office.root.post('/kill-switch/activate', kill)).status).toBeLessThan(300)
    await isCancelled(waiting)
    expect((await office.root.get(`/approvals/${elsewhere}`)).body).toMatchObject({ status: 'pending' })
    expect(await ask(stopped, { ...EMAIL, arguments: {}, approval_id })).toMatchObject({
      allowed: false,
      code: 'kill_switch_active',
    })
    // A kill switch stops for a while: what was granted can be used again when it is ended.
    expect((await office.root.post('/kill-switch/deactivate', kill)).status).toBe(200)
    expect(await ask(stopped, { ...EMAIL, arguments: {}, approval_id })).toMatchObject({ allowed: true })
    const action = { scope: 'action', target: 'send:*', reason: 'no mail' }
    await office.root.post('/kill-switch/activate', action)
    await isCancelled(elsewhere)
    await office.root.post('/kill-switch/deactivate', action)
  })

  it('refuses every change of the request: property', async () => {
    const json = fc.jsonValue({ maxDepth: 2 }).filter((value) => !Object.is(value, -0))
    const request = { ...EMAIL, arguments: { to: 'exact', list: [1, 2], deep: { a: null } } }
    const approval_id = await pending(agent, request)
    await approve(approver, approval_id)
    const changed = fc.oneof(
      fc.record({ arguments: fc.dictionary(fc.string(), json) }),
      fc.record({
        context: fc.dictionary(
          fc.string().filter((key) => key !== 'trace'),
          json,
        ),
      }),
      fc.record({ resource: fc.constantFrom('mail://customer2', 'mail://other', 'mail://customer/x') }),
      fc.record({ action: fc.constantFrom('send:email_now', 'send:emails', 'send') }),
      fc.constantFrom({ arguments: { ...request.arguments, list: [2, 1] } }, { context: { run: '7' } }),
      fc.constantFrom({ arguments: { to: 'exact ', list: [1, 2], deep: { a: null } } }, { context: {} }),
    )
    await fc.assert(
      fc.asyncProperty(changed, async (change) => {
        const before = JSON.stringify({ ...request, ...change })
        // A body with these members is refused as such, before anybody looks at what it asks for.
        fc.pre(before !== JSON.stringify(request) && !/"(__proto__|constructor|prototype)":/.test(before))
        const { allowed, code } = await ask(agent, { ...request, ...change, approval_id })
        // What nothing allows is denied for that, approval or not.
        const refused = code === 'approval_mismatch' || code === 'default_deny'
        expect([before, allowed, refused]).toEqual([before, false, true])
      }),
      { numRuns: 60 },
    )
    // Control: what was approved still works, spelt otherwise.
    const respelt = {
      ...request,
      action: 'SendEmail',
      arguments: { deep: { a: null }, list: [1, 2], to: 'exact' },
    }
    expect(await ask(agent, { ...respelt, approval_id })).toMatchObject({ allowed: true })
  })
})

describe('who may decide', () => {
  it('needs approvals:decide', async () => {
    const approval_id = await pending(agent)
    const auditor = await office.person('auditor')
    expect((await approve(auditor, approval_id)).status).toBe(403)
    expect((await auditor.get(`/approvals/${approval_id}`)).status).toBe(200)
  })

  it('needs the role of the workflow: an approver does not decide what is critical', async () => {
    const critical = await office.agent([{ action: 'send:email', workflow: 'critical' }])
    const approval_id = await pending(critical)
    const refused = await approve(approver, approval_id)
    expect(refused.status).toBe(403)
    const admin = await office.person('admin')
    expect((await approve(admin, approval_id)).body).toMatchObject({ status: 'pending' })
  })

  it('needs different people: one person does not become two with another key', async () => {
    const risky = await office.agent([{ action: 'send:email', workflow: 'high-risk' }])
    const approval_id = await pending(risky)
    const first = await office.person('admin')
    expect((await approve(first, approval_id)).body).toMatchObject({ status: 'pending', approvals_needed: 2 })
    expect((await approve(first, approval_id)).body).toMatchObject({ status: 409 })
    const made = await first.post<{ api_key: string }>('/admin-keys', { name: 'me again', role: 'admin' })
    const again = new Client(office.app.url, { 'X-Admin-Key': made.body.api_key })
    expect((await approve(again, approval_id)).body).toMatchObject({ status: 409 })
    const second = await office.person('approver')
    expect((await approve(second, approval_id)).body).toMatchObject({ status: 'approved' })
    expect(await ask(risky, { ...EMAIL, approval_id })).toMatchObject({ allowed: true })
  })

  it('needs a reason where the workflow requires one', async () => {
    const risky = await office.agent([{ action: 'send:email', workflow: 'high-risk' }])
    const approval_id = await pending(risky)
    const silent = await approve(approver, approval_id, {})
    expect([silent.status, (silent.body as unknown as ProblemBody).errors?.[0]?.path]).toEqual([
      422,
      'reason',
    ])
  })

  it('does not let who made the agent approve, where the workflow says so; denying is always possible', async () => {
    const maker = await office.person('admin')
    const risky = await office.agent([{ action: 'send:email', workflow: 'high-risk' }], { by: maker })
    const approval_id = await pending(risky)
    const own = await approve(maker, approval_id)
    expect([own.status, (own.body as unknown as ProblemBody).detail]).toEqual([
      403,
      'Nobody approves their own request. It needs somebody else.',
    ])
    expect((await maker.post(`/approvals/${approval_id}/deny`, { reason: 'mine' })).body).toMatchObject({
      status: 'denied',
    })
    const relaxed = await office.agent(undefined, { by: maker })
    expect((await approve(maker, await pending(relaxed))).body).toMatchObject({ status: 'approved' })
  })

  it('hides the approvals of other teams as if they were not there', async () => {
    const theirs = await office.agent(undefined, { team: 'finance' })
    const approval_id = await pending(theirs)
    const ops = await office.person('approver', { team: 'ops' })
    const finance = await office.person('approver', { team: 'finance' })
    for (const [method, path] of [
      ['GET', ''],
      ['GET', '/history'],
      ['POST', '/approve'],
      ['POST', '/deny'],
      ['DELETE', ''],
    ] as const) {
      const foreign = await ops.call(
        method,
        `/approvals/${approval_id}${path}`,
        method === 'POST' ? { body: {} } : {},
      )
      const missing = await ops.call(
        method,
        `/approvals/apr_0000000000000000${path}`,
        method === 'POST' ? { body: {} } : {},
      )
      expect([foreign.status, foreign.body.code]).toEqual([404, 'approval_not_found'])
      expect(missing.status).toBe(404)
    }
    const list = await ops.get<{ items: { team: string }[] }>('/approvals')
    expect(list.body.items.filter(({ team }) => team !== 'ops')).toEqual([])
    expect((await approve(finance, approval_id)).body).toMatchObject({ status: 'approved' })
  })

  it('never lets agents decide', async () => {
    const approval_id = await pending(agent)
    expect((await approve(agent.client, approval_id)).status).toBe(403)
  })
})

describe('wider grants', () => {
  const many = (n: number) => ({ ...EMAIL, resource: `mail://customer/${n}`, arguments: { n } })

  it('are given deliberately, used as often as given, and cover nothing else', async () => {
    const approval_id = await pending(agent, many(1))
    const grant = { action: 'send:email', resource: 'mail://customer/*', seconds: 600, uses: 3 }
    const given = await approve(approver, approval_id, { reason: 'a campaign', grant })
    expect(given.body.grant).toMatchObject({
      scope: { action: 'send:email', resource: 'mail://customer/*' },
      uses: 3,
    })
    expect(await ask(agent, { ...many(2), approval_id })).toMatchObject({ allowed: true })
    expect(await ask(agent, { ...many(3), resource: 'mail://boss', approval_id })).toMatchObject({
      code: 'approval_mismatch',
    })
    expect(await ask(agent, { ...many(3), approval_id })).toMatchObject({ allowed: true })
    expect(await ask(agent, { ...many(4), approval_id })).toMatchObject({ allowed: true })
    expect(await ask(agent, { ...many(5), approval_id })).toMatchObject({ code: 'approval_used' })
  })

  it('say that they are used up or taken back to whatever else is asked with them, and nothing to another agent', async () => {
    const other = { ...EMAIL, resource: 'mail://boss' }
    const unknown = await ask(agent, { ...other, approval_id: 'apr_AAAAAAAAAAAAAAAA' })
    for (const [ending, code] of [
      ['use', 'approval_used'],
      ['revoke', 'approval_cancelled'],
    ] as const) {
      const approval_id = await pending(agent, many(ending.length * 1000))
      const grant = { action: 'send:email', resource: 'mail://customer/*', seconds: 600, uses: 1 }
      await approve(approver, approval_id, { reason: 'a campaign', grant })
      expect(await ask(agent, { ...other, approval_id })).toMatchObject({ code: 'approval_mismatch' })
      if (ending === 'use') await ask(agent, { ...many(2), approval_id })
      else await approver.post(`/approvals/${approval_id}/revoke`, {})
      for (const request of [other, many(3)])
        expect(await ask(agent, { ...request, approval_id })).toMatchObject({ allowed: false, code })
      const stranger = await ask(await office.agent(), { ...other, approval_id })
      expect(stranger).toMatchObject({ code: unknown.code })
      expect(stranger.reason.replace(approval_id, '')).toBe(
        unknown.reason.replace('apr_AAAAAAAAAAAAAAAA', ''),
      )
    }
  })

  it('are held to the workflow, must compile, and must cover what waits', async () => {
    const approval_id = await pending(agent, many(10))
    const grant = { action: 'send:email', seconds: 600, uses: 3 }
    for (const [change, path] of [
      [{ seconds: 100_000 }, 'grant.seconds'],
      [{ uses: 5000 }, 'grant.uses'],
      [{ action: 'send:[' }, 'grant.action'],
      [{ resource: 'mail://[' }, 'grant.resource'],
      [{ action: 'read:*' }, 'grant'],
      [{ resource: 'mail://boss' }, 'grant'],
    ] as const) {
      const refused = await approve(approver, approval_id, { grant: { ...grant, ...change } })
      const { errors } = refused.body as unknown as ProblemBody
      expect([refused.status, errors?.[0]?.path]).toEqual([422, path])
    }
    const critical = await office.agent([{ action: 'send:email', workflow: 'critical' }])
    const admin = await office.person('admin')
    const refused = await approve(admin, await pending(critical), { reason: 'x', grant })
    expect(refused.status).toBe(422)
  })

  it('must be the same for all approvers of one request', async () => {
    const risky = await office.agent([{ action: 'send:email', workflow: 'high-risk' }])
    const approval_id = await pending(risky)
    const grant = { action: 'send:email', seconds: 60, uses: 2 }
    await approve(await office.person('admin'), approval_id, { reason: 'both', grant })
    const second = await office.person('admin')
    expect((await approve(second, approval_id, { reason: 'one only' })).status).toBe(409)
    expect(
      (await approve(second, approval_id, { reason: 'more', grant: { ...grant, uses: 3 } })).status,
    ).toBe(409)
    expect((await approve(second, approval_id, { reason: 'both', grant })).body).toMatchObject({
      status: 'approved',
    })
  })
})

describe('waiting', () => {
  it('answers a waiting agent as soon as a person has decided on another replica', async () => {
    const replica = await startApp({ database: office.app.database })
    try {
      const approval_id = await pending(agent, { ...EMAIL, arguments: { to: 'patient' } })
      const began = performance.now()
      const waiting = agent.client.get<object>(`/enforce/approval/${approval_id}?wait=20s`)
      const there = new Client(replica.url, approver.headers)
      await approve(there, approval_id)
      expect((await waiting).body).toMatchObject({
        status: 'approved',
        uses_left: 1,
        decision_reason: 'fine',
      })
      expect(performance.now() - began).toBeLessThan(15_000)
    } finally {
      await replica.close()
    }
  })

  it('answers pending when the time is over, and refuses a time it cannot read', async () => {
    const approval_id = await pending(agent, { ...EMAIL, arguments: { to: 'impatient' } })
    const path = `/enforce/approval/${approval_id}`
    expect((await agent.client.get(`${path}?wait=1`)).body).toMatchObject({ status: 'pending' })
    expect((await agent.client.get(`${path}?wait=soon`)).status).toBe(422)
  })
})

describe('another organization', () => {
  it('finds nothing', async () => {
    const made = await office.root.post<{ org_id: string }>('/organizations', { name: 'other' })
    const there = office.root.with({ ...office.root.headers, 'X-Org-ID': made.body.org_id })
    const approval_id = await pending(agent)
    expect((await there.get(`/approvals/${approval_id}`)).status).toBe(404)
    expect((await approve(there, approval_id)).status).toBe(404)
    expect((await there.get<{ total: number }>('/approvals')).body.total).toBe(0)
  })
})
