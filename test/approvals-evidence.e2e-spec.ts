import { createHash, hash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Client as Postgres } from 'pg'
import { encodeBase64 } from '../src/core/ledger/base64.js'
import { canonicalize, type Json } from '../src/core/ledger/canonical.js'
import type { DecisionEntry } from '../src/core/ledger/entry.js'
import { leafHash } from '../src/core/ledger/merkle.js'
import { BundleVerifier, type Verdict } from '../src/core/ledger/verify.js'
import { compileRecorded, type Replay, replayDecision } from '../src/core/policy/replay.js'
import { SnapshotsWorker } from '../src/snapshots/snapshots.worker.js'
import { approve, ask, type AskingAgent, EMAIL, Office, pending } from './support/approvals.js'
import { startApp } from './support/app.js'
import { TOOLS } from './support/bundle.js'
import { Client } from './support/client.js'
import { createTestDatabase } from './support/postgres.js'
import { until } from './support/proofs.js'

let office: Office
let owner: Postgres
let signer_dir: string
let agent: AskingAgent
let approver: Client

beforeAll(async () => {
  signer_dir = mkdtempSync(path.join(tmpdir(), 'agentguard-approvals-'))
  office = await Office.open({ settings: { ledger_signer_dir: signer_dir } })
  owner = new Postgres({ connectionString: office.app.database.owner_url })
  await owner.connect()
  agent = await office.agent()
  approver = await office.person()
})

afterAll(async () => {
  await owner?.end()
  await office?.close()
  rmSync(signer_dir, { recursive: true, force: true })
})

/** Moves the database's clock, by which approvals expire, and lets the service follow. */
async function moveClock(seconds: number): Promise<void> {
  await owner.query(`CREATE OR REPLACE FUNCTION ledger.now_ms() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = '' AS
    $$ SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint + ${seconds * 1000}::bigint $$`)
  await office.app.app.get(SnapshotsWorker).poll()
}

const statusOf = async (approval_id: string) =>
  (await office.root.get<{ status: string; level: number; decision_by: string }>(`/approvals/${approval_id}`))
    .body

describe('a restart', () => {
  it('loses no approval: what waited still waits, what was granted still works', async () => {
    const database = await createTestDatabase()
    try {
      const before = await startApp({ database })
      const root = new Client(before.url, { 'X-Admin-Key': before.admin_key })
      const first = new Office(before, root)
      const asker = await first.agent()
      const waiting = await pending(asker)
      const granted = await pending(asker, { ...EMAIL, arguments: { to: 'kept' } })
      await approve(root, granted)
      await before.close()

      const after = await startApp({ database })
      const again = { ...asker, client: new Client(after.url, asker.client.headers) }
      const there = new Client(after.url, root.headers)
      expect((await there.get<{ pending_count: number }>('/approvals')).body.pending_count).toBe(1)
      expect((await there.get<object>(`/approvals/${waiting}`)).body).toMatchObject({
        status: 'pending',
        arguments: EMAIL.arguments,
      })
      expect(await pending(again)).toBe(waiting)
      expect(await ask(again, { ...EMAIL, arguments: { to: 'kept' }, approval_id: granted })).toMatchObject({
        allowed: true,
      })
      await after.close()
    } finally {
      await database.drop()
    }
  })
})

