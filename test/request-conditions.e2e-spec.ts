import fc from 'fast-check'
import type { DecisionEntry } from '../src/core/ledger/entry.js'
import type { Json } from '../src/core/ledger/canonical.js'
import { BundleVerifier } from '../src/core/ledger/verify.js'
import { compileRecorded, replayDecision, type ReplayPayload } from '../src/core/policy/replay.js'
import { startApp } from './support/app.js'
import { type Answered, approve, ask, type AskingAgent, Office, pending } from './support/approvals.js'
import { TOOLS } from './support/bundle.js'
import { Client, type ProblemBody } from './support/client.js'

/** With the fast lane, and over the same database without it. */
let office: Office
let slow: Office

beforeAll(async () => {
  office = await Office.open()
  const app = await startApp({ settings: { enforce_lane: false }, database: office.app.database })
  slow = new Office(app, new Client(app.url, { 'X-Admin-Key': app.admin_key }))
})
afterAll(async () => {
  await slow?.close()
  await office?.close()
})

const when = (request: object, action = 'transfer') => ({ action, conditions: { request } })

const POLICY = {
  allow: [
    { action: 'read' },
    when({ '/arguments/currency': ['EUR', 'USD'], '/arguments/amount': { min: 0 } }),
  ],
  deny: [
    when({ '/arguments/to/country': 'KP' }),
    when({ '/arguments/amount': { min: 1_000_000 } }),
    when({ '/context/ticket': null }),
  ],
  require_approval: [
    when({ '/arguments/amount': { min: 1_000 } }),
    when({ '/arguments/amount': { min: 100_000 } }),
  ],
}

async function agentWith(policy: object): Promise<AskingAgent> {
  const made = await office.agent([])
  expect((await office.root.put(`/agents/${made.agent_id}/policy`, policy)).status).toBe(200)
  return made
}

const transfer = (args: object, context: object = { ticket: 'T-1' }) => ({
  action: 'transfer',
  arguments: { amount: 5, currency: 'EUR', to: { country: 'DE' }, ...args },
  context,
})

const ASKED: [object, object | undefined, string][] = [
  [{}, undefined, 'allow_rule'],
  [{ currency: 'eur' }, undefined, 'default_deny'],
  [{ currency: ['EUR'] }, undefined, 'default_deny'],
  [{ amount: -1 }, undefined, 'default_deny'],
  [{ amount: '5' }, undefined, 'deny_rule'],
  [{ amount: [5, 2_000_000] }, undefined, 'deny_rule'],
  [{ Amount: 2_000_000 }, undefined, 'deny_rule'],
  [{ Amount: 6 }, undefined, 'default_deny'],
  [{ to: [{ country: 'DE' }, { Country: 'kp' }] }, undefined, 'deny_rule'],
  [{ to: '{"country":"KP"}' }, undefined, 'deny_rule'],
  [{ to: null }, undefined, 'allow_rule'],
  [{}, {}, 'deny_rule'],
  [{}, { ticket: null }, 'deny_rule'],
  [{ amount: 1_000 }, undefined, 'approval_rule'],
]

describe('conditions on the request', () => {
  it('decide alone, in a batch, with and without the fast lane', async () => {
    const agent = await agentWith(POLICY)
    const requests = ASKED.map(([args, context]) => transfer(args, context))
    const wanted = ASKED.map(([, , code]) => code)
    const alone: string[] = []
    for (const request of requests) alone.push((await ask(agent, request)).code)
    expect(alone).toEqual(wanted)
    const batch = await agent.client.post<{ results: Answered[] }>('/enforce/batch', { requests })
    expect(batch.body.results.map(({ code }) => code)).toEqual(wanted)
    const without = new Client(slow.app.url, agent.client.headers)
    for (const [at, request] of requests.entries())
      expect([at, (await without.post<Answered>('/enforce', request)).body.code]).toEqual([at, wanted[at]])
  })

  it('decide the same with and without the fast lane, whatever is sent', async () => {
    const agent = await agentWith({ ...POLICY, require_approval: [] })
    const without = new Client(slow.app.url, agent.client.headers)
    const one = fc.constantFrom<unknown>(
      5,
      2_000_000,
      '5',
      'EUR',
      'eur',
      'KP',
      null,
      true,
      [],
      {},
      ['KP'],
      [5],
    )
    const sent = fc.tuple(
      fc.dictionary(
        fc.constantFrom('amount', 'Amount', 'currency', 'to'),
        fc.oneof(one, fc.dictionary(fc.constantFrom('country', 'COUNTRY'), one)),
      ),
      fc.dictionary(fc.constantFrom('ticket', 'Ticket', 'x'), one),
    )
    const codes = new Set<string>()
    await fc.assert(
      fc.asyncProperty(sent, async ([args, context]) => {
        const request = transfer(args, context)
        const [fast, plain] = [await ask(agent, request), await ask({ ...agent, client: without }, request)]
        expect([fast.status, fast.code, fast.reason]).toEqual([plain.status, plain.code, plain.reason])
        codes.add(fast.code)
      }),
      { numRuns: 150 },
    )
    expect([...codes].sort()).toEqual(['allow_rule', 'default_deny', 'deny_rule'])
  })

  it('never see a body that two programs read differently', async () => {
    const agent = await agentWith(POLICY)
    for (const args of [
      '{"amount":5,"amount":2000000}',
      '{"amount":5,"\\u0061mount":2000000}',
      '{"__proto__":{"amount":5}}',
      '{"amount":1e400}',
    ]) {
      const text = `{"action":"transfer","arguments":${args},"context":{"ticket":"T-1"}}`
      for (const { app } of [office, slow]) {
        const answer = await new Client(app.url, agent.client.headers).call('POST', '/enforce', { text })
        expect([args, answer.status, answer.body.code]).toEqual([args, 400, 'malformed_json'])
      }
    }
  })

  it('are refused with every mistake and its path, and come back as typed', async () => {
    const { agent_id } = await office.agent([])
    const route = `/agents/${agent_id}/policy`
    const wrong = {
      allow: [when({ 'arguments.amount': 5, '/arguments/a': { min: 'x', is: 1 }, '/arguments/b': [1, 'x'] })],
      deny: [when({ '/context/trace/id': 1 })],
    }
    const refused = await office.root.put<ProblemBody>(route, wrong)
    expect([refused.status, refused.body.errors?.map(({ path }) => path)]).toEqual([
      422,
      [
        'allow[0].conditions.request.arguments.amount',
        'allow[0].conditions.request./arguments/a.is',
        'allow[0].conditions.request./arguments/a.min',
        'allow[0].conditions.request./arguments/b',
        'deny[0].conditions.request./context/trace/id',
      ],
    ])
    await office.root.put(route, POLICY)
    expect((await office.root.get(route)).body).toMatchObject(POLICY)
  })
})

