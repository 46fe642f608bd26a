import { randomUUID } from 'node:crypto'
import { BundleVerifier, type Verdict } from '../src/core/ledger/verify.js'
import type { RecordedDecisions } from '../src/local-decisions/local-decisions.dto.js'
import { TOOLS } from '../sdk/src/crypto.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'
import { allowed, type Held, held } from './support/local.js'

interface Bot {
  agent_id: string
  key_id: string
  client: Client
}

let app: RunningApp
let root: Client
let admin: Client

beforeAll(async () => {
  app = await startApp()
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
})
afterAll(async () => {
  await app?.close()
})
beforeEach(async () => {
  const { body } = await root.post<{ org_id: string }>('/organizations', { name: 'local' })
  admin = root.with({ ...root.headers, 'X-Org-ID': body.org_id })
})

async function bot(document: object = { allow: [{ action: 'read:*' }] }): Promise<Bot> {
  const made = { name: 'bot', owner_team: 'ops', environment: 'prod' }
  const { body } = await admin.post<{ agent_id: string; key_id: string; api_key: string }>('/agents', made)
  await admin.put(`/agents/${body.agent_id}/policy`, document)
  return { ...body, client: new Client(app.url, { 'X-Agent-Key': body.api_key }) }
}

const send = <T = RecordedDecisions>(
  { client, agent_id }: Bot,
  { manifest, lease }: Held,
  spool: string,
  decisions: object[],
) => client.post<T>(`/agents/${agent_id}/decisions`, { spool, manifest, lease, decisions })

interface Shown {
  event: string
  entry: { local?: object; decision: { findings: unknown[] }; config: { agent: number }; actor: object }
}

/** The whole log as an outsider checks it, and its entries. */
async function exported(): Promise<{ verdict: Verdict; entries: Shown[] }> {
  const { text } = await admin.get('/logs/export?format=ndjson')
  const verifier = new BundleVerifier(TOOLS, {})
  const entries: Shown[] = []
  for (const line of text.split('\n').filter(Boolean)) {
    verifier.line(line)
    const { kind, entry } = JSON.parse(line) as { kind: string; entry: string }
    if (kind === 'entry') {
      const read = JSON.parse(entry) as Shown['entry'] & { event: string }
      entries.push({ event: read.event, entry: read })
    }
  }
  return { verdict: verifier.finish(), entries }
}

const locals = async () => {
  const { verdict, entries } = await exported()
  expect(verdict.findings.filter(({ kind }) => kind !== 'signature')).toEqual([])
  return entries.filter(({ event }) => event === 'decision.local').map(({ entry }) => entry)
}

