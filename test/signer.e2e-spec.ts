import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Client as Postgres } from 'pg'
import { ColumnLines } from '../src/core/ledger/column-lines.js'
import { CompactTree, leafHash, rootOf } from '../src/core/ledger/merkle.js'
import { checkQuickly } from '../src/ledger/check-quickly.js'
import { SIGNER_LOCK } from '../src/ledger/checkpoints.queries.js'
import { KEY_FILE, MEMORY_FILE, SignerMemory } from '../src/ledger/signer-memory.js'
import { SignWorker, type SignStep } from '../src/ledger/sign.worker.js'
import { TileGrowths, sha256 } from '../src/ledger/tree-tiles.js'
import { TreeWorker } from '../src/ledger/tree.worker.js'
import { selectTree } from '../src/ledger/trees.queries.js'
import { Witnesses } from '../src/ledger/witnesses.js'
import type { Settings } from '../src/platform/config/settings.js'
import { Database } from '../src/platform/database/database.service.js'
import { errorField } from '../src/platform/http/error-code.js'
import { Shutdown } from '../src/platform/http/shutdown.js'
import { Metrics } from '../src/platform/metrics/metrics.js'
import { copyOf, createTestDatabase } from './support/postgres.js'
import { openNote, type ProvenApp, startProvenApp, until } from './support/proofs.js'

const ORG = 'org_default'

const folder = (): string => mkdtempSync(path.join(tmpdir(), 'agentguard-signer-'))

/** A signer of its own, in place of the application's; it fails once at each step it is told to fail at. */
class TestSigner extends SignWorker {
  readonly failures: SignStep[]

  constructor(proven: ProvenApp, dir: string, ...failures: SignStep[]) {
    const settings = { ...proven.app.settings, ledger_signer_dir: dir } satisfies Settings
    super(proven.app.app.get(Database), settings, new Shutdown(), proven.app.app.get(Witnesses))
    this.failures = failures
  }

  protected override at(step: SignStep): void {
    if (this.failures[0] !== step) return
    this.failures.shift()
    throw new Error(`killed after ${step}`)
  }

  /** Until the log is under a checkpoint. */
  async finish(): Promise<number> {
    let published = 0
    while ((await this.round()) > 0) published++
    await this.stop()
    return published
  }
}

class TestTree extends TreeWorker {
  constructor(
    proven: ProvenApp,
    private readonly steps = Infinity,
    private done = 0,
  ) {
    super(proven.app.app.get(Database), proven.app.app.get(Metrics), new Shutdown())
  }

  protected override step(): void {
    if (++this.done >= this.steps) throw new Error('killed between two chunks')
  }
}

const entriesOf = async (owner: Postgres): Promise<Buffer[]> =>
  (
    await owner.query<{ entry: Buffer }>(
      'SELECT entry FROM ledger.ledger_entry WHERE org_id = $1 ORDER BY index',
      [ORG],
    )
  ).rows.map(({ entry }) => entry)

/** PostgreSQL frees the lock of a signer that was killed when it has noticed that its session is gone. */
const othersMaySign = (owner: Postgres): Promise<true> =>
  until(async () => {
    const { rows } = await owner.query<{ free: boolean }>(
      'SELECT pg_try_advisory_lock($1) AND pg_advisory_unlock($1) AS free',
      [SIGNER_LOCK],
    )
    return rows[0]?.free ? true : null
  })

/** What the tiles of these entries must be: every hash, from nothing. */
function tilesFromNothing(entries: readonly Buffer[]): Record<string, string> {
  const tree = new CompactTree(sha256)
  const growth = new TileGrowths()
  for (const entry of entries) tree.append(leafHash(sha256, entry), growth.completed)
  return Object.fromEntries(
    growth.list().map((tile) => [`${tile.level}/${tile.tile}`, tile.hashes.toString('hex')]),
  )
}

const tilesOf = async (owner: Postgres, epoch = 1): Promise<Record<string, string>> => {
  const { rows } = await owner.query<{ level: number; tile: string; hashes: Buffer }>(
    'SELECT level, tile, hashes FROM ledger.ledger_tile WHERE org_id = $1 AND epoch = $2 ORDER BY level, tile',
    [ORG, epoch],
  )
  return Object.fromEntries(
    rows.map(({ level, tile, hashes }) => [`${level}/${tile}`, hashes.toString('hex')]),
  )
}

