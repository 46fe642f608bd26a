import { randomBytes } from 'node:crypto'
import type { EntryLine } from '../src/core/ledger/bundle.js'
import { parseVerifierKey, type VerifierKey } from '../src/core/ledger/note.js'
import { BundleVerifier, type Verdict } from '../src/core/ledger/verify.js'
import { DataKeysService } from '../src/data-keys/data-keys.service.js'
import { ErasureService } from '../src/erasure/erasure.service.js'
import { Database } from '../src/platform/database/database.service.js'
import { TOOLS } from './support/bundle.js'
import { decided, makeAgent, type ProvenApp, startProvenApp, until } from './support/proofs.js'

interface Row {
  log_id: string
  index: number
  arguments: object | null
  context: object | null
  redacted: boolean
  change: { from: number; upto: number; count: number; reason: string; agent_id?: string }
  actor: { kind: string }
}

const REASON = { reason: 'request 4711 of a data subject' }

let proven: ProvenApp
let key: VerifierKey

async function verdict(options: { older?: string[] } = {}): Promise<Verdict> {
  const { text } = await proven.root.get('/logs/export')
  const verifier = new BundleVerifier(TOOLS, { keys: [key], ...options })
  for (const line of text.split('\n').slice(0, -1)) verifier.line(line)
  return verifier.finish()
}

const entry = async (log_id: string): Promise<Row> =>
  (await proven.root.get<Row[]>(`/logs?decision_id=${log_id}`)).body[0] as Row

const redactions = async (): Promise<Row[]> => (await proven.root.get<Row[]>('/logs?type=redaction')).body

function decide(secret: string, agent = proven.agent): Promise<string> {
  const body = { action: 'read', resource: 'file', arguments: { secret }, context: { secret } }
  return decided(agent, body)
}

beforeAll(async () => {
  proven = await startProvenApp()
  await proven.signed()
  const keys = await proven.root.get<{ vkey: string }[]>('/.well-known/agentguard-keys.json')
  const read = parseVerifierKey(TOOLS.sha256, keys.body[0]?.vkey ?? '')
  if (!read.ok) throw new Error(read.errors.detail)
  key = read.value
})

afterAll(() => proven?.close())

describe('POST /logs/{log_id}/erase', () => {
  it('removes the payload for good, records who and why, and leaves every proof valid', async () => {
    const log_id = await decide('canary-one')
    const older = (await proven.signed()).note
    expect((await entry(log_id)).arguments).toEqual({ secret: 'canary-one' })
    const proof = (await proven.root.get(`/logs/${log_id}/proof`)).text

    const answer = await proven.root.post(`/logs/${log_id}/erase`, REASON)
    expect([answer.status, answer.body]).toEqual([200, { erased: 1, recorded: 1 }])
    expect(await entry(log_id)).toMatchObject({ arguments: null, context: null, redacted: true })
    const { index } = await entry(log_id)
    const [recorded] = await redactions()
    expect(recorded).toMatchObject({
      actor: { kind: 'root' },
      change: { from: index, upto: index, count: 1, reason: REASON.reason },
    })

    const { rows } = await proven.owner.query('SELECT FROM ledger.ledger_payload WHERE index = $1', [index])
    expect(rows).toHaveLength(0)
    await proven.signed()
    expect(await verdict({ older: [older] })).toMatchObject({ valid: true, findings: [], redacted: 1 })
    expect((await proven.root.get<{ valid: boolean }>('/logs/verify')).body.valid).toBe(true)
    expect((await proven.root.get(`/logs/${log_id}/proof`)).text.split('\n')[2]).toBe(proof.split('\n')[2])
  })

  it('erases nothing and records nothing the second time', async () => {
    const log_id = await decide('canary-twice')
    await proven.root.post(`/logs/${log_id}/erase`, REASON)
    const before = await redactions()
    const again = await proven.root.post(`/logs/${log_id}/erase`, REASON)
    expect([again.status, again.body]).toEqual([200, { erased: 0, recorded: 0 }])
    expect(await redactions()).toHaveLength(before.length)
  })

  it('records one of two that erase the same at once', async () => {
    const log_id = await decide('canary-race')
    const before = (await redactions()).length
    const answers = await Promise.all(
      [1, 2, 3, 4].map(() => proven.root.post<{ erased: number }>(`/logs/${log_id}/erase`, REASON)),
    )
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200])
    expect(answers.reduce((sum, { body }) => sum + body.erased, 0)).toBe(1)
    expect(await redactions()).toHaveLength(before + 1)
  })

  it.each(['01980000-0000-7000-8000-000000000000', 'nonsense'])('answers 404 for %s', async (log_id) => {
    const answer = await proven.root.post<{ code: string }>(`/logs/${log_id}/erase`, REASON)
    expect([answer.status, answer.body.code]).toEqual([404, 'log_not_found'])
  })

  it('needs a reason, and payloads:erase', async () => {
    const log_id = await decide('canary-kept')
    expect((await proven.root.post(`/logs/${log_id}/erase`, {})).status).toBe(422)
    const made = await proven.root.post<{ api_key: string }>('/admin-keys', { name: 'op', role: 'operator' })
    const operator = proven.root.with({ 'X-Admin-Key': made.body.api_key })
    expect((await operator.post(`/logs/${log_id}/erase`, REASON)).status).toBe(403)
    expect((await proven.agent.post(`/logs/${log_id}/erase`, REASON)).status).toBe(403)
    expect((await entry(log_id)).redacted).toBe(false)
  })
})