describe('POST /agents/{id}/decisions', () => {
  it('enters each decision once, in order, made again by the service', async () => {
    const one = await bot()
    const basis = await held(one.client, one.agent_id)
    const spool = randomUUID()
    const first = await send(one, basis, spool, [
      { ...allowed(0, basis), context: { secret: 'erasable' } },
      { ...allowed(1, basis, 'read:other'), resource: 's3://a/b' },
    ])
    expect([first.status, first.body.next_seq]).toEqual([200, 2])
    expect(first.body.recorded.map(({ seq, agrees }) => [seq, agrees])).toEqual([
      [0, true],
      [1, true],
    ])
    const again = await send(one, basis, spool, [allowed(0, basis), allowed(1, basis), allowed(2, basis)])
    expect([again.body.next_seq, again.body.recorded.map(({ seq }) => seq)]).toEqual([3, [2]])
    expect((await send(one, basis, spool, [allowed(2, basis)])).body).toEqual({ next_seq: 3, recorded: [] })

    const entries = await locals()
    expect(entries).toHaveLength(3)
    expect(entries[0]).toMatchObject({
      actor: { kind: 'agent', id: one.agent_id, key_id: one.key_id },
      subject: { agent_id: one.agent_id, environment: 'prod', team: 'ops' },
      decision: { effect: 'allow', code: 'allow_rule', findings: [{ stage: 'rules', rule: 'allow/0' }] },
      local: {
        spool,
        seq: 0,
        decided_at: new Date(basis.times.issued_at + 1).toISOString(),
        lease_until: new Date(basis.times.lease_until).toISOString(),
        config: basis.about.config,
        agrees: true,
      },
    })
    const row = await admin.get<{ event: string; allowed: boolean; context: object }[]>(
      `/logs?agent_id=${one.agent_id}&limit=3`,
    )
    expect(row.body.at(-1)).toMatchObject({
      event: 'decision.local',
      allowed: true,
      context: { secret: 'erasable' },
    })
  })

  it('enters a batch that is sent many times at once exactly once', async () => {
    const one = await bot()
    const basis = await held(one.client, one.agent_id)
    const spool = randomUUID()
    const batch = Array.from({ length: 20 }, (_, seq) => allowed(seq, basis))
    const answers = await Promise.all(Array.from({ length: 8 }, () => send(one, basis, spool, batch)))
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => 200))
    expect(answers.flatMap(({ body }) => body.recorded)).toHaveLength(20)
    expect((await locals()).map(({ local }) => (local as { seq: number }).seq)).toEqual(
      batch.map(({ seq }) => seq),
    )
  })

  it('says in the log when the service does not decide the same', async () => {
    const one = await bot({
      allow: [{ action: 'read:*' }],
      require_online: ['read:online'],
      require_approval: [{ action: 'read:asked' }],
    })
    const basis = await held(one.client, one.agent_id)
    const { body } = await send(one, basis, randomUUID(), [
      allowed(0, basis),
      allowed(1, basis, 'write:file'),
      allowed(2, basis, 'read:online'),
      allowed(3, basis, 'read:asked'),
      { ...allowed(4, basis), reason: 'because' },
      { ...allowed(5, basis), effect: 'deny', code: 'default_deny' },
    ])
    expect(body.recorded.map(({ agrees }) => agrees)).toEqual([true, false, false, false, false, false])
    expect((await locals())[1]).toMatchObject({
      decision: { effect: 'allow', code: 'allow_rule', findings: [] },
      local: { agrees: false },
    })
  })

  it('refuses what leaves decisions out, and what was not decided from a bundle of this agent', async () => {
    const [one, two] = [await bot(), await bot()]
    const [basis, other] = [await held(one.client, one.agent_id), await held(two.client, two.agent_id)]
    const spool = randomUUID()
    const refused = async (with_basis: Held, decisions: object[], bot = one) => {
      const { status, body } = await send<{ code: string; errors?: { path: string }[] }>(
        bot,
        with_basis,
        spool,
        decisions,
      )
      return [status, body.errors?.[0]?.path ?? body.code]
    }
    expect(await refused(basis, [allowed(1, basis)])).toEqual([409, 'conflict'])
    expect(await refused(other, [allowed(0, other)])).toEqual([422, 'manifest'])
    expect(await refused({ ...basis, lease: other.lease }, [allowed(0, basis)])).toEqual([422, 'lease'])
    expect(await refused({ ...basis, lease: basis.manifest }, [allowed(0, basis)])).toEqual([422, 'lease'])
    expect(await refused({ ...basis, manifest: basis.lease }, [allowed(0, basis)])).toEqual([422, 'manifest'])
    const [head = '', body = '', signature = ''] = basis.lease.split('.')
    const longer = Buffer.from(
      JSON.stringify({ ...basis.times, lease_until: basis.times.lease_until + 1e9 }),
    ).toString('base64url')
    expect(body).not.toBe(longer)
    const forged = { ...basis, lease: `${head}.${longer}.${signature}` }
    expect(await refused(forged, [allowed(0, basis)])).toEqual([422, 'lease'])
    for (const decided_at of [basis.times.issued_at - 1, basis.times.lease_until + 1])
      expect(await refused(basis, [{ ...allowed(0, basis), decided_at }])).toEqual([
        422,
        'decisions[0].decided_at',
      ])
    expect(await refused(basis, [allowed(0, basis), allowed(2, basis)])).toEqual([422, 'decisions[1].seq'])
    expect(await refused(basis, [{ ...allowed(0, basis), effect: 'pending' }])).toEqual([
      422,
      'decisions[0].effect',
    ])
    expect(
      (
        await one.client.post(`/agents/${two.agent_id}/decisions`, {
          spool,
          manifest: other.manifest,
          lease: other.lease,
          decisions: [allowed(0, other)],
        })
      ).status,
    ).toBe(404)
    expect(await locals()).toEqual([])
  })

  it('records late what was decided in time: before the policy changed, under a key that is revoked now', async () => {
    const one = await bot()
    const basis = await held(one.client, one.agent_id)
    await admin.put(`/agents/${one.agent_id}/policy`, { deny: [{ action: '*' }] })
    const next = await admin.post<{ api_key: string }>(`/agents/${one.agent_id}/keys`, {})
    await admin.delete(`/agents/${one.agent_id}/keys/${one.key_id}`)
    await admin.post('/kill-switch/activate', { scope: 'agent', target: one.agent_id, reason: 'test' })
    const spool = randomUUID()
    expect((await send(one, basis, spool, [allowed(0, basis)])).status).toBe(401)
    const later = { ...one, client: new Client(app.url, { 'X-Agent-Key': next.body.api_key }) }
    const { body } = await send(later, basis, spool, [allowed(0, basis)])
    expect(body.recorded).toEqual([expect.objectContaining({ seq: 0, agrees: true })])
    const [entry] = await locals()
    expect(entry?.actor).toMatchObject({ key_id: one.key_id })
    expect(entry?.config.agent).toBeGreaterThan(basis.about.config.agent)
  })
})
