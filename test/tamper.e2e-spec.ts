import type { Client as Postgres } from 'pg'
import { leafHash } from '../src/core/ledger/merkle.js'
import { SignWorker } from '../src/ledger/sign.worker.js'
import { sha256 } from '../src/ledger/tree-tiles.js'
import type { Verification } from '../src/proofs/proofs.dto.js'
import { type ProvenApp, startProvenApp } from './support/proofs.js'

/**
 * Whoever owns the database changes something, with every trigger off, and GET /logs/verify is asked. `npm run
 * test:tamper` makes 2,000 changes to more than 5,000 entries; CI fewer.
 */
const ENTRIES = Number(process.env.TAMPER_ENTRIES ?? 320)
const MUTATIONS = Number(process.env.TAMPER_MUTATIONS ?? 120)
const SEED = Number(process.env.TAMPER_SEED ?? Date.now() % 1_000_000)
const ORG = 'org_default'

jest.setTimeout(180_000 + MUTATIONS * ENTRIES * 0.6)

let proven: ProvenApp
let size: number

beforeAll(async () => {
  proven = await startProvenApp()
  await proven.decide(ENTRIES)
  for (let i = 0; i < 20; i++) {
    await proven.agent.post('/logs', { action: 'read', allowed: true, result: 'success', resource: `r${i}` })
  }
  size = (await proven.signed()).size
  // What it remembers is still compared; it shall not halt the log for good in the middle of the test.
  await proven.app.app.get(SignWorker).stop()
  for (const table of ['ledger_entry', 'ledger_tile', 'ledger_tree', 'ledger_checkpoint']) {
    await proven.owner.query(`ALTER TABLE ledger.${table} DISABLE TRIGGER ALL`)
  }
  const { rows } = await proven.owner.query<{ name: string }>(
    "SELECT c.oid::regclass::text AS name FROM pg_class c WHERE c.relname LIKE 'ledger\\_entry\\_%' AND c.relkind IN ('r', 'p')",
  )
  for (const { name } of rows) await proven.owner.query(`ALTER TABLE ${name} DISABLE TRIGGER ALL`)
})

afterAll(async () => {
  await proven?.close()
})

/** Mulberry32: the same mutations for the same seed, which a failure names. */
function random(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below)
  }
}

interface Tampered {
  readonly what: string
  readonly undo: () => Promise<void>
  /** Where it must be found; null where it cannot be said. */
  readonly at: number | null
  /** Whether somebody who compares nothing with hashes could see it. */
  readonly visible: boolean
}

type Tamper = (owner: Postgres, pick: (below: number) => number) => Promise<Tampered>

const entry = `ledger.ledger_entry WHERE org_id = '${ORG}' AND index =`

/** Changes one row by SQL and keeps what it was. */
const changed =
  (what: string, set: string, visible = false): Tamper =>
  async (owner, pick) => {
    const index = pick(size)
    await owner.query(`CREATE TEMP TABLE kept AS SELECT * FROM ${entry} ${index}`)
    const { rowCount } = await owner.query(
      `UPDATE ledger.ledger_entry SET ${set} WHERE org_id = '${ORG}' AND index = ${index}`,
    )
    if (rowCount !== 1) throw new Error(`${what} changed ${rowCount} rows`)
    return {
      what: `${what} of ${index}`,
      at: index,
      visible,
      undo: async () => {
        const id = '(SELECT id FROM kept)'
        await owner.query(
          `DELETE FROM ledger.ledger_entry WHERE (org_id, index) = ('${ORG}', ${index}) OR id = ${id} OR org_id = 'org_other'`,
        )
        await owner.query('INSERT INTO ledger.ledger_entry SELECT * FROM kept')
        await owner.query('DROP TABLE kept')
      },
    }
  }

const flip = (bytes: string, at: number) =>
  `set_byte(${bytes}, ${at}, get_byte(${bytes}, ${at}) # (1 << ${at % 8}))`

