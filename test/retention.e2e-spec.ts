import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseVerifierKey, type VerifierKey } from '../src/core/ledger/note.js'
import { BundleVerifier, type Verdict } from '../src/core/ledger/verify.js'
import { Clock } from '../src/platform/clock/clock.js'
import { RetentionService } from '../src/retention/retention.service.js'
import { SnapshotsWorker } from '../src/snapshots/snapshots.worker.js'
import { TOOLS } from './support/bundle.js'
import { type ProvenApp, startProvenApp } from './support/proofs.js'

const DAY_MS = 24 * 60 * 60 * 1000
const JANUARY = Date.parse('2026-01-20T12:00:00Z')

interface Verification {
  valid: boolean
  total_entries: number
  broken_at: number | null
}

let proven: ProvenApp
let key: VerifierKey
let archive_dir: string

function verdictOf(text: string, older: string[] = []): Verdict {
  const verifier = new BundleVerifier(TOOLS, { keys: [key], older })
  for (const line of text.split('\n').slice(0, -1)) verifier.line(line)
  return verifier.finish()
}

const exported = async (): Promise<string> => (await proven.root.get('/logs/export')).text
const verified = async (): Promise<Verification> => (await proven.root.get<Verification>('/logs/verify')).body
const run = async () => (await proven.root.post('/ledger/retention/run', {})).body
const stored = async (): Promise<number> => {
  const { rows } = await proven.owner.query<{ count: string }>('SELECT count(*) FROM ledger.ledger_entry')
  return Number(rows[0]?.count)
}

/** Moves both clocks: the database's, which judges every entry, and the service's. */
async function at(time: number): Promise<void> {
  await proven.owner
    .query(`CREATE OR REPLACE FUNCTION ledger.now_ms() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = '' AS
    $$ SELECT ${time}::bigint $$`)
  await proven.owner.query('SELECT ledger.ledger_ensure_partitions($1, 1)', [new Date(time)])
  jest.spyOn(proven.app.app.get(Clock), 'now').mockReturnValue(time)
  await proven.app.app.get(SnapshotsWorker).poll()
}

beforeAll(async () => {
  archive_dir = mkdtempSync(path.join(tmpdir(), 'agentguard-archive-'))
  proven = await startProvenApp({ ledger_expiry: 'archive', ledger_archive_dir: archive_dir })
  await proven.signed()
  const keys = await proven.root.get<{ vkey: string }[]>('/.well-known/agentguard-keys.json')
  const read = parseVerifierKey(TOOLS.sha256, keys.body[0]?.vkey ?? '')
  if (!read.ok) throw new Error(read.errors.detail)
  key = read.value
})

afterAll(async () => {
  jest.restoreAllMocks()
  await proven?.close()
  rmSync(archive_dir, { recursive: true, force: true })
})

it('keeps coming entries for the class that was chosen, and records who chose it', async () => {
  const answer = await proven.root.put('/ledger/retention', { retention_days: 90 })
  expect(answer.body).toEqual({ retention_days: 90, expiry: 'archive', expired_entries: 0 })
  const [entry] = (await proven.root.get<{ event: string; index: number }[]>('/logs?type=config&limit=1'))
    .body
  expect(entry?.event).toBe('retention.updated')
  const { rows } = await proven.owner.query<{ index: string; retention_days: number }>(
    'SELECT index, retention_days FROM ledger.ledger_entry ORDER BY index',
  )
  for (const { index, retention_days } of rows) {
    expect(retention_days).toBe(Number(index) < (entry?.index ?? 0) ? 365 : 90)
  }
  // The same again changes nothing and records nothing.
  await proven.root.put('/ledger/retention', { retention_days: 90 })
  expect(await stored()).toBe(rows.length)
  expect((await proven.root.put('/ledger/retention', { retention_days: 91 })).status).toBe(422)
  // Nor does the database take a class that there is not, whoever asks it.
  await expect(
    proven.owner.query(
      `SELECT ledger.ledger_retention_set('org_default', 91::smallint) FROM set_config('app.org_id', 'org_default', true)`,
    ),
  ).rejects.toMatchObject({ code: '23514' })
  expect(await verified()).toMatchObject({ valid: true, total_entries: rows.length })
})