describe('time', () => {
  afterEach(() => moveClock(0))

  it('escalates to those who may decide then, and ends what nobody decides', async () => {
    const approval_id = await pending(agent, { ...EMAIL, arguments: { to: 'late' } })
    await moveClock(3601)
    await until(async () => ((await statusOf(approval_id)).level === 2 ? true : null))
    expect((await approve(approver, approval_id)).status).toBe(403)
    await moveClock(7201)
    const ended = await until(async () => {
      const state = await statusOf(approval_id)
      return state.status === 'pending' ? null : state
    })
    expect(ended).toMatchObject({ status: 'expired', decision_by: 'system' })
    expect(await ask(agent, { ...EMAIL, arguments: { to: 'late' }, approval_id })).toMatchObject({
      code: 'approval_expired',
    })
    expect((await approve(office.root, approval_id)).body).toMatchObject({ status: 409 })
  })

  it('ends a grant that is not used in time', async () => {
    const approval_id = await pending(agent, { ...EMAIL, arguments: { to: 'slow' } })
    await approve(approver, approval_id)
    await moveClock(3601)
    expect(await ask(agent, { ...EMAIL, arguments: { to: 'slow' }, approval_id })).toMatchObject({
      allowed: false,
      code: 'approval_expired',
    })
  })

  it('approves only where the organization opted in, and nothing critical ever', async () => {
    const patient = { levels: [{ roles: ['admin'], time_limit_seconds: 60 }], on_timeout: 'approve' }
    expect((await office.root.put('/workflows/patient', patient)).status).toBe(422)
    await office.root.put('/approvals/settings', { approve_on_timeout: true })
    expect((await office.root.put('/workflows/patient', patient)).status).toBe(200)
    expect((await office.root.put('/workflows/critical', patient)).status).toBe(422)
    const asker = await office.agent([{ action: 'send:email', workflow: 'patient' }])
    const approval_id = await pending(asker)
    await moveClock(61)
    await until(async () => ((await statusOf(approval_id)).status === 'approved' ? true : null))
    const other = await pending(asker, { ...EMAIL, arguments: {} })
    await office.root.put('/approvals/settings', { approve_on_timeout: false })
    await moveClock(200)
    await until(async () => ((await statusOf(other)).status === 'expired' ? true : null))
  })
})

describe('workflows', () => {
  it('are shipped, can be rewritten, and say every mistake at once', async () => {
    const listed = await office.root.get<{ name: string; version: number }[]>('/workflows')
    expect(listed.body.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['critical', 'high-risk', 'standard']),
    )
    const bad = await office.root.put('/workflows/mine', {
      levels: [{ roles: ['nobody'], time_limit_seconds: 0 }],
      approvals: 0,
      on_timeout: 'escalate',
      strange: 1,
    })
    expect(bad.body.errors?.map(({ path: at }) => at)).toEqual([
      'strange',
      'levels[0].roles[0]',
      'levels[0].time_limit_seconds',
      'approvals',
      'on_timeout',
    ])
    expect((await office.root.put('/workflows/No Name', {})).status).toBe(422)
    expect((await office.root.get('/workflows/none')).body.code).toBe('workflow_not_found')
  })

  it('that a rule names must be there, or the policy is not stored', async () => {
    const path_ = `/agents/${agent.agent_id}/policy`
    const rule = { action: 'drop:table', workflow: 'no-such-workflow' }
    const refused = await office.root.put(path_, { require_approval: [rule] })
    expect([refused.status, refused.body.errors?.[0]?.path]).toEqual([422, 'require_approval[0].workflow'])
    const elsewhere = await office.root.put(path_, { allow: [{ action: 'read', workflow: 'standard' }] })
    expect(elsewhere.body.errors?.[0]?.path).toBe('allow[0].workflow')
  })

  it('ask for a second denial where the first does not end it', async () => {
    await office.root.put('/workflows/jury', {
      levels: [{ roles: ['approver'], time_limit_seconds: 600 }],
      approvals: 2,
      first_denial_ends: false,
    })
    const asker = await office.agent([{ action: 'send:email', workflow: 'jury' }])
    const approval_id = await pending(asker)
    const [one, two] = [await office.person(), await office.person()]
    expect((await one.post(`/approvals/${approval_id}/deny`, {})).body).toMatchObject({ status: 'pending' })
    expect((await two.post(`/approvals/${approval_id}/deny`, {})).body).toMatchObject({ status: 'denied' })
  })
})

interface Line {
  kind: string
  index: number
  entry: string
  leaf: string
  sha256: string
  document: string
  payload?: { salt: string; text: string }
}
type Entry = Omit<DecisionEntry, 'approval' | 'facts'> & {
  approval: Record<string, unknown>
  facts: { approval: Record<string, unknown> }
}

