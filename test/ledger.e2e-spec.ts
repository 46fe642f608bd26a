import { randomBytes } from 'node:crypto'
import { Client, Pool, type PoolClient } from 'pg'
import type { Entry } from '../src/core/ledger/entry.js'
import { uuidv7 } from '../src/core/ids.js'
import type { AppendOutcome } from '../src/ledger/append-queue.js'
import { leafHash } from '../src/core/ledger/merkle.js'
import * as binary from '../src/ledger/binary-arrays.js'
import { leafOf } from '../src/ledger/check-entries.js'
import { readStored } from '../src/ledger/stored-entries.queries.js'
import { type AppendRow, appendBatch } from '../src/ledger/ledger.queries.js'
import { LedgerService } from '../src/ledger/ledger.service.js'
import { KeyRing } from '../src/platform/crypto/key-ring.js'
import { Clock } from '../src/platform/clock/clock.js'
import type { Settings } from '../src/platform/config/settings.js'
import { assertDatabase } from '../src/platform/database/assertions.js'
import { connectionsOfLogins } from '../src/platform/database/connections.js'
import { Database } from '../src/platform/database/database.service.js'
import type { Principal } from '../src/platform/access/principal.js'
import { ROOT_PERMISSIONS } from '../src/core/permissions.js'
import { sha256 } from '../src/ledger/tree-tiles.js'
import { createTestDatabase, type TestDatabase } from './support/postgres.js'

const ORG = 'org_ledger'
const AGENT = 'agt_0000000000000000'
const root: Principal = { kind: 'root', org_id: ORG, permissions: ROOT_PERMISSIONS }

let test: TestDatabase
let database: Database
let ledger: LedgerService
let owner: Client
/** For what is asked in parallel. */
let owners: Pool

beforeAll(async () => {
  test = await createTestDatabase()
  owner = new Client({ connectionString: test.owner_url })
  await owner.connect()
  owners = new Pool({ connectionString: test.owner_url, max: 4 })
  database = new Database(connectionsOfLogins(test), { max: 10, timeout_ms: 30_000, recycle_s: 3_600 })
  await database.onApplicationBootstrap()
  const settings = { ledger_origin: 'ledger.test' } as unknown as Settings
  ledger = new LedgerService(database, new Clock(), settings, new KeyRing(randomBytes(32)))
  await database.withOrg(root, async (tx) => {
    await tx.organization.create({ data: { org_id: ORG, name: 'Ledger' } })
    await ledger.open(tx, ORG)
    await tx.team.create({ data: { org_id: ORG, team: 'ops' } })
    await tx.agent.create({
      data: { org_id: ORG, agent_id: AGENT, name: 'a', owner_team: 'ops', environment: 'dev' },
    })
    await tx.$executeRaw`INSERT INTO agent_config (org_id, agent_id) VALUES (${ORG}, ${AGENT})`
    await ledger.append(tx, root, {
      event: 'organization.created',
      change: { kind: 'organization', id: ORG, op: 'created' },
    })
  })
})

afterAll(async () => {
  await owner?.end()
  await owners?.end()
  await database?.close()
  await test?.drop()
})

const versions = async () => {
  const { rows } = await owners.query<{ installation: number; organization: number; agent: number }>(
    `SELECT i.version::float8 AS installation, h.org_version::float8 AS organization, c.version::float8 AS agent
     FROM ledger.ledger_head h JOIN agent_config c USING (org_id), installation_config i WHERE h.org_id = $1`,
    [ORG],
  )
  const row = rows[0]
  if (!row) throw new Error('no head')
  return row
}