describe('POST /agents/{agent_id}/erase', () => {
  it("erases an agent's payloads up to a time, and nobody else's", async () => {
    const { agent, agent_id } = await makeAgent(proven.root, 'forgotten')
    const early = [await decide('canary-a', agent), await decide('canary-b', agent)]
    const other = await decide('canary-other')
    const end_time = (await proven.root.get<{ timestamp: string }[]>('/logs?limit=1')).body[0]?.timestamp
    const late = await decide('canary-late', agent)

    const first = await proven.root.post(`/agents/${agent_id}/erase`, { ...REASON, end_time })
    expect(first.body).toMatchObject({ recorded: 1 })
    for (const log_id of early) expect(await entry(log_id)).toMatchObject({ redacted: true })
    expect(await entry(other)).toMatchObject({ redacted: false })
    expect(await entry(late)).toMatchObject({ redacted: false })

    const second = await proven.root.post(`/agents/${agent_id}/erase`, REASON)
    expect(second.body).toMatchObject({ recorded: 1 })
    expect(await entry(late)).toMatchObject({ redacted: true })
    await proven.signed()
    expect(await verdict()).toMatchObject({ valid: true, findings: [] })
  })

  it('clears answers that were kept for repeated requests', async () => {
    const { agent_id } = await makeAgent(proven.root, 'kept')
    const again = { method: 'PATCH', body: { name: 'canary-kept-name' } } as const
    const keyed = proven.root.with({ ...proven.root.headers, 'Idempotency-Key': 'erase-me' })
    await keyed.call(again.method, `/agents/${agent_id}`, { body: again.body })
    await proven.root.post(`/agents/${agent_id}/erase`, REASON)
    const { rows } = await proven.owner.query(
      "SELECT FROM idempotency_keys WHERE body::text LIKE '%canary-kept-name%'",
    )
    expect(rows).toHaveLength(0)
  })

  it('tells those who keep copies, in the same transaction', async () => {
    const { agent, agent_id } = await makeAgent(proven.root, 'copied')
    await decide('canary-copied', agent)
    const told: unknown[] = []
    proven.app.app.get(ErasureService).onErase(async (_, scope) => {
      if (scope.agent_id === agent_id) told.push(scope)
      await Promise.resolve()
    })
    await proven.root.post(`/agents/${agent_id}/erase`, REASON)
    expect(told).toEqual([expect.objectContaining({ org_id: 'org_default', agent_id })])
  })
})

describe('what cannot be erased silently', () => {
  it('lets nobody erase without the entry that records it', async () => {
    const { index } = await entry(await decide('canary-evidence'))
    const database = proven.app.app.get(Database)
    const erase = database.withOrg(
      { org_id: 'org_default' },
      (tx) => tx.$queryRaw`
        SELECT ledger.ledger_erase('org_default', gen_random_uuid(), ${index}::bigint, ${index}::bigint, NULL)`,
    )
    await expect(erase).rejects.toThrow()
    const foreign = database.withOrg(
      { org_id: 'org_other' },
      (tx) => tx.$queryRaw`
        SELECT ledger.ledger_erase('org_default', gen_random_uuid(), ${index}::bigint, ${index}::bigint, NULL)`,
    )
    await expect(foreign).rejects.toThrow()
    const { rows } = await proven.owner.query('SELECT FROM ledger.ledger_payload WHERE index = $1', [index])
    expect(rows).toHaveLength(1)
  })
})