const integrated = (proven: ProvenApp) =>
  until(async () => {
    const { rows } = await proven.owner.query<{ done: boolean }>(
      `SELECT h.size = t.size AS done FROM ledger.ledger_head h JOIN ledger.ledger_tree t USING (org_id, epoch) WHERE org_id = $1`,
      [ORG],
    )
    return rows[0]?.done === true ? true : null
  })

const halted = (proven: ProvenApp) =>
  until(async () => {
    const { rows } = await proven.owner.query<{ index: string | null; reason: string }>(
      'SELECT index, reason FROM ledger.ledger_halt WHERE org_id = $1',
      [ORG],
    )
    return rows[0] ?? null
  })

const signedNotes = async (proven: ProvenApp): Promise<string[]> =>
  (
    await proven.owner.query<{ note: string }>(
      'SELECT note FROM ledger.ledger_checkpoint WHERE org_id = $1 ORDER BY size',
      [ORG],
    )
  ).rows.map(({ note }) => note)

/** Every checkpoint that was ever seen is a root of the one sequence of entries: so all are mutually consistent. */
async function expectOneHistory(proven: ProvenApp, notes: ReadonlySet<string>): Promise<void> {
  const keys = await proven.root.get<{ vkey: string }[]>('/.well-known/agentguard-keys.json')
  expect(keys.body).toHaveLength(1)
  const roots = new Map<number, string>()
  const tree = new CompactTree(sha256)
  for (const entry of await entriesOf(proven.owner)) {
    tree.append(leafHash(sha256, entry))
    roots.set(tree.size, Buffer.from(tree.root()).toString('hex'))
  }
  for (const note of notes) {
    const { size, root } = openNote(note, keys.body[0]?.vkey ?? '')
    expect([size, Buffer.from(root).toString('hex')]).toEqual([size, roots.get(size)])
  }
}

describe('a worker that is killed', () => {
  let proven: ProvenApp
  let dir: string

  beforeAll(async () => {
    proven = await startProvenApp({ ledger_signer_dir: undefined })
    dir = folder()
  })
  afterAll(async () => {
    await proven?.close()
    rmSync(dir, { recursive: true, force: true })
  })

  it('leaves one history, whichever step of signing it had done', async () => {
    const notes = new Set<string>()
    for (const step of ['checked', 'remembered', 'signed', 'published'] as const) {
      await proven.decide(20)
      await integrated(proven)
      const first = new TestSigner(proven, dir, step)
      await expect(first.round()).rejects.toThrow(`killed after ${step}`)
      for (const note of await signedNotes(proven)) notes.add(note)
      // More entries arrive before another process takes over.
      await proven.decide(7)
      await integrated(proven)
      await first.stop()
      await othersMaySign(proven.owner)
      expect(await new TestSigner(proven, dir).finish()).toBe(1)
      for (const note of await signedNotes(proven)) notes.add(note)
    }
    expect(notes.size).toBe(5) // the one that was killed after publishing had published
    await expectOneHistory(proven, notes)
    expect((await proven.root.get('/logs/verify')).body).toMatchObject({ valid: true })
  })

  it('signs the same again when it was killed between memory and publication, with nothing new', async () => {
    await proven.decide(3)
    await integrated(proven)
    const killed = new TestSigner(proven, dir, 'signed')
    await expect(killed.round()).rejects.toThrow('killed')
    const { size } = SignerMemory.open(dir).all()[0] ?? { size: 0 }
    await othersMaySign(proven.owner)
    expect(await new TestSigner(proven, dir).finish()).toBe(1)
    expect(
      (await proven.root.get<{ checkpoint: { size: number } }>('/logs/verify')).body.checkpoint.size,
    ).toBe(size)
  })

  it('leaves the same tiles, also when several work at once and one is killed between chunks', async () => {
    await proven.decide(1_100) // more than a chunk
    const workers = [
      new TestTree(proven, 1),
      new TestTree(proven),
      new TestTree(proven),
      new TestTree(proven, 1),
    ]
    await Promise.allSettled([...workers.map((worker) => worker.round()), proven.decide(200)])
    await Promise.all(workers.slice(1, 3).map((worker) => worker.round()))
    await integrated(proven)
    expect(await tilesOf(proven.owner)).toEqual(tilesFromNothing(await entriesOf(proven.owner)))
  })

  it('lets one of two signers work, and the other one after it', async () => {
    const [one, two] = [new TestSigner(proven, dir), new TestSigner(proven, dir)]
    for (let i = 0; i < 5; i++) {
      await proven.decide(5)
      await integrated(proven)
      const published = await Promise.all([one.round(), two.round()])
      expect(published.sort()).toEqual([0, 1])
    }
    await one.stop()
    await two.stop()
    await proven.decide(5)
    await integrated(proven)
    const [three, four] = [new TestSigner(proven, dir), new TestSigner(proven, dir)]
    expect(await three.round()).toBe(1)
    await three.stop()
    await proven.decide(1)
    await integrated(proven)
    expect(await four.round()).toBe(1)
    await four.stop()
    await expectOneHistory(proven, new Set(await signedNotes(proven)))
  })

  it('keeps the newest checkpoint and the first of each hour', async () => {
    const published = (await signedNotes(proven)).length
    expect([2, 3]).toContain(published) // 3 when the hour changed during this file; about fifteen were published
  })
})