it('drops nothing before its time, and then the month with everything about it kept provable', async () => {
  await at(JANUARY)
  const ids = await proven.decide(300)
  const older = (await proven.signed()).note
  const before = await stored()
  const whole = await exported()
  expect(verdictOf(whole).valid).toBe(true)

  await at(Date.parse('2026-02-01T00:00:00Z') + 90 * DAY_MS - 1)
  await proven.decide(20)
  expect(await run()).toEqual({ expired: 0, dropped: 0, waiting: 0 })
  expect(await stored()).toBe(before + 20)
  const { size } = await proven.signed()
  expect(size).toBe(before + 20)

  await at(Date.parse('2026-02-01T00:00:00Z') + 90 * DAY_MS)
  expect(await run()).toEqual({ expired: 300, dropped: 1, waiting: 0 })
  expect(await stored()).toBe(before + 20 - 300 + 1)
  expect((await proven.root.get(`/logs/${ids[0] ?? ''}/proof`)).status).toBe(404)
  const [recorded] = (
    await proven.root.get<{ event: string; actor: object; change: object }[]>('/logs?type=redaction')
  ).body
  expect(recorded).toMatchObject({
    event: 'entries.expired',
    actor: { kind: 'system' },
    change: { count: 300, reason: 'retention of 90 days, 2026-01' },
  })
  await proven.signed()
  expect(await verified()).toMatchObject({ valid: true, broken_at: null })
  expect(verdictOf(await exported(), [older])).toMatchObject({
    valid: true,
    expired: 300,
    findings: [],
    older: [expect.objectContaining({ size: before })],
  })
  expect((await proven.root.get('/ledger/retention')).body).toMatchObject({ expired_entries: 300 })

  // The archive is a bundle that verifies by itself: what was dropped, and on to the next kept checkpoint.
  const [file] = readdirSync(path.join(archive_dir, 'org_default')).filter((name) => name.endsWith('.ndjson'))
  const archived = readFileSync(path.join(archive_dir, 'org_default', file ?? ''), 'utf8')
  expect(verdictOf(archived)).toMatchObject({ valid: true, entries: 320 })
  for (const id of ids) expect(archived).toContain(id)
  const digest = readFileSync(path.join(archive_dir, 'org_default', `${file}.sha256`), 'utf8')
  expect(digest).toBe(`${createHash('sha256').update(archived).digest('hex')}  ${file}\n`)
})

it('runs again without doing anything, and from several replicas at once', async () => {
  const runs = await Promise.all([1, 2, 3].map(() => proven.app.app.get(RetentionService).run()))
  expect(runs).toEqual(Array(3).fill({ expired: 0, dropped: 0, waiting: 0 }))
})

it('begins a new epoch over entries that are not there any more', async () => {
  expect((await proven.root.post('/ledger/epochs', { reason: 'the signer was lost' })).status).toBe(201)
  const { origin } = await proven.signed()
  expect(origin).toMatch(/\/e2$/)
  expect(await verified()).toMatchObject({ valid: true })
  expect(verdictOf(await exported())).toMatchObject({ valid: true, expired: 300 })
})

it('expires nothing that is not signed', async () => {
  const { rows } = await proven.owner.query<{ size: string }>('SELECT size FROM ledger.ledger_head')
  const beyond = Number(rows[0]?.size) + 5
  await expect(
    proven.owner.query(
      `BEGIN; SELECT set_config('app.org_id', 'org_default', true);
       SELECT ledger.ledger_expire('org_default', gen_random_uuid(), 90::smallint, '2026-01-01', 0, ${beyond})`,
    ),
  ).rejects.toThrow()
  await proven.owner.query('ROLLBACK')
})

// Last: the log is not valid any more.
it('finds an entry that a superuser removed and passed off as expired', async () => {
  const { rows } = await proven.owner.query<{ index: string }>(
    'SELECT max(index) - 3 AS index FROM ledger.ledger_entry',
  )
  const index = Number(rows[0]?.index)
  await proven.owner.query("SET session_replication_role = 'replica'")
  for (const table of ['ledger_entry', 'ledger_expired']) {
    await proven.owner.query(`ALTER TABLE ledger.${table} DISABLE TRIGGER append_only`)
  }
  await proven.owner.query(
    `INSERT INTO ledger.ledger_expired (org_id, from_index, leaves)
     SELECT org_id, index, sha256('\\x00'::bytea || entry) FROM ledger.ledger_entry WHERE index = $1`,
    [index],
  )
  await proven.owner.query('DELETE FROM ledger.ledger_entry WHERE index = $1', [index])
  await proven.owner.query("SET session_replication_role = 'origin'")
  expect(await verified()).toMatchObject({ valid: false, broken_at: index })
  expect(verdictOf(await exported()).findings).toEqual([expect.objectContaining({ kind: 'index', index })])
})