interface Line {
  kind: string
  sha256: string
  document: string
  entry: string
  payload?: { text: string } | { redacted: true }
}

async function exported(): Promise<Line[]> {
  const { text } = await office.root.get('/logs/export')
  const lines = text.trimEnd().split('\n')
  const verifier = new BundleVerifier(TOOLS, { keys: [] })
  for (const line of lines) verifier.line(line)
  expect(verifier.finish().findings.filter(({ kind }) => kind !== 'signature')).toEqual([])
  return lines.map((line) => JSON.parse(line) as Line)
}

/** What every decision of an agent comes out as when it is made again from the exported log, by its code. */
async function replays(agent_id: string): Promise<[string, string][]> {
  const lines = await exported()
  const documents = new Map(
    lines.filter(({ kind }) => kind === 'policy').map((line) => [line.sha256, line.document]),
  )
  return lines.flatMap((line): [string, string][] => {
    const entry = line.kind === 'entry' ? (JSON.parse(line.entry) as DecisionEntry) : null
    if (entry?.type !== 'decision' || entry.subject.agent_id !== agent_id) return []
    const payload: ReplayPayload = !line.payload
      ? 'none'
      : 'redacted' in line.payload
        ? 'redacted'
        : (JSON.parse(line.payload.text) as Record<string, Json>)
    const again = replayDecision(entry, payload, (sha256) => compileRecorded(documents.get(sha256) ?? ''))
    return [[entry.decision.code, again.outcome === 'not_replayable' ? again.why : again.outcome]]
  })
}

describe('what people approved', () => {
  it('lifts the rule that asked, and no other one of the same action with other conditions', async () => {
    const approver = await office.person()
    const agent = await agentWith(POLICY)
    const approval_id = await pending(agent, transfer({ amount: 2_000 }))
    const grant = { action: 'transfer', seconds: 600, uses: 5 }
    expect((await approve(approver, approval_id, { reason: 'a day of small ones', grant })).status).toBe(200)
    const again = async (args: object) => (await ask(agent, { ...transfer(args), approval_id })).code
    expect(await again({ amount: 3_000 })).toBe('approval_granted')
    expect(await again({ amount: 200_000 })).toBe('approval_outdated')
    expect(await again({ amount: 2_000_000 })).toBe('deny_rule')
    expect(await again({ amount: 2_000, to: { country: 'KP' } })).toBe('deny_rule')
    expect((await replays(agent.agent_id)).filter(([, outcome]) => outcome !== 'same')).toEqual([])
  })
})

describe('the log', () => {
  it('is enough to decide again, until what was sent is erased', async () => {
    const agent = await agentWith(POLICY)
    const decided: Answered[] = []
    for (const [args, context] of ASKED) decided.push(await ask(agent, transfer(args, context)))
    await ask(agent, { action: 'read' })
    const before = await replays(agent.agent_id)
    expect(before).toEqual([...ASKED.map(([, , code]) => [code, 'same']), ['allow_rule', 'same']])
    const erased = await office.root.post(`/logs/${decided[0]?.decision_id}/erase`, { reason: 'asked for' })
    expect(erased.status).toBe(200)
    const after = await replays(agent.agent_id)
    expect(after[0]).toEqual(['allow_rule', 'redacted'])
    expect(after.slice(1)).toEqual(before.slice(1))
  })
})