const tampers: Readonly<Record<string, Tamper>> = {
  'a bit of an entry': async (owner, pick) => {
    const at = pick(200)
    return changed(`bit ${at}`, `entry = ${flip('entry', at)}`)(owner, pick)
  },
  'the verdict inside an entry': changed(
    'verdict',
    `entry = convert_to(replace(convert_from(entry, 'UTF8'), '"v":1', '"v":2'), 'UTF8')`,
  ),
  'the column allowed': changed('allowed', 'allowed = NOT coalesce(allowed, false)'),
  'the column agent_id': changed('agent_id', `agent_id = coalesce(agent_id, '') || 'x'`),
  'the column action_key': changed('action_key', `action_key = coalesce(action_key, '') || 'x'`),
  'the column type': changed('type', `type = CASE type WHEN 'decision' THEN 'action' ELSE 'decision' END`),
  'the column ts': changed('ts', `ts = ts + interval '1 millisecond'`),
  'the column id': changed('id', `id = overlay(id::text placing '0000' from 33)::uuid`),
  'the column decision_id': changed('decision_id', 'decision_id = gen_random_uuid()'),
  'the column org_id': changed('org_id', `org_id = 'org_other'`, true),
  'the column index': changed('index', 'index = index + 1000000', true),
  'the column retention_days': changed('retention_days', 'retention_days = 90'),

  'two entries swapped': async (owner, pick) => {
    const [a, b] = [pick(size), pick(size - 1)]
    const other = b >= a ? b + 1 : b
    const swap = () =>
      owner.query(
        `UPDATE ledger.ledger_entry SET index = ${a} + ${other} - index WHERE org_id = '${ORG}' AND index IN (${a}, ${other})`,
      )
    await swap()
    return {
      what: `swap ${a} and ${other}`,
      at: Math.min(a, other),
      visible: false,
      undo: async () => void (await swap()),
    }
  },
  'an entry deleted': async (owner, pick) => {
    const index = pick(size)
    await owner.query(`CREATE TEMP TABLE kept AS SELECT * FROM ${entry} ${index}`)
    await owner.query(`DELETE FROM ${entry} ${index}`)
    return {
      what: `delete ${index}`,
      at: index,
      visible: true,
      undo: async () => {
        await owner.query('INSERT INTO ledger.ledger_entry SELECT * FROM kept')
        await owner.query('DROP TABLE kept')
      },
    }
  },
  'an entry inserted': async (owner, pick) => {
    const index = pick(size + 1)
    const { rows } = await owner.query<{ id: string }>(
      `INSERT INTO ledger.ledger_entry (org_id, index, id, retention_days, ts, type, entry)
       SELECT org_id, ${index}, overlay(id::text placing 'ffffffffffff' from 25)::uuid, retention_days, ts, 'config', entry FROM ${entry} ${size - 1}
       RETURNING id`,
    )
    return {
      what: `insert at ${index}`,
      at: index,
      visible: true,
      undo: async () =>
        void (await owner.query('DELETE FROM ledger.ledger_entry WHERE id = $1', [rows[0]?.id])),
    }
  },
  'the tail cut off, and the head with it': async (owner, pick) => {
    const from = size - 1 - pick(10)
    await owner.query(
      `CREATE TEMP TABLE kept AS SELECT * FROM ledger.ledger_entry WHERE org_id = '${ORG}' AND index >= ${from}`,
    )
    await owner.query(`DELETE FROM ledger.ledger_entry WHERE org_id = '${ORG}' AND index >= ${from}`)
    const head = (entries: number) =>
      owner.query('UPDATE ledger.ledger_head SET size = $1 WHERE org_id = $2', [entries, ORG])
    if (pick(2) === 0) await head(from)
    return {
      what: `truncate at ${from}`,
      at: from,
      visible: false,
      undo: async () => {
        await owner.query('INSERT INTO ledger.ledger_entry SELECT * FROM kept')
        await owner.query('DROP TABLE kept')
        await head(size)
      },
    }
  },
  'a bit of a tile': async (owner, pick) => {
    const { rows } = await owner.query<{ level: number; tile: number; bytes: number }>(
      `SELECT level, tile::integer AS tile, octet_length(hashes) AS bytes FROM ledger.ledger_tile WHERE org_id = '${ORG}' ORDER BY level, tile`,
    )
    const { level, tile, bytes } = rows[pick(rows.length)] ?? { level: 0, tile: 0, bytes: 32 }
    const at = pick(bytes)
    const change = () =>
      owner.query(
        `UPDATE ledger.ledger_tile SET hashes = ${flip('hashes', at)} WHERE org_id = '${ORG}' AND level = ${level} AND tile = ${tile}`,
      )
    await change()
    return {
      what: `byte ${at} of tile ${level}/${tile}`,
      at: (tile * 256 + Math.floor(at / 32)) * 256 ** level,
      visible: false,
      undo: async () => void (await change()),
    }
  },
  'a bit of a checkpoint': async (owner, pick) => {
    const newest = `WHERE org_id = '${ORG}' AND size = (SELECT max(size) FROM ledger.ledger_checkpoint WHERE org_id = '${ORG}')`
    const { rows } = await owner.query<{ note: string; root: Buffer }>(
      `SELECT note, root FROM ledger.ledger_checkpoint ${newest}`,
    )
    const { note, root } = rows[0] ?? { note: '', root: Buffer.alloc(32) }
    const put = (text: string, bytes: Buffer) =>
      owner.query(`UPDATE ledger.ledger_checkpoint SET note = $1, root = $2 ${newest}`, [text, bytes])
    const at = pick(note.length + 32)
    if (at < note.length) {
      await put(`${note.slice(0, at)}${note[at] === 'A' ? 'B' : 'A'}${note.slice(at + 1)}`, root)
    } else {
      const bytes = Buffer.from(root)
      bytes[at - note.length] = (bytes[at - note.length] ?? 0) ^ 1
      await put(note, bytes)
    }
    return {
      what: `byte ${at} of the checkpoint`,
      at: null,
      visible: false,
      undo: async () => void (await put(note, root)),
    }
  },
  'the newest checkpoint taken away': async (owner) => {
    await owner.query(
      `CREATE TEMP TABLE kept AS SELECT * FROM ledger.ledger_checkpoint WHERE org_id = '${ORG}' ORDER BY size DESC LIMIT 1`,
    )
    await owner.query(
      `DELETE FROM ledger.ledger_checkpoint WHERE (org_id, size) = (SELECT org_id, size FROM kept)`,
    )
    return {
      what: 'delete the newest checkpoint',
      at: null,
      visible: false,
      undo: async () => {
        await owner.query('INSERT INTO ledger.ledger_checkpoint SELECT * FROM kept')
        await owner.query('DROP TABLE kept')
      },
    }
  },
  'an entry rewritten with its column and its hash': async (owner, pick) => {
    const index = pick(size)
    const tile = Math.floor(index / 256)
    const where = `WHERE org_id = '${ORG}' AND level = 0 AND tile = ${tile}`
    const tiles = await owner.query<{ hashes: Buffer }>(`SELECT hashes FROM ledger.ledger_tile ${where}`)
    const hashes = tiles.rows[0]?.hashes ?? Buffer.alloc(0)
    const rewrite = changed(
      'rewritten',
      `entry = convert_to(replace(convert_from(entry, 'UTF8'), '"semantics"', '"semantic_"'), 'UTF8') || ' '::bytea`,
    )
    const done = await rewrite(owner, () => index)
    const { rows } = await owner.query<{ entry: Buffer }>(`SELECT entry FROM ${entry} ${index}`)
    const forged = Buffer.from(hashes)
    forged.set(leafHash(sha256, rows[0]?.entry ?? Buffer.alloc(0)), (index % 256) * 32)
    await owner.query(`UPDATE ledger.ledger_tile SET hashes = $1 ${where}`, [forged])
    return {
      ...done,
      what: `rewrite ${index} and its hash`,
      // Full tiles are under a hash of the level above, which begins where the tile does; after them, the root tells.
      at: tile < Math.floor(size / 256) ? tile * 256 : null,
      undo: async () => {
        await done.undo()
        await owner.query(`UPDATE ledger.ledger_tile SET hashes = $1 ${where}`, [hashes])
      },
    }
  },
}

