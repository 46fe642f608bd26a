import { Client as Postgres } from 'pg'
import { LedgerService } from '../src/ledger/ledger.service.js'
import { rateLimits } from '../src/platform/throttling/limits.js'
import { type RunningApp, startApp } from './support/app.js'
import { type Answer, Client, type ProblemBody } from './support/client.js'
import { until } from './support/proofs.js'

interface Decision {
  readonly allowed: boolean
  readonly code: string
  readonly decision_id: string
  readonly log: { readonly index: number }
}
interface Batch {
  readonly results: readonly Decision[]
}

let app: RunningApp
let owner: Postgres

beforeAll(async () => {
  app = await startApp()
  owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
})

afterAll(async () => {
  await owner?.end()
  await app?.close()
})

async function makeAgent(on = app): Promise<{ agent_id: string; client: Client }> {
  const admin = new Client(on.url, { 'X-Admin-Key': on.admin_key })
  const made = await admin.post<{ agent_id: string; api_key: string }>('/agents', {
    name: 'agent',
    owner_team: 'support',
    environment: 'dev',
  })
  const { agent_id, api_key } = made.body
  await admin.put(`/agents/${agent_id}/policy`, {
    allow: [{ action: 'read:file', conditions: { env: 'dev' } }],
    require_approval: [{ action: 'send:email' }],
  })
  return { agent_id, client: new Client(on.url, { 'X-Agent-Key': api_key }) }
}

const ask = <T = Batch>(client: Client, requests: unknown, headers = {}): Promise<Answer<T>> =>
  client.post<T>('/enforce/batch', { requests }, headers)
/** As a client asks: again, where a busy machine could not record it in its two seconds. */
const answered = <T>(once: () => Promise<Answer<T>>): Promise<Answer<T>> =>
  until(async () => {
    const answer = await once()
    return answer.status === 503 ? null : answer
  })
const reads = (count: number) => Array.from({ length: count }, () => ({ action: 'read:file' }))

/** A head that nobody lets go of is never had: far beyond the deadline of 2 s, and what a loaded machine adds. */
const HELD_MS = 10_000

const logSize = async (): Promise<number> =>
  Number((await owner.query<{ n: string }>('SELECT count(*) AS n FROM ledger.ledger_entry')).rows[0]?.n)

const commits = async (ids: readonly string[]): Promise<number> =>
  Number(
    (
      await owner.query<{ n: string }>(
        'SELECT count(DISTINCT xmin::text) AS n FROM ledger.ledger_entry WHERE id = ANY ($1::uuid[])',
        [ids],
      )
    ).rows[0]?.n,
  )