const verdictOf = (lines: readonly string[]): Verdict => {
  const verifier = new BundleVerifier(TOOLS, {})
  for (const line of lines) verifier.line(line)
  return verifier.finish()
}

const approvalFindings = (lines: readonly string[]) =>
  verdictOf(lines).findings.filter(({ kind }) => kind === 'approval')

/** The same log with one entry rewritten, as somebody would who can compute every hash. */
function forged(
  lines: readonly string[],
  which: (entry: Entry) => boolean,
  change: (entry: Entry, payload: Record<string, Json>) => void,
): string[] {
  let done = 0
  const changed = lines.map((text) => {
    const line = JSON.parse(text) as Line
    if (line.kind !== 'entry') return text
    const entry = JSON.parse(line.entry) as Entry
    if (done > 0 || !which(entry)) return text
    done++
    const payload = line.payload ? (JSON.parse(line.payload.text) as Record<string, Json>) : {}
    change(entry, payload)
    let open = line.payload
    if (open && entry.payload) {
      const written = canonicalize(payload)
      open = { salt: open.salt, text: written }
      const c = createHash('sha256')
        .update('agentguard/payload/v1\0')
        .update(Buffer.from(open.salt, 'base64'))
        .update(written)
        .digest('base64url')
      Object.assign(entry, { payload: { ...entry.payload, c } })
    }
    const written = canonicalize(entry as unknown as Json)
    const leaf = encodeBase64(leafHash((bytes) => hash('sha256', bytes, 'buffer'), Buffer.from(written)))
    return JSON.stringify({ ...line, leaf, entry: written, ...(open && { payload: open }) })
  })
  expect(done).toBe(1)
  return changed
}