describe('the memory of the signer', () => {
  let dir: string
  beforeEach(() => {
    dir = folder()
  })
  afterEach(() => rmSync(dir, { recursive: true, force: true }))
  const log = (size: number) => ({
    origin: 'example.com/org/e1',
    size,
    root: Buffer.alloc(32, size).toString('base64'),
  })

  it('keeps key and memory to its owner, and reads back what it wrote', async () => {
    const memory = SignerMemory.open(dir)
    await memory.remember([log(1), { ...log(5), origin: 'example.com/other/e1' }])
    await memory.remember([log(2)])
    const again = SignerMemory.open(dir)
    expect(again.of('example.com/org/e1')).toEqual(log(2))
    expect(again.public_key).toEqual(memory.public_key)
    expect([KEY_FILE, MEMORY_FILE].map((file) => statSync(path.join(dir, file)).mode & 0o777)).toEqual([
      0o600, 0o600,
    ])
  })

  it('forgets a line that was being written at a crash, and refuses one that was changed', async () => {
    await SignerMemory.open(dir).remember([log(1)])
    appendFileSync(path.join(dir, MEMORY_FILE), '{"origin":"example.com/org/e1","size":2,"ro')
    const torn = readFileSync(path.join(dir, MEMORY_FILE), 'utf8')
    const memory = SignerMemory.open(dir)
    expect(memory.of('example.com/org/e1')).toEqual(log(1))
    // It may be a line that another worker is just writing: only who holds the lock may drop it.
    expect(readFileSync(path.join(dir, MEMORY_FILE), 'utf8')).toBe(torn)
    memory.load(true)
    await memory.remember([log(3)])
    expect(SignerMemory.open(dir).of('example.com/org/e1')).toEqual(log(3))
    const text = readFileSync(path.join(dir, MEMORY_FILE), 'utf8')
    writeFileSync(path.join(dir, MEMORY_FILE), text.replace('"size":1', '"size":"x"'))
    expect(() => SignerMemory.open(dir)).toThrow(/damaged at line 1/)
  })

  it('refuses to write where another process has written, and to make a key beside a memory', async () => {
    const one = SignerMemory.open(dir)
    const two = SignerMemory.open(dir)
    await one.remember([log(1)])
    await expect(two.remember([log(1)])).rejects.toThrow('one signer a folder')
    expect(two.of('example.com/org/e1')).toEqual(log(1))
    await two.remember([log(2)]) // it has read what the other one wrote
    rmSync(path.join(dir, KEY_FILE))
    expect(() => SignerMemory.open(dir)).toThrow(/restore the folder/)
  })
})