async function submit(
  changes: {
    installation?: number
    organization?: number
    agent?: number
    ts?: number
    id?: string
    not_after?: number
  } = {},
): Promise<AppendOutcome> {
  const ts = changes.ts ?? Date.now()
  const id = changes.id ?? uuidv7(ts, randomBytes(10))
  const now = await versions()
  const { not_after = null, ...rest } = changes
  return ledger.submit([
    {
      org_id: ORG,
      id,
      ts,
      type: 'decision',
      agent_id: AGENT,
      action_key: 'read:file',
      allowed: true,
      decision_id: null,
      versions: { ...now, ...rest },
      not_after,
      entry: JSON.stringify({ id }),
      sealed: null,
    },
  ])
}

const entries = async () =>
  (
    await owner.query<{ index: string; entry: Buffer; type: string }>(
      'SELECT index, entry, type FROM ledger.ledger_entry WHERE org_id = $1 ORDER BY index',
      [ORG],
    )
  ).rows

describe('the ledger', () => {
  it('gives 50 parallel appends dense indexes, each once', async () => {
    const before = (await entries()).length
    const outcomes = await Promise.all(Array.from({ length: 50 }, () => submit()))
    const indexes = outcomes
      .map((outcome) => (outcome.kind === 'appended' ? outcome.index : -1))
      .sort((a, b) => a - b)
    expect(indexes).toEqual(Array.from({ length: 50 }, (_, i) => before + i))
    expect((await entries()).map((row) => Number(row.index))).toEqual(
      Array.from({ length: before + 50 }, (_, i) => i),
    )
  })

  it('keeps indexes dense when the decision path and the control plane append at once', async () => {
    const changes = Array.from({ length: 10 }, (_, i) =>
      database.withOrg(root, async (tx) => {
        await ledger.append(tx, root, {
          event: 'agent.updated',
          change: { kind: 'agent', id: String(i), op: 'updated' },
        })
      }),
    )
    await Promise.all([...changes, ...Array.from({ length: 100 }, () => submit())])
    const all = await entries()
    expect(all.map((row) => Number(row.index))).toEqual(all.map((_, i) => i))
  })

  it.each([
    ['installation', { installation: 0 }],
    ['organization', { organization: 0 }],
    ['agent', { agent: 0 }],
  ])('refuses an entry made from another %s version', async (_, old) => {
    const before = (await entries()).length
    expect(await submit(old)).toEqual({ kind: 'stale' })
    expect(await entries()).toHaveLength(before)
  })

  it('refuses, from the moment a change commits, every entry made before it', async () => {
    const old = await versions()
    await database.withOrg(root, async (tx) => {
      await ledger.append(tx, root, {
        event: 'key.revoked',
        change: { kind: 'key', id: 'key_1', op: 'revoked' },
        raises: { agent_id: AGENT },
      })
    })
    expect(await submit(old)).toEqual({ kind: 'stale' })
    expect((await submit()).kind).toBe('appended')
    const revoked = (await entries())
      .map((row) => JSON.parse(row.entry.toString()) as Entry)
      .find((e) => e.event === 'key.revoked')
    expect(revoked?.config).toEqual({ installation: 1, organization: 1, agent: old.agent + 1 })
  })

  it('raises the organization version with the entry that says so', async () => {
    const old = await versions()
    await database.withOrg(root, async (tx) => {
      await ledger.append(tx, root, {
        event: 'organization.updated',
        change: { kind: 'organization', id: ORG, op: 'updated' },
        raises: 'organization',
      })
    })
    expect((await versions()).organization).toBe(old.organization + 1)
    expect(await submit(old)).toEqual({ kind: 'stale' })
  })

  it('refuses a timestamp more than 5 s off and a key that has expired by the database clock', async () => {
    expect(await submit({ ts: Date.now() - 6_000 })).toEqual({ kind: 'clock' })
    expect(await submit({ ts: Date.now() + 6_000 })).toEqual({ kind: 'clock' })
    expect(await submit({ not_after: Date.now() - 1 })).toEqual({ kind: 'expired' })
    expect((await submit({ not_after: Date.now() + 60_000 })).kind).toBe('appended')
  })

  it('commits nothing of a change whose entry cannot be appended', async () => {
    const change = { kind: 'agent', id: 'x'.repeat(40_000), op: 'updated' } // larger than an entry may be
    await expect(
      database.withOrg(root, async (tx) => {
        await tx.agent.update({
          where: { org_id_agent_id: { org_id: ORG, agent_id: AGENT } },
          data: { name: 'changed' },
        })
        await ledger.append(tx, root, { event: 'agent.updated', change })
      }),
    ).rejects.toMatchObject({ code: 'payload_too_large' })
    const { rows } = await owner.query('SELECT name FROM agents WHERE agent_id = $1', [AGENT])
    expect(rows).toEqual([{ name: 'a' }])
  })

  it('fails only the bad entry of a batch', async () => {
    const bad = submit({ id: 'not-a-uuid' })
    const outcomes = await Promise.allSettled([submit(), bad, submit(), submit()])
    expect(outcomes.map((outcome) => outcome.status)).toEqual([
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
    ])
  })

  it('answers a repeated append of the same id with the index of its first copy', async () => {
    const ts = Date.now()
    const id = uuidv7(ts, randomBytes(10))
    const first = await submit({ ts, id })
    const before = (await entries()).length
    expect(await submit({ ts, id })).toEqual(first)
    expect(await entries()).toHaveLength(before)
  })

  it('keeps payloads sealed and bound to their entry', async () => {
    const ts = Date.now()
    const sealed = await ledger.sealer.seal(ORG, 'log', 'id', ts, {
      context: { secret: 'canary' },
      metadata: undefined,
    })
    expect(sealed.commitment.fields).toEqual(['context'])
    expect(sealed.body.includes('canary')).toBe(false)
    const { dek_id } = sealed
    const stored = { nonce: sealed.body.subarray(0, 12), body: sealed.body.subarray(12), dek_id }
    expect(await ledger.sealer.open(ORG, 'log', 'id', ts, stored)).toEqual({
      context: { secret: 'canary' },
    })
    await expect(ledger.sealer.open(ORG, 'log', 'other', ts, stored)).rejects.toThrow()
    const again = await ledger.sealer.seal(ORG, 'log', 'id', ts, { context: { secret: 'canary' } })
    expect(again.commitment.c).not.toBe(sealed.commitment.c) // salted: equal payloads cannot be recognised
  })

  it('answers after the entries that a broken connection left in doubt', async () => {
    const before = (await entries()).length
    const appends = Array.from({ length: 20 }, () => submit())
    await owner.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'agentguard_hot' AND datname = $1`,
      [test.name],
    )
    const outcomes = await Promise.all(appends)
    expect(outcomes.every((outcome) => outcome.kind === 'appended')).toBe(true)
    const all = await entries()
    expect(all).toHaveLength(before + 20)
    expect(all.map((row) => Number(row.index))).toEqual(all.map((_, i) => i))
  })
})

describe('the walls of the ledger', () => {
  const attacks = [
    ['UPDATE', 'UPDATE ledger.ledger_entry SET allowed = true'],
    ['DELETE', 'DELETE FROM ledger.ledger_entry'],
    ['TRUNCATE', 'TRUNCATE ledger.ledger_entry'],
    ['UPDATE of payloads', "UPDATE ledger.ledger_payload SET body = ''"],
    ['DELETE of payloads', 'DELETE FROM ledger.ledger_payload'],
    ['TRUNCATE of payloads', 'TRUNCATE ledger.ledger_payload'],
  ] as const
  const leaf = async () => {
    const { rows } = await owner.query<{ name: string }>(
      `SELECT c.relname AS name FROM pg_class c WHERE c.relname LIKE 'ledger\\_entry\\_365\\_%' AND c.relkind = 'r' LIMIT 1`,
    )
    return rows[0]?.name ?? ''
  }

  it.each(attacks)('refuses %s to both application roles', async (_, sql) => {
    for (const url of [test.app_url, test.hot_url]) {
      const client = new Client({ connectionString: url })
      await client.connect()
      await client.query(`SELECT set_config('app.org_id', '${ORG}', false)`)
      await expect(client.query(sql)).rejects.toMatchObject({ code: '42501' })
      await client.end()
    }
  })

  it.each(attacks)(
    'refuses %s even to a superuser, on parent and leaf, also as a replica',
    async (_, sql) => {
      await expect(owner.query(sql)).rejects.toMatchObject({ code: 'AG001' })
      if (sql.includes('ledger_entry')) {
        await expect(owner.query(sql.replace('ledger_entry', await leaf()))).rejects.toMatchObject({
          code: 'AG001',
        })
      }
      await owner.query("SET session_replication_role = 'replica'")
      await expect(owner.query(sql)).rejects.toMatchObject({ code: 'AG001' })
      await owner.query('RESET session_replication_role')
    },
  )

  it('lets a superuser through once the trigger is off: the refusal above is the trigger’s', async () => {
    await owner.query('BEGIN')
    await owner.query('ALTER TABLE ledger.ledger_entry DISABLE TRIGGER append_only')
    const { rowCount } = await owner.query(
      `UPDATE ledger.ledger_entry SET allowed = NOT allowed WHERE org_id = '${ORG}'`,
    )
    await owner.query('ROLLBACK')
    expect(rowCount).toBeGreaterThan(0)
  })

  it('lets no role insert but through the function, nor read a leaf', async () => {
    const client = new Client({ connectionString: test.app_url })
    await client.connect()
    const insert = `INSERT INTO ledger.ledger_entry SELECT * FROM ledger.ledger_entry LIMIT 1`
    await expect(client.query(insert)).rejects.toMatchObject({ code: '42501' })
    await expect(client.query(`SELECT FROM ledger.${await leaf()}`)).rejects.toMatchObject({ code: '42501' })
    await client.end()
  })

  it('shows an organization its own entries only', async () => {
    const client = new Client({ connectionString: test.app_url })
    await client.connect()
    const count = async () =>
      Number((await client.query('SELECT count(*) AS n FROM ledger.ledger_entry')).rows[0]?.n)
    expect(await count()).toBe(0)
    await client.query(`SELECT set_config('app.org_id', 'org_other', false)`)
    expect(await count()).toBe(0)
    await client.query(`SELECT set_config('app.org_id', '${ORG}', false)`)
    expect(await count()).toBeGreaterThan(0)
    await client.end()
  })

  it('lets the control plane append to its own organization only, and the decision path no configuration', async () => {
    const call = (raise: boolean, type: string) =>
      `SELECT * FROM ledger.ledger_append(true, ${raise}, ARRAY['${ORG}'], ARRAY['${uuidv7(Date.now(), randomBytes(10))}']::uuid[],
        ARRAY[${Date.now()}]::bigint[], ARRAY['${type}'], ARRAY[NULL]::text[], ARRAY[NULL]::text[], ARRAY[NULL]::boolean[],
        ARRAY[NULL]::uuid[], ARRAY[1]::bigint[], ARRAY[1]::bigint[], ARRAY[NULL]::bigint[], ARRAY[NULL]::bigint[],
        ARRAY[2], '\\x7b7d', ARRAY[0], '', ARRAY[NULL]::uuid[])`
    const app = new Client({ connectionString: test.app_url })
    const hot = new Client({ connectionString: test.hot_url })
    await Promise.all([app.connect(), hot.connect()])
    await app.query(`SELECT set_config('app.org_id', 'org_other', false)`)
    await expect(app.query(call(false, 'config'))).rejects.toMatchObject({ code: 'AG002' })
    await expect(hot.query(call(false, 'config'))).rejects.toMatchObject({ code: 'AG002' })
    await expect(hot.query(call(true, 'decision'))).rejects.toMatchObject({ code: 'AG002' })
    await Promise.all([app.end(), hot.end()])
  })
})

describe('a batch of the decision path', () => {
  const SECOND = 'agt_0000000000000001'
  let hot: Pool
  let client: PoolClient

  beforeAll(async () => {
    await database.withOrg(root, async (tx) => {
      await tx.agent.create({
        data: { org_id: ORG, agent_id: SECOND, name: 'b', owner_team: 'ops', environment: 'dev' },
      })
      await tx.$executeRaw`INSERT INTO agent_config (org_id, agent_id, version) VALUES (${ORG}, ${SECOND}, 7)`
    })
    hot = new Pool({ connectionString: test.hot_url, max: 1 })
    client = await hot.connect()
  })

  afterAll(async () => {
    client?.release()
    await hot?.end()
  })

  /** Entries that differ in everything in which entries of one batch can. */
  async function mixed(): Promise<AppendRow[]> {
    const { rows } = await owner.query<{ installation: number; organization: number; agent: number }>(
      `SELECT i.version::float8 AS installation, h.org_version::float8 AS organization, c.version::float8 AS agent
       FROM ledger.ledger_head h JOIN agent_config c USING (org_id), installation_config i
       WHERE h.org_id = $1 AND c.agent_id = $2`,
      [ORG, AGENT],
    )
    const [now] = rows
    if (!now) throw new Error('no head')
    return Array.from({ length: 9 }, (_, i) => {
      const ts = Date.now() + i
      const second = i % 3 === 1
      return {
        org_id: ORG,
        id: uuidv7(ts, randomBytes(10)),
        ts,
        type: i % 4 === 2 ? 'action' : 'decision',
        agent_id: second ? SECOND : AGENT,
        action_key: i === 3 ? null : `read:"${'x'.repeat(i)}\\"`,
        allowed: [true, false, null][i % 3] ?? null,
        decision_id: i % 4 === 2 ? uuidv7(ts, randomBytes(10)) : null,
        versions: second ? { ...now, agent: 7 } : now,
        not_after: i === 5 ? ts + 60_000 : null,
        entry: Buffer.from(`{"i":${i},"é":"${'y'.repeat(i * 11)}"}`),
        payload: i % 2 ? { body: randomBytes(40 + i), dek_id: '00000000-0000-7000-8000-000000000000' } : null,
      }
    })
  }

  const stored = async (ids: readonly string[]) =>
    (
      await owner.query<Record<string, unknown>>(
        `SELECT e.ts, e.type, e.agent_id, e.action_key, e.allowed, e.decision_id, e.retention_days, e.entry,
                p.dek_id, p.month, p.nonce || p.body AS body
         FROM ledger.ledger_entry e LEFT JOIN ledger.ledger_payload p USING (org_id, index)
         WHERE e.org_id = $1 AND e.id = ANY ($2::uuid[]) ORDER BY e.index`,
        [ORG, ids],
      )
    ).rows

  it('stores the same at once as when it is judged entry by entry', async () => {
    const calls: (string | undefined)[] = []
    const recording = {
      query: (query: { name?: string }) => {
        calls.push(query.name)
        return client.query(query as never)
      },
    } as unknown as PoolClient
    const rows = await mixed()
    const again = rows.map((row) => ({ ...row, id: uuidv7(row.ts, randomBytes(10)) }))
    const atOnce = await appendBatch(recording, rows, false)
    const judged = await appendBatch(recording, again, true)
    expect(calls).toEqual(['ledger_append_alike', 'ledger_append'])
    expect(judged.map(({ outcome }) => outcome)).toEqual(rows.map(() => 0))
    const first = atOnce[0]?.index ?? -1
    expect(atOnce).toEqual(rows.map((_, i) => ({ outcome: 0, index: first + i })))
    expect(judged[0]?.index).toBe(first + rows.length)
    const of = (batch: readonly AppendRow[]) => stored(batch.map(({ id }) => id))
    expect(await of(rows)).toEqual(await of(again))
    expect(await of(rows)).toHaveLength(rows.length)
  })

  it.each<[string, number, (row: AppendRow) => Partial<AppendRow>]>([
    ['whose agent changed', 2, ({ versions }) => ({ versions: { ...versions, agent: 6 } })],
    ['whose key has expired', 4, () => ({ not_after: Date.now() - 1 })],
    ['whose clock is off', 3, () => ({ ts: Date.now() - 6_000 })],
  ])('leaves out nobody but the entry %s', async (_, outcome, change) => {
    const rows = await mixed()
    const odd = rows.map((row, i) => (i === 4 ? { ...row, ...change(row) } : row))
    const results = await appendBatch(client, odd, false)
    expect(results.map((result) => result.outcome)).toEqual(rows.map((row, i) => (i === 4 ? outcome : 0)))
  })

  it('appends nothing of a batch that was made from an old configuration', async () => {
    const rows = (await mixed()).filter(({ agent_id }) => agent_id === SECOND)
    const before = (await entries()).length
    const old = rows.map((row) => ({ ...row, versions: { ...row.versions, agent: 6 } }))
    const results = await appendBatch(client, old, false)
    expect(results.map(({ outcome }) => outcome)).toEqual(rows.map(() => 2))
    expect(await entries()).toHaveLength(before)
  })

  it('does not wait for a head that somebody holds', async () => {
    await owner.query('BEGIN')
    await owner.query('SELECT FROM ledger.ledger_head WHERE org_id = $1 FOR UPDATE', [ORG])
    const results = await appendBatch(client, await mixed(), false)
    await owner.query('ROLLBACK')
    expect(new Set(results.map(({ outcome }) => outcome))).toEqual(new Set([1]))
  })

  it('is for the decision path only', async () => {
    const app = new Client({ connectionString: test.app_url })
    await app.connect()
    await expect(
      app.query(
        `SELECT ledger.ledger_append_alike('${ORG}', 1, 1, '{}', '{}', null, '{}', '{}', null, '{}', '{}', null, null, '{}', '', null, null, null)`,
      ),
    ).rejects.toMatchObject({ code: '42501' })
    await app.end()
  })
})

it.each([
  ['plain text', Buffer.from('{"a":1}')],
  ['other scripts and backslashes', Buffer.from('{"é\\\\":"\\n 日本 𝄞 \\\\101"}')],
  ['every byte', Buffer.from(Array.from({ length: 256 }, (_, i) => i))],
])('hashes the bytes that PostgreSQL stores: %s', async (what, bytes) => {
  const pool = new Pool({ connectionString: test.owner_url })
  const client = await pool.connect()
  try {
    await client.query(
      `INSERT INTO ledger.ledger_entry (org_id, index, id, retention_days, ts, type, entry)
       VALUES ($1, 0, $2, 365, CURRENT_TIMESTAMP, 'config', $3)`,
      [`stored ${what}`, uuidv7(Date.now(), randomBytes(10)), bytes],
    )
    const [row] = await readStored((select) => select(client, `stored ${what}`, 0, 1))
    if (!row) throw new Error('nothing is stored')
    expect(row.text).toBe(bytes.toString())
    expect(Buffer.from(leafOf(row))).toEqual(Buffer.from(leafHash(sha256, bytes)))
  } finally {
    client.release()
    await pool.end()
  }
})

it.each([
  [
    'uuid',
    binary.uuids(['00000000-0000-7000-8000-0000000000ff', null, 'FFFFFFFF-ffff-7fff-bfff-ffffffffffff']),
  ],
  ['bigint', binary.bigints([0, -1, null, 2 ** 32, -(2 ** 40) - 7, Number.MAX_SAFE_INTEGER])],
  ['integer', binary.integers([1, null, -(2 ** 31), 2 ** 31 - 1])],
  ['boolean', binary.booleans([true, null, false])],
  ['text', binary.texts(['', null, 'NULL', '"\\{},', 'é日𝄞'])],
  ['text', binary.texts([])],
])('sends an array of %s as PostgreSQL reads it', async (type, sent) => {
  const { rows } = await owner.query<{ array: string }>(`SELECT to_json($1::${type}[])::text AS array`, [
    sent,
  ])
  const wanted = {
    uuid: ['00000000-0000-7000-8000-0000000000ff', null, 'ffffffff-ffff-7fff-bfff-ffffffffffff'],
    bigint: [0, -1, null, 2 ** 32, -(2 ** 40) - 7, Number.MAX_SAFE_INTEGER],
    integer: [1, null, -(2 ** 31), 2 ** 31 - 1],
    boolean: [true, null, false],
    text: sent.length > 20 ? ['', null, 'NULL', '"\\{},', 'é日𝄞'] : [],
  }[type]
  expect(JSON.parse(rows[0]?.array ?? '')).toEqual(wanted)
})

it('refuses what is no UUID before it is sent, as PostgreSQL would', () => {
  for (const text of [
    '',
    'x',
    '00000000-0000-7000-8000-0000000000fg',
    '00000000-0000-7000-8000-0000000000ff00',
  ])
    expect(() => binary.uuids([text])).toThrow(expect.objectContaining({ code: '22P02' }))
})

it('looks for no duplicates among entries of which there are none, in this month and in a new one', async () => {
  await owner.query("SELECT ledger.ledger_ensure_partitions('2031-05-01', 0)")
  const { rows } = await owner.query<{ leaf: string; told: number }>(
    `SELECT i.indrelid::regclass::text AS leaf, count(*) FILTER (WHERE c.reloptions = '{deduplicate_items=off}')::integer AS told
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid::regclass::text ~ '^ledger.ledger_entry_[0-9]+_[0-9]+$' GROUP BY 1`,
  )
  expect(rows.map(({ leaf }) => leaf)).toContain('ledger.ledger_entry_365_203105')
  // By index alone, by agent, and of what was denied.
  expect(new Set(rows.map(({ told }) => told))).toEqual(new Set([3]))
})

describe('the check at start', () => {
  const check = async (app: string, hot: string) => {
    const pools = [new Pool({ connectionString: app }), new Pool({ connectionString: hot })] as const
    try {
      await assertDatabase(...pools)
    } finally {
      await Promise.all(pools.map((pool) => pool.end()))
    }
  }

  it('refuses a superuser, also behind SET ROLE', async () => {
    await expect(check(test.owner_url, test.hot_url)).rejects.toThrow(/act as "postgres"[\s\S]*superuser/)
    const disguised = `${test.owner_url}?options=-c%20role%3Dagentguard_app`
    await expect(check(disguised, test.hot_url)).rejects.toThrow(/superuser/)
  })

  it('refuses a tenant table without its policy, and passes when it is back', async () => {
    await owner.query('CREATE TABLE public.forgotten (org_id text)')
    await expect(check(test.app_url, test.hot_url)).rejects.toThrow(
      /public\.forgotten lacks row-level security/,
    )
    await owner.query('DROP TABLE public.forgotten')
    await check(test.app_url, test.hot_url)
  })

  it('refuses a ledger that can be changed or whose trigger is off', async () => {
    await owner.query('GRANT UPDATE ON ledger.ledger_entry TO agentguard_app')
    await expect(check(test.app_url, test.hot_url)).rejects.toThrow(/can be changed/)
    await owner.query('REVOKE UPDATE ON ledger.ledger_entry FROM agentguard_app')
    await owner.query('ALTER TABLE ledger.ledger_entry DISABLE TRIGGER append_only')
    await expect(check(test.app_url, test.hot_url)).rejects.toThrow(/append_only/)
    await owner.query('ALTER TABLE ledger.ledger_entry ENABLE ALWAYS TRIGGER append_only')
  })
})