const verify = async (): Promise<Verification> => (await proven.root.get<Verification>('/logs/verify')).body

/** What can be seen without hashing anything again: holes, and rows that are not JSON. */
async function withoutHashes(): Promise<boolean> {
  const { rows } = await proven.owner.query<{ index: string }>(
    `SELECT index FROM ledger.ledger_entry WHERE org_id = '${ORG}' ORDER BY index`,
  )
  return rows.length === size && rows.every((row, i) => Number(row.index) === i)
}

it('control: says that all is well while nobody has changed anything', async () => {
  expect(await verify()).toMatchObject({ valid: true, total_entries: size, broken_at: null, reason: null })
})

it(`finds each of ${MUTATIONS} changes (TAMPER_SEED=${SEED}) at the entry that was changed`, async () => {
  const pick = random(SEED)
  const kinds = Object.keys(tampers)
  let missedWithoutHashes = 0
  for (let i = 0; i < MUTATIONS; i++) {
    // Every kind first, then at random.
    const kind = kinds[i < kinds.length ? i : pick(kinds.length)] ?? ''
    const done = await tampers[kind]?.(proven.owner, pick)
    if (!done) throw new Error(kind)
    const found = await verify()
    expect({ kind, what: done.what, valid: found.valid }).toEqual({ kind, what: done.what, valid: false })
    if (done.at !== null)
      expect({ what: done.what, at: found.broken_at }).toEqual({ what: done.what, at: done.at })
    if (!done.visible && (await withoutHashes())) missedWithoutHashes++
    await done.undo()
    if (i < kinds.length) expect([kind, (await verify()).valid]).toEqual([kind, true])
  }
  // The control: who only looks at indexes misses most of them.
  expect(missedWithoutHashes).toBeGreaterThan(MUTATIONS / 2)
  expect(await verify()).toMatchObject({ valid: true, total_entries: size })
})