describe('POST /enforce/batch', () => {
  it('answers every item as /enforce would, in order, at indexes that follow each other, from one commit', async () => {
    const { client } = await makeAgent()
    const actions = ['read:file', 'drop:table', 'send:email', 'read:file']
    const { status, body } = await ask(
      client,
      actions.map((action, n) => ({ action, resource: `thing-${n}`, context: { n } })),
    )
    expect(status).toBe(200)
    const first = body.results[0]?.log.index ?? 0
    expect(body.results.map(({ code, log }) => [code, log.index])).toEqual([
      ['allow_rule', first],
      ['default_deny', first + 1],
      ['approval_rule', first + 2],
      ['allow_rule', first + 4], // behind the entry of the approval that the third asks for
    ])
    const alone = await client.post<Decision>('/enforce', {
      action: 'send:email',
      resource: 'thing-2',
      context: { n: 2 },
    })
    const { decision_id, log } = body.results[2] ?? { decision_id: '', log: { index: 0 } }
    expect({ ...alone.body, decision_id, log }).toEqual(body.results[2])
    const ids = body.results.map((result) => result.decision_id)
    expect(await commits(ids)).toBe(1)
    const { rows } = await owner.query<{ id: string; entry: Buffer }>(
      'SELECT id, entry FROM ledger.ledger_entry WHERE id = ANY ($1::uuid[]) ORDER BY index',
      [ids],
    )
    expect(rows.map((row) => row.id)).toEqual(ids)
    expect(
      rows.map((row) => (JSON.parse(String(row.entry)) as { resource: { raw: string } }).resource.raw),
    ).toEqual(actions.map((_, n) => `thing-${n}`))
  })

  it('keeps batches whole and the log dense when many arrive at once among single requests', async () => {
    const { client } = await makeAgent()
    const other = (await makeAgent()).client
    const [batches, singles] = await Promise.all([
      Promise.all(Array.from({ length: 12 }, () => answered(() => ask(client, reads(60))))),
      Promise.all(
        Array.from({ length: 60 }, () =>
          answered(() => other.post<Decision>('/enforce', { action: 'read:file' })),
        ),
      ),
    ])
    expect([...batches, ...singles].map(({ status }) => status)).toEqual(Array(72).fill(200))
    for (const { body } of batches) {
      const first = body.results[0]?.log.index ?? 0
      expect(body.results.map(({ log }) => log.index)).toEqual(reads(60).map((_, at) => first + at))
      expect(await commits(body.results.map((result) => result.decision_id))).toBe(1)
    }
    const { rows } = await owner.query<{ gaps: string }>(
      `SELECT max(index) + 1 - count(*) AS gaps FROM ledger.ledger_entry WHERE org_id = 'org_default'`,
    )
    expect(rows[0]?.gaps).toBe('0')
  })

  it('takes 1 to 100 requests', async () => {
    const { client } = await makeAgent()
    expect((await ask(client, reads(100))).body.results).toHaveLength(100)
    expect((await ask(client, reads(1))).body.results).toHaveLength(1)
    const before = await logSize()
    for (const requests of [[], reads(101), 'read:file', {}, undefined, [null], ['read'], [[]]]) {
      const refused = await ask<ProblemBody>(client, requests)
      expect([requests, refused.status]).toEqual([requests, 422])
      expect(refused.body.errors).toEqual([
        { path: 'requests', message: 'must be a list of 1 to 100 JSON objects' },
      ])
    }
    expect(await logSize()).toBe(before)
  })

  it('refuses all when one item cannot be read, with its path, and records nothing', async () => {
    const { client } = await makeAgent()
    const before = await logSize()
    const shape = await ask<ProblemBody>(client, [
      { action: 'read' },
      { action: 1 },
      { action: 'read', extra: 1 },
      { action: 'read', arguments: [] },
    ])
    expect(shape.status).toBe(422)
    expect(shape.body.errors?.map(({ path }) => path)).toEqual([
      'requests[1].action',
      'requests[2].extra',
      'requests[3].arguments',
    ])
    const meaning = await ask<ProblemBody>(client, [
      { action: 'read' },
      { action: 'read:*' },
      { action: 'read', resource: 'x'.repeat(2049) },
    ])
    expect(meaning.status).toBe(422)
    expect(meaning.body.errors?.map(({ path }) => path)).toEqual([
      'requests[1].action',
      'requests[2].resource',
    ])
    expect(await logSize()).toBe(before)
  })

  it('keeps what is in arguments and context as it was sent', async () => {
    const { client } = await makeAgent()
    const odd = { toString: 'mine', list: [{ a: [], valueOf: null }] }
    const { status } = await ask(client, [{ action: 'read:file', context: odd }])
    expect(status).toBe(200)
    const logged = await client.get('/logs?limit=1')
    expect(JSON.stringify(logged.body)).toContain(JSON.stringify(odd.list))
    expect(JSON.stringify(logged.body)).toContain('"toString":"mine"')
  })

  it('takes 64 KiB of payload an item, and 1 MB in all', async () => {
    const { client } = await makeAgent()
    const before = await logSize()
    const large = { action: 'read:file', arguments: { text: 'x'.repeat(63 * 1024) } }
    const tooLarge = { action: 'read:file', arguments: { text: 'x'.repeat(65 * 1024) } }
    const item = await ask<ProblemBody>(client, [large, tooLarge])
    expect([item.status, item.body.detail]).toEqual([
      413,
      'requests[1]: arguments and context may have 64 KiB together.',
    ])
    expect((await ask<ProblemBody>(client, Array(17).fill(large))).status).toBe(413)
    expect(await logSize()).toBe(before)
    const { status, body } = await ask(client, Array(15).fill(large))
    expect([status, body.results.length]).toEqual([200, 15])
    const payloads = await owner.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM ledger.ledger_payload WHERE org_id = 'org_default' AND index >= $1 AND octet_length(body) > 64000`,
      [body.results[0]?.log.index],
    )
    expect(payloads.rows[0]?.n).toBe(15)
  })

  it('needs an agent key with decisions:create; Idempotency-Key changes nothing, as on /enforce', async () => {
    const { client } = await makeAgent()
    const admin = new Client(app.url, { 'X-Admin-Key': app.admin_key })
    expect((await ask(new Client(app.url), reads(1))).status).toBe(401)
    expect((await ask(admin, reads(1))).status).toBe(403)
    const key = { 'Idempotency-Key': 'the-same' }
    const [first, second] = [await ask(client, reads(2), key), await ask(client, reads(2), key)]
    expect([first.status, second.status]).toEqual([200, 200])
    expect(first.body.results[0]?.decision_id).not.toBe(second.body.results[0]?.decision_id)
  })
})

describe('a batch that cannot be committed as it was decided', () => {
  const changeBehindItsBack = async (agent_id: string, sql: string) => {
    await owner.query('BEGIN')
    await owner.query(
      'UPDATE agent_config SET version = version + 1, changed_xid = pg_current_xact_id() WHERE agent_id = $1',
      [agent_id],
    )
    await owner.query(sql, [agent_id])
    await owner.query('COMMIT')
  }

  it('is decided again as a whole from the new configuration', async () => {
    const { agent_id, client } = await makeAgent()
    expect((await ask(client, reads(3))).body.results.map(({ allowed }) => allowed)).toEqual([
      true,
      true,
      true,
    ])
    const before = await logSize()
    await changeBehindItsBack(agent_id, `UPDATE agents SET environment = 'prod' WHERE agent_id = $1`)
    const { body } = await ask(client, reads(3))
    expect(body.results.map(({ allowed }) => allowed)).toEqual([false, false, false])
    expect(await logSize()).toBe(before + 3)
    expect(await commits(body.results.map((result) => result.decision_id))).toBe(1)
  })

  it('is a 401 when the key was revoked, and a 503 when the configuration never stands still', async () => {
    const { agent_id, client } = await makeAgent()
    expect((await ask(client, reads(2))).status).toBe(200)
    const before = await logSize()
    const submit = jest.spyOn(app.app.get(LedgerService), 'submit').mockResolvedValue({ kind: 'stale' })
    const stale = await ask<ProblemBody>(client, reads(2))
    submit.mockRestore()
    expect([stale.status, stale.body.code, stale.headers.get('Retry-After')]).toEqual([
      503,
      'decision_stale',
      '1',
    ])
    await changeBehindItsBack(agent_id, 'UPDATE agent_keys SET revoked_at = now() WHERE agent_id = $1')
    expect((await ask(client, reads(2))).status).toBe(401)
    expect(await logSize()).toBe(before)
  })

  it('fails alone and whole when PostgreSQL refuses one of its entries', async () => {
    const { client } = await makeAgent()
    // Stands for an entry nobody knows how to make: the trigger refuses it as bad data (class 22).
    await owner.query(`
      CREATE FUNCTION public.poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.action_key = 'poison:well' THEN RAISE EXCEPTION 'poison' USING ERRCODE = '22000'; END IF;
        RETURN NEW;
      END $$;
      CREATE TRIGGER poison BEFORE INSERT ON ledger.ledger_entry FOR EACH ROW EXECUTE FUNCTION public.poison()`)
    try {
      const before = await logSize()
      const poisoned = [...reads(2), { action: 'poison:well' }, ...reads(2)]
      const answers = await Promise.all([
        ask(client, reads(5)),
        ask<ProblemBody>(client, poisoned),
        ask(client, reads(5)),
        client.post('/enforce', { action: 'read:file' }),
      ])
      expect(answers.map(({ status }) => status)).toEqual([200, 503, 200, 200])
      expect(await logSize()).toBe(before + 11)
    } finally {
      await owner.query('DROP TRIGGER poison ON ledger.ledger_entry; DROP FUNCTION public.poison()')
    }
  })

  it('is a 503 with Retry-After within the deadline while the head of its log is held', async () => {
    const { client } = await makeAgent()
    expect((await ask(client, reads(2))).status).toBe(200)
    const holder = new Postgres({ connectionString: app.database.owner_url })
    await holder.connect()
    await holder.query(`BEGIN; SELECT FROM ledger.ledger_head WHERE org_id = 'org_default' FOR UPDATE`)
    const before = await logSize()
    const began = performance.now()
    const late = await ask<ProblemBody>(client, reads(2))
    const took_ms = performance.now() - began
    await holder.query('ROLLBACK')
    await holder.end()
    expect([late.status, late.body.code, late.headers.get('Retry-After')]).toEqual([
      503,
      'ledger_unavailable',
      '1',
    ])
    expect(took_ms).toBeLessThan(HELD_MS)
    const after = await ask(client, reads(1))
    expect(after.status).toBe(200)
    expect([0, 2]).toContain((await logSize()) - before - 1) // unknown to its caller, but never half
  })
})

it('is refused before its body is read while its organization has no room for a batch', async () => {
  const { client } = await makeAgent()
  expect((await ask(client, reads(1))).status).toBe(200)
  const holder = new Postgres({ connectionString: app.database.owner_url })
  await holder.connect()
  await holder.query(`BEGIN; SELECT FROM ledger.ledger_head WHERE org_id = 'org_default' FOR UPDATE`)
  const unreadable = () => ask<ProblemBody>(client, 'no list')
  expect((await unreadable()).status).toBe(422)
  const waiting = Array.from({ length: 24 }, () => ask<ProblemBody>(client, reads(100)))
  const refused = await until(async () => {
    const answer = await unreadable()
    if (answer.status !== 422) return answer
    // On a slow machine the first have been given up before the last are there: they ask again.
    waiting.push(ask<ProblemBody>(client, reads(100)))
    return null
  })
  await holder.query('ROLLBACK')
  await holder.end()
  expect([refused.status, refused.body.code, refused.headers.get('Retry-After')]).toEqual([
    503,
    'ledger_busy',
    '1',
  ])
  await Promise.all(waiting)
  expect((await answered(() => ask(client, reads(100)))).status).toBe(200)
})

describe('the limit', () => {
  it('counts every item, and refuses a batch that does not fit without using it up', async () => {
    const limited = await startApp({
      settings: {
        rate_limit_enabled: true,
        rate_limits: rateLimits({
          enforce: [{ name: 'enforce', limit: 10, seconds: 60 }],
          admin_create: [{ name: 'admin_create', limit: 100, seconds: 60 }],
        }),
      },
    })
    try {
      const { client } = await makeAgent(limited)
      const left = (answer: Answer<unknown>) => [answer.status, answer.headers.get('X-RateLimit-Remaining')]
      expect(left(await ask(client, reads(6)))).toEqual([200, '4'])
      const refused = await ask<ProblemBody>(client, reads(5))
      expect(left(refused)).toEqual([429, '3'])
      expect(refused.body.code).toBe('rate_limit_exceeded')
      expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(0)
      expect(left(await ask(client, reads(3)))).toEqual([200, '0'])
      expect(left(await client.post('/enforce', { action: 'read:file' }))).toEqual([429, '0'])
    } finally {
      await limited.close()
    }
  })
})