describe('rotation', () => {
  it('seals with the new data key at once, and still opens what the one before sealed', async () => {
    const before = await decide('canary-before')
    const rotated = await proven.root.post<{ dek_id: string; month: string }>('/ledger/data-keys/rotate', {})
    expect(rotated.status).toBe(201)
    const after = await decide('canary-after')
    const { rows } = await proven.owner.query<{ dek_id: string }>(
      `SELECT p.dek_id FROM ledger.ledger_entry e JOIN ledger.ledger_payload p USING (org_id, index)
       WHERE e.id = ANY ($1) ORDER BY e.index`,
      [[before, after]],
    )
    expect(rows[1]?.dek_id).toBe(rotated.body.dek_id)
    expect(rows[0]?.dek_id).not.toBe(rotated.body.dek_id)
    expect((await entry(before)).arguments).toEqual({ secret: 'canary-before' })
    expect((await entry(after)).arguments).toEqual({ secret: 'canary-after' })
    expect((await verdict()).valid).toBe(true)
  })

  it('of LEDGER_KEK puts every data key under the new one, after which the old one is not needed', async () => {
    const log_id = await decide('canary-kek')
    const { database } = proven.app
    const old = proven.app.settings.ledger_kek
    const fresh = randomBytes(32)
    const reads = async (app: ProvenApp) =>
      (await app.root.get<Row[]>(`/logs?decision_id=${log_id}`)).body[0]?.arguments

    const rotated = await startProvenApp({ ledger_kek: fresh, ledger_kek_previous: [old] }, database)
    try {
      await until(async () => {
        const keys = await rotated.root.get<{ present: boolean; count: number }[]>('/ledger/data-keys')
        return keys.body.length === 1 && keys.body[0]?.present ? true : null
      })
      expect(await reads(rotated)).toEqual({ secret: 'canary-kek' })
      expect(await rotated.app.app.get(DataKeysService).reseal()).toEqual(
        expect.objectContaining({ 'data keys': 0 }),
      )
    } finally {
      await rotated.close()
    }
    const without = await startProvenApp({ ledger_kek: fresh }, database)
    try {
      expect(await reads(without)).toEqual({ secret: 'canary-kek' })
    } finally {
      await without.close()
    }
    // The control: with the old key alone nothing of it opens any more.
    const lost = await startProvenApp({ ledger_kek: old }, database)
    try {
      expect((await lost.root.get(`/logs?decision_id=${log_id}`)).status).toBe(500)
    } finally {
      await lost.close()
    }
  })
})

it('shows an erased entry as redacted in every export', async () => {
  const log_id = await decide('canary-exported')
  await proven.root.post(`/logs/${log_id}/erase`, REASON)
  const { text } = await proven.root.get('/logs/export')
  const line = text.split('\n').find((candidate) => candidate.includes(`"id":"${log_id}"`)) ?? ''
  expect((JSON.parse(line) as EntryLine).payload).toEqual({ redacted: true })
  for (const format of ['json', 'csv']) {
    expect((await proven.root.get(`/logs/export?format=${format}`)).text).not.toContain('canary-exported')
  }
})

// Last: the log is not valid any more.
it('is found by the verifier when a superuser removes a payload', async () => {
  const { index } = await entry(await decide('canary-removed'))
  await proven.signed()
  expect((await verdict()).valid).toBe(true)
  await proven.owner.query("SET session_replication_role = 'replica'")
  await proven.owner.query('ALTER TABLE ledger.ledger_payload DISABLE TRIGGER append_only')
  await proven.owner.query('DELETE FROM ledger.ledger_payload WHERE index = $1', [index])
  await proven.owner.query('ALTER TABLE ledger.ledger_payload ENABLE ALWAYS TRIGGER append_only')
  await proven.owner.query("SET session_replication_role = 'origin'")
  const { valid, findings } = await verdict()
  expect(valid).toBe(false)
  expect(findings).toEqual([expect.objectContaining({ kind: 'unrecorded_erasure', index })])
})