describe('a database that does not continue what was signed', () => {
  let proven: ProvenApp
  beforeEach(async () => {
    proven = await startProvenApp()
  })
  afterEach(() => proven.close())

  it.each([
    ['shorter than what was signed', 1, 'history_truncated'],
    ['grown again with other entries', 60, 'history_rewritten'],
  ])('is halted when it was restored from an older copy and is %s', async (_, appended, reason) => {
    const dir = folder()
    const first = await createTestDatabase()
    const before = await startProvenApp({ ledger_signer_dir: dir }, first)
    await before.decide(20)
    const old = await before.signed()
    await before.close()
    const restored = await copyOf(first)
    const after = await startProvenApp({ ledger_signer_dir: dir }, first)
    await after.decide(30)
    expect((await after.signed()).size).toBeGreaterThan(old.size)
    await after.close()
    try {
      // Life goes on in the restored database, for now without the signer.
      const quiet = await startProvenApp({ ledger_signer_dir: undefined }, restored)
      await quiet.decide(appended)
      await integrated(quiet)
      await quiet.close()
      const again = await startProvenApp({ ledger_signer_dir: dir }, restored)
      try {
        const halt = await halted(again)
        expect(halt.reason).toBe(reason)
        const notes = (await signedNotes(again)).map((note) => Number(note.split('\n')[1]))
        expect(Math.max(...notes)).toBe(old.size) // nothing was signed after the restore
        expect((await again.root.get('/logs/verify')).body).toMatchObject({ valid: false, reason })
        expect((await again.root.get('/metrics')).text).toContain('agentguard_ledger_halted 1')

        // The control: an explicit, recorded act, and it is signed again.
        const begun = await again.root.post<{ epoch: number; origin: string }>('/ledger/epochs', {
          reason: 'restored from an older copy',
        })
        expect(begun).toMatchObject({
          status: 201,
          body: { epoch: 2, origin: old.origin.replace(/e1$/, 'e2') },
        })
        const fresh = await again.signed()
        expect(fresh.origin).toBe(begun.body.origin)
        expect((await again.root.get('/logs/verify')).body).toMatchObject({ valid: true, broken_at: null })
        expect(await tilesOf(again.owner, 2)).toEqual(tilesFromNothing(await entriesOf(again.owner)))
        const recorded = JSON.parse((await entriesOf(again.owner)).at(-1)?.toString() ?? '')
        expect(recorded).toMatchObject({
          type: 'epoch',
          event: 'epoch.started',
          log: begun.body.origin,
          epoch: { number: 2, reason: 'restored from an older copy', previous: { size: old.size } },
        })
        const listed = await again.root.get('/logs?type=epoch')
        expect(listed.body).toMatchObject([{ event: 'epoch.started', change: { number: 2 } }])
        await again.decide(1)
        expect(JSON.parse((await entriesOf(again.owner)).at(-1)?.toString() ?? '').log).toBe(
          begun.body.origin,
        )
        expect((await again.signed()).origin).toBe(begun.body.origin)
      } finally {
        await again.close()
      }
    } finally {
      await Promise.all([first.drop(), restored.drop()])
      rmSync(dir, { recursive: true, force: true })
    }
  })

  it('is not signed with an empty folder, until a new epoch is begun', async () => {
    await proven.decide(5)
    const { size, origin } = await proven.signed()
    const empty = folder()
    const other = await startProvenApp({ ledger_signer_dir: empty }, proven.app.database)
    try {
      await proven.app.app.get(SignWorker).stop()
      await other.decide(5)
      await integrated(other)
      const signer = other.app.app.get(SignWorker)
      await until(async () => ((await signer.round()) === 0 ? true : null))
      expect((await signedNotes(other)).map((note) => Number(note.split('\n')[1])).at(-1)).toBe(size)
      const log = await other.root.get<{ halted: unknown }>('/ledger/checkpoint')
      expect(log.text.split('\n')[0]).toBe(origin)
      await other.root.post('/ledger/epochs', { reason: 'the folder of the signer was lost' })
      expect((await other.signed()).origin).toBe(origin.replace(/e1$/, 'e2'))
      const keys = await other.root.get<{ valid_to: string | null }[]>('/.well-known/agentguard-keys.json')
      expect(keys.body.map(({ valid_to }) => valid_to === null)).toEqual([true, false])
    } finally {
      await other.close()
      rmSync(empty, { recursive: true, force: true })
    }
  })

  it('is not signed under an epoch that nobody began', async () => {
    await proven.decide(5)
    await proven.signed()
    await proven.owner.query(
      "UPDATE ledger.ledger_head SET epoch = 2, origin = replace(origin, '/e1', '/e2') WHERE org_id = $1",
      [ORG],
    )
    expect(await halted(proven)).toEqual({ index: null, reason: 'epoch_unrecorded' })
    expect((await proven.root.get('/logs/verify')).body).toMatchObject({
      valid: false,
      reason: 'epoch_unrecorded',
    })
  })

  it('is halted at the entry that was changed before it was signed', async () => {
    await proven.decide(5)
    const { size } = await proven.signed()
    await proven.app.app.get(SignWorker).stop()
    await proven.decide(10)
    await integrated(proven)
    await proven.owner.query('ALTER TABLE ledger.ledger_entry DISABLE TRIGGER append_only')
    await proven.owner.query(
      `UPDATE ledger.ledger_entry SET allowed = NOT allowed WHERE org_id = '${ORG}' AND index = ${size + 4}`,
    )
    const signer = new TestSigner(proven, proven.signer_dir)
    expect(await signer.finish()).toBe(0)
    expect(await halted(proven)).toEqual({ index: String(size + 4), reason: 'projection_changed' })
    // It stays so, also when the row is put back and when the record of the halt is taken out of the database.
    await proven.owner.query(
      `UPDATE ledger.ledger_entry SET allowed = NOT allowed WHERE org_id = '${ORG}' AND index = ${size + 4}`,
    )
    await proven.owner.query('ALTER TABLE ledger.ledger_halt DISABLE TRIGGER append_only')
    await proven.owner.query('DELETE FROM ledger.ledger_halt')
    expect(await new TestSigner(proven, proven.signer_dir).finish()).toBe(0)
    expect((await halted(proven)).reason).toBe('projection_changed')
  })

  it('is read quickly as long as there is nothing to be said of it, and never otherwise', async () => {
    await proven.decide(5)
    await integrated(proven)
    const database = proven.app.app.get(Database)
    const quickly = () =>
      database.withOrgClient({ org_id: ORG }, async (client) => {
        const state = await selectTree(client, ORG)
        if (!state) throw new Error('no log')
        const empty = new CompactTree(sha256)
        return checkQuickly(client, state, empty, state.integrated, new ColumnLines(ORG))
      })
    const leaves = (await entriesOf(proven.owner)).map((entry) => leafHash(sha256, entry))
    const root = Buffer.from(rootOf(sha256, leaves))
    expect(Buffer.from((await quickly())?.root() ?? [])).toEqual(root)

    await proven.owner.query('ALTER TABLE ledger.ledger_entry DISABLE TRIGGER append_only')
    const index = leaves.length - 2
    const where = `WHERE org_id = '${ORG}' AND index = ${index}`
    const { rows } = await proven.owner.query<Record<string, unknown>>(
      `SELECT index, id, ts, type, agent_id, action_key, allowed, decision_id, entry FROM ledger.ledger_entry ${where}`,
    )
    const [was] = rows
    // Beside other values also those that move the boundaries between columns and between lines.
    const changes: Record<string, unknown[]> = {
      ts: ['2026-01-01T00:00:00.000Z'],
      type: ['action', 'decision\u001fx', 'decision\n'],
      agent_id: [null, '', 'agt_other', '\u001e', `${String(was?.agent_id)}\u001f${String(was?.action_key)}`],
      action_key: [null, 'delete:file', `${String(was?.action_key)}\n`],
      allowed: [null, was?.allowed !== true],
      decision_id: [was?.id],
      entry: [Buffer.from('{}'), Buffer.from('\u00ff', 'latin1'), Buffer.from(`${String(was?.entry)} `)],
    }
    for (const [column, values] of Object.entries(changes)) {
      for (const value of values) {
        await proven.owner.query(`UPDATE ledger.ledger_entry SET ${column} = $1 ${where}`, [value])
        const result = await quickly().catch((error: unknown) => errorField(error, 'code'))
        expect({ column, value, result }).toEqual({
          column,
          value,
          // What is no text cannot be read so at all; the signer then reads it thoroughly.
          result: column === 'entry' && value === values[1] ? '22021' : null,
        })
      }
      await proven.owner.query(`UPDATE ledger.ledger_entry SET ${column} = $1 ${where}`, [was?.[column]])
    }
    expect(Buffer.from((await quickly())?.root() ?? [])).toEqual(root)
  })
})