describe('the exported log', () => {
  let lines: string[]
  let approval_id: string
  beforeAll(async () => {
    const asker = await office.agent()
    approval_id = await pending(asker, { ...EMAIL, arguments: { to: 'proved' } })
    await approve(approver, approval_id)
    await ask(asker, { ...EMAIL, arguments: { to: 'other' }, approval_id })
    await ask(asker, { ...EMAIL, arguments: { to: 'proved' }, approval_id })
    await ask(asker, { ...EMAIL, arguments: { to: 'proved' }, approval_id })
    const wide = await pending(asker, { ...EMAIL, arguments: { to: 'wide' } })
    const grant = { action: 'send:*', seconds: 60, uses: 5 }
    await approve(approver, wide, { grant })
    await ask(asker, { action: 'send:email', approval_id: wide })
    await until(async () => {
      const { text } = await office.root.get('/logs/export')
      lines = text.trimEnd().split('\n')
      return verdictOf(lines).findings.length === 0 && verdictOf(lines).unsigned === 0 ? true : null
    })
  })

  it('is accepted by the verifier, and every decision comes out the same again', () => {
    expect(verdictOf(lines)).toMatchObject({ valid: true, findings: [] })
    const documents = new Map<string, string>()
    const replays: [string, Replay['outcome']][] = []
    for (const text of lines) {
      const line = JSON.parse(text) as Line
      if (line.kind === 'policy') documents.set(line.sha256, line.document)
      if (line.kind !== 'entry') continue
      const entry = JSON.parse(line.entry) as DecisionEntry
      if (entry.type !== 'decision') continue
      const payload = line.payload ? (JSON.parse(line.payload.text) as Record<string, Json>) : 'none'
      const policyOf = (sha256: string) => compileRecorded(documents.get(sha256) ?? '')
      replays.push([entry.decision.code, replayDecision(entry, payload, policyOf).outcome])
    }
    expect(replays.filter(([, outcome]) => outcome !== 'same')).toEqual([])
    expect(new Set(replays.map(([code]) => code))).toEqual(
      new Set([
        'approval_rule',
        'approval_granted',
        'approval_mismatch',
        'approval_used',
        'approval_expired',
      ]),
    )
  })

  const isUse = (entry: Entry) =>
    entry.type === 'decision' && entry.approval?.op === 'used' && entry.approval.id === approval_id
  const isGiven = (entry: Entry) =>
    (entry as { type: string }).type === 'approval' &&
    entry.approval.op === 'approved' &&
    entry.approval.id === approval_id
  const isRefusedBefore = (entry: Entry) =>
    (entry as { type: string }).type === 'approval' &&
    entry.approval.op === 'refused' &&
    entry.approval.id === approval_id

  it.each<[string, (entry: Entry) => boolean, (entry: Entry, payload: Record<string, Json>) => void]>([
    ['an approval that was never given', isGiven, (entry) => (entry.approval.op = 'voted')],
    ['an approval of another request', isGiven, (entry) => (entry.approval.digest = 'AAAA')],
    ['a use that was not given', isGiven, (entry) => (entry.approval.uses = 0)],
    ['a use after its end', isGiven, (entry) => (entry.approval.expires_at = '2020-01-01T00:00:00.000Z')],
    ['a use after it was taken back', isRefusedBefore, (entry) => (entry.approval.op = 'revoked')],
    ['a second use', isUse, (entry) => (entry.approval.use = 2)],
    ['another request under the same approval', isUse, (_, payload) => (payload.arguments = { to: 'else' })],
    ['a use that names no approval', isUse, (entry) => Reflect.deleteProperty(entry, 'approval')],
    ['facts that lift more', isUse, (entry) => (entry.facts.approval.lifts = [])],
    [
      'facts that say it was a wider grant',
      isUse,
      (entry) => (entry.facts.approval.scope = { action: '*', resource: null }),
    ],
    ['the use of another agent', isUse, (entry) => Object.assign(entry.subject, { agent_id: 'agt_other' })],
  ])('is found when it tells of %s', (_, which, change) => {
    expect(approvalFindings(lines)).toEqual([])
    expect(approvalFindings(forged(lines, which, change)).length).toBeGreaterThan(0)
  })

  it('differs in the replay when an allow was written over a refusal', () => {
    const refused = lines.find((text) => text.includes('\\"approval_used\\"')) ?? ''
    const entry = JSON.parse((JSON.parse(refused) as Line).entry) as DecisionEntry
    const lying = { ...entry, decision: { ...entry.decision, effect: 'allow' as const } }
    const documents = lines.map((text) => JSON.parse(text) as Line).filter(({ kind }) => kind === 'policy')
    const policyOf = (sha256: string) =>
      compileRecorded(documents.find((one) => one.sha256 === sha256)?.document ?? '')
    expect(replayDecision(lying, {}, policyOf)).toMatchObject({
      outcome: 'differs',
      fields: ['decision.effect'],
    })
  })
})

describe('erasure', () => {
  it('leaves nothing that a guessed request could be compared with, and no grant that works', async () => {
    const asker = await office.agent()
    const request = { ...EMAIL, arguments: { to: 'forget-me' } }
    const { approval_id = '', decision_id } = await ask(asker, request)
    await approve(approver, approval_id, { reason: 'for forget-me' })
    const erased = await office.root.post(`/logs/${decision_id}/erase`, { reason: 'asked to' })
    expect(erased.status).toBeLessThan(300)
    expect((await office.root.get<object>(`/approvals/${approval_id}`)).body).toMatchObject({
      redacted: true,
      arguments: null,
    })
    const { rows } = await owner.query<{ row: string }>(
      'SELECT to_jsonb(a)::text AS row FROM approvals a WHERE approval_id = $1',
      [approval_id],
    )
    expect(JSON.parse(rows[0]?.row ?? '{}')).toMatchObject({ salt: null, waiting_for: null })
    expect(rows[0]?.row).not.toContain('forget-me')
    expect(await ask(asker, { ...request, approval_id })).toMatchObject({ code: 'approval_mismatch' })
  })
})
