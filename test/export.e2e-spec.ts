import { request as httpRequest } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { BundleLine, EntryLine } from '../src/core/ledger/bundle.js'
import { parseVerifierKey, type VerifierKey } from '../src/core/ledger/note.js'
import { BundleVerifier, type Verdict, type VerifyOptions } from '../src/core/ledger/verify.js'
import type { LogEntry } from '../src/logs/logs.dto.js'
import { Database } from '../src/platform/database/database.service.js'
import { TOOLS } from './support/bundle.js'
import { Client } from './support/client.js'
import { makeAgent, type ProvenApp, startProvenApp } from './support/proofs.js'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const { withOrgClient } = Database.prototype

/** Bytes of this process that are in use, without what is garbage. */
function heapUsed(): number {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

let proven: ProvenApp
let key: VerifierKey

const linesOf = (text: string): string[] => text.split('\n').slice(0, -1)
const parsed = (text: string): BundleLine[] => linesOf(text).map((line) => JSON.parse(line) as BundleLine)
const entriesOf = (text: string): EntryLine[] => parsed(text).filter((line) => line.kind === 'entry')

function verdictOf(text: string, options: VerifyOptions = { keys: [key] }): Verdict {
  const verifier = new BundleVerifier(TOOLS, options)
  for (const line of linesOf(text)) verifier.line(line)
  return verifier.finish()
}

async function exported(client: Client, query = ''): Promise<string> {
  const answer = await client.get(`/logs/export${query}`)
  expect([answer.status, answer.body]).toEqual([200, answer.body])
  return answer.text
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

describe('GET /logs/export?format=ndjson', () => {
  it('is a bundle that leads to the signed root, with payloads, policies and keys', async () => {
    await proven.decide(600)
    await proven.agent.post('/logs', {
      action: 'read',
      allowed: true,
      result: 'success',
      metadata: { ms: 3 },
    })
    await proven.agent.post('/enforce', { action: 'read', arguments: { to: 'ü' }, context: { n: 1.5 } })
    await proven.root.put(`/agents/${proven.agent_id}/policy`, {
      allow: [{ action: 'read' }, { action: 'list' }],
    })
    await proven.agent.post('/enforce', { action: 'list' })
    const { size, root } = await proven.signed()
    const answer = await proven.root.get('/logs/export')
    expect(answer.headers.get('Content-Type')).toBe('application/x-ndjson')
    expect(answer.headers.get('Content-Disposition')).toMatch(
      /^attachment; filename="agentguard-org_default-\d{8}T\d{6}\.ndjson"$/,
    )
    const verdict = verdictOf(answer.text)
    expect(verdict.findings).toEqual([])
    expect(verdict).toMatchObject({ valid: true, entries: size, unsigned: 0, notes: [], policies: 2 })
    expect(verdict.checkpoint).toMatchObject({ size, root: Buffer.from(root).toString('base64') })
    const [manifest, ...rest] = parsed(answer.text)
    expect(manifest).toMatchObject({ kind: 'manifest', first: 0, end: size, org_id: 'org_default' })
    expect(rest[rest.length - 1]).toMatchObject({ kind: 'end', entries: size })
  })

  it('is told from one in which the database was changed, at the entry', async () => {
    const text = await exported(proven.root)
    const { owner } = proven
    const [victim] = entriesOf(text).filter(({ columns }) => columns.type === 'decision')
    const index = victim?.index ?? 0
    const attack = (sql: string) =>
      owner.query(`BEGIN; SET LOCAL session_replication_role = replica;
        DO $$ DECLARE t text; BEGIN FOR t IN SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
          WHERE schemaname = 'ledger' AND tablename LIKE 'ledger\\_entry%' OR tablename LIKE 'ledger\\_payload%'
          LOOP EXECUTE format('ALTER TABLE %s DISABLE TRIGGER ALL', t); END LOOP; END $$;
        ${sql}; COMMIT`)
    const was = (
      await owner.query(
        `SELECT entry, allowed FROM ledger.ledger_entry WHERE org_id = 'org_default' AND index = ${index}`,
      )
    ).rows[0] as { entry: Buffer; allowed: boolean }
    const restore = () =>
      owner.query(
        `UPDATE ledger.ledger_entry SET entry = $1, allowed = $2 WHERE org_id = 'org_default' AND index = ${index}`,
        [was.entry, was.allowed],
      )

    await attack(
      `UPDATE ledger.ledger_entry SET entry = convert_to(replace(convert_from(entry, 'UTF8'), '"effect"', '"effecT"'), 'UTF8') WHERE org_id = 'org_default' AND index = ${index}`,
    )
    expect(verdictOf(await exported(proven.root)).findings[0]).toMatchObject({ kind: 'entry_changed', index })
    await restore()
    await attack(
      `UPDATE ledger.ledger_entry SET entry = '\\x00ff' WHERE org_id = 'org_default' AND index = ${index}`,
    )
    expect(verdictOf(await exported(proven.root)).findings[0]).toMatchObject({ kind: 'entry_changed', index })
    await restore()
    await attack(
      `UPDATE ledger.ledger_entry SET allowed = NOT allowed WHERE org_id = 'org_default' AND index = ${index}`,
    )
    expect(verdictOf(await exported(proven.root)).findings[0]).toMatchObject({
      kind: 'projection',
      index,
      field: 'columns.allowed',
    })
    await restore()
    expect(verdictOf(await exported(proven.root)).findings).toEqual([])
    // Last, because what was sealed is gone for good.
    const sealed = entriesOf(text).filter(({ payload, index: at }) => payload && at > index)
    const { index: damaged } = sealed[0] ?? { index: -1 }
    const { index: erased } = sealed[sealed.length - 1] ?? { index: -1 }
    await attack(
      `UPDATE ledger.ledger_payload SET body = set_byte(body, 0, get_byte(body, 0) # 1) WHERE org_id = 'org_default' AND index = ${damaged}`,
    )
    await attack(`DELETE FROM ledger.ledger_payload WHERE org_id = 'org_default' AND index = ${erased}`)
    const verdict = verdictOf(await exported(proven.root))
    expect(verdict.findings).toEqual([
      expect.objectContaining({ kind: 'payload', index: damaged }),
      expect.objectContaining({ kind: 'unrecorded_erasure', index: erased }),
    ])
    expect(verdict.redacted).toBe(1)
  })

  it('holds every entry of a span of time, begins where it begins, and still leads to the signed root', async () => {
    const org = await newOrganization('span')
    const made = await makeAgent(org.root, 'span')
    const ask = async (count: number) => {
      for (let i = 0; i < count; i++) await made.agent.post('/enforce', { action: 'read', resource: `r${i}` })
    }
    const newest = async () => (await org.root.get<LogEntry[]>('/logs?limit=1')).body[0]
    await ask(20)
    // By the clock of the log, which follows the database's and not this process's.
    const last = await newest()
    const start = new Date(Date.parse(last?.timestamp ?? '') + 1)
    await sleep(5)
    await ask(300)
    const count = ((await newest())?.index ?? 0) - (last?.index ?? 0)
    expect(count).toBeGreaterThanOrEqual(250) // a busy machine may have refused some (503)
    await signed(org.root)
    const text = await exported(org.root, `?start_time=${start.toISOString()}`)
    const verdict = verdictOf(text)
    expect(verdict.findings).toEqual([])
    expect(verdict).toMatchObject({ entries: count, unsigned: 0, notes: [] })
    expect(verdict.first).toBe(verdict.end - count)
    expect(verdict.checkpoint?.size).toBe(verdict.end)

    const early = await exported(org.root, `?end_time=${start.toISOString()}`)
    expect(verdictOf(early, {})).toMatchObject({ valid: true, first: 0, end: verdict.first })
    const none = await exported(org.root, '?end_time=2020-01-01T00:00:00Z')
    expect(verdictOf(none, {})).toMatchObject({ valid: true, entries: 0 })
    const later = await exported(org.root, '?start_time=2099-01-01T00:00:00Z')
    expect(verdictOf(later, {})).toMatchObject({ valid: true, entries: 0 })
  })

  it('is whole and valid while entries are added', async () => {
    let stop = false
    const adding = (async () => {
      while (!stop) await proven.decide(50)
    })()
    try {
      for (let i = 0; i < 5; i++) {
        const verdict = verdictOf(await exported(proven.root), {})
        const others = verdict.findings.filter(
          ({ kind }) => kind !== 'payload' && kind !== 'unrecorded_erasure',
        )
        expect(others).toEqual([])
        expect(verdict.entries).toBeGreaterThan(600)
      }
    } finally {
      stop = true
      await adding
    }
  })

  it('never holds anything of another organization', async () => {
    const [a, b] = [await newOrganization('canary-a'), await newOrganization('canary-b')]
    for (const { root } of [a, b]) {
      const { agent } = await makeAgent(root, 'same')
      await agent.post('/enforce', { action: 'read', context: { of: root.headers['X-Org-ID'] } })
    }
    for (const [mine, other] of [
      [a, b],
      [b, a],
    ] as const) {
      for (const format of ['ndjson', 'json', 'csv']) {
        const text = await exported(mine.root, `?format=${format}`)
        expect(text).toContain(mine.org_id)
        expect(text).not.toContain(other.org_id)
      }
    }
  })

  it('needs the right to read configuration entries; other formats then leave these out', async () => {
    const { root } = await newOrganization('roles')
    await makeAgent(root, 'roles').then(({ agent }) => agent.post('/enforce', { action: 'read' }))
    const make = async (role: string) => {
      const { body } = await root.post<{ api_key: string }>('/admin-keys', { name: role, role })
      return new Client(proven.app.url, { 'X-Admin-Key': body.api_key })
    }
    const [auditor, operator] = [await make('auditor'), await make('operator')]
    expect((await auditor.get('/logs/export')).status).toBe(200)
    const refused = await operator.get('/logs/export')
    expect([refused.status, refused.body.code]).toEqual([403, 'forbidden'])
    const typesFor = async (client: Client) =>
      new Set((JSON.parse(await exported(client, '?format=json')) as LogEntry[]).map(({ type }) => type))
    expect(await typesFor(operator)).toEqual(new Set(['decision']))
    expect(await typesFor(auditor)).toEqual(new Set(['decision', 'config']))
    expect((await proven.agent.get('/logs/export')).status).toBe(403)
    expect((await root.get('/logs/export?format=xml')).body.errors?.[0]?.path).toBe('format')
  })
})

describe('GET /logs/export as json and csv', () => {
  it('holds what GET /logs shows, oldest first', async () => {
    const { root } = await newOrganization('shown')
    const { agent } = await makeAgent(root, 'shown')
    for (let i = 0; i < 5; i++)
      await agent.post('/enforce', { action: 'read', resource: `r${i}`, context: { i } })
    const listed = await root.get<LogEntry[]>('/logs?type=decision,action,config')
    const answer = await root.get<LogEntry[]>('/logs/export?format=json')
    expect(answer.body).toEqual(listed.body.toReversed())
    const empty = await newOrganization('empty')
    expect(JSON.parse(await exported(empty.root, '?format=json&end_time=2020-01-01T00:00:00Z'))).toEqual([])
  })

  it('writes no cell that a spreadsheet runs as a formula, and quotes as RFC 4180 says', async () => {
    const { root } = await newOrganization('csv')
    const { agent } = await makeAgent(root, 'csv')
    const attacks = ['=cmd|calc', '+1', '-1', '@SUM(A1)', '＝1']
    for (const resource of [...attacks, 'say "hi", you'])
      await agent.post('/enforce', { action: 'read', resource })
    const answer = await root.get('/logs/export?format=csv')
    expect(answer.headers.get('Content-Type')).toBe('text/csv; charset=utf-8; header=present')
    const rows = answer.text.split('\r\n')
    expect(rows[0]?.startsWith('log_id,index,type,event,')).toBe(true)
    for (const attack of attacks) expect(answer.text).toContain(`,'${attack},`)
    expect(answer.text).toContain(',"say ""hi"", you",')
    expect(answer.text).not.toMatch(/(^|,|\r\n)"?[=+\-@\t]/)
    expect(rows.length).toBe(1 + entriesOf(await exported(root)).length + 1)
  })
})

describe('a large export', () => {
  const COUNT = 20_000

  beforeAll(async () => {
    // Entries as the service writes them, without 20,000 requests: the newest decision again and again.
    await proven.owner.query(`
      ALTER TABLE ledger.ledger_entry DISABLE TRIGGER ALL;
      INSERT INTO ledger.ledger_entry (org_id, index, id, retention_days, ts, type, agent_id, action_key, allowed, decision_id, entry)
      SELECT e.org_id, h.size + n - 1, (left(e.id::text, 24) || lpad(to_hex(n), 12, '0'))::uuid, e.retention_days, e.ts, e.type, e.agent_id,
             e.action_key, e.allowed, e.decision_id,
             convert_to(replace(convert_from(e.entry, 'UTF8'), e.id::text, left(e.id::text, 24) || lpad(to_hex(n), 12, '0')), 'UTF8')
      FROM ledger.ledger_head h
      CROSS JOIN LATERAL (SELECT * FROM ledger.ledger_entry WHERE org_id = h.org_id AND type = 'decision' AND index > 20 ORDER BY index DESC LIMIT 1) e
      CROSS JOIN generate_series(1, ${COUNT}) AS n
      WHERE h.org_id = 'org_default';
      UPDATE ledger.ledger_head SET size = size + ${COUNT} WHERE org_id = 'org_default'`)
  })

  it('takes no memory that grows with it, and waits for a slow reader', async () => {
    const { promise: ended, resolve } = deferred()
    let bytes = 0
    let most = 0
    let looks = 0
    const before = heapUsed()
    const started = performance.now()
    httpRequest(
      `${proven.app.url}/logs/export`,
      { headers: { 'X-Admin-Key': proven.app.admin_key } },
      (response) => {
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length
          if (bytes < (looks + 1) * 4e6) return
          looks++
          most = Math.max(most, heapUsed())
        })
        response.on('close', resolve)
      },
    ).end()
    await ended
    const seconds = (performance.now() - started) / 1000
    const grown = (most - before) / 1024 / 1024
    process.stdout.write(
      `export: ${COUNT} entries, ${(bytes / 1e6).toFixed(1)} MB in ${seconds.toFixed(1)} s, heap at most +${grown.toFixed(0)} MB\n`,
    )
    expect(bytes).toBeGreaterThan(COUNT * 1000)
    // What is in use while the file goes by: less than a quarter of it, and the same for any number of entries.
    expect(looks).toBeGreaterThan(4)
    expect(grown).toBeLessThan(bytes / 1024 / 1024 / 4)
  })

  it('is whole when the database ends sessions while it reads', async () => {
    let ended = 0
    let reads = 0
    const spy = jest.spyOn(Database.prototype, 'withOrgClient').mockImplementation(function (
      this: Database,
      scope,
      work,
    ) {
      return withOrgClient.call(this, scope, async (client) => {
        const value = await work(client)
        // What was read is lost with the transaction.
        if (reads++ % 8 === 1) {
          ended++
          await client.query('SELECT pg_terminate_backend(pg_backend_pid())')
        }
        return value
      })
    })
    const text = await exported(proven.root).finally(() => spy.mockRestore())
    expect(ended).toBeGreaterThan(5)
    const lines = parsed(text)
    const entries = lines.filter((line) => line.kind === 'entry')
    expect(entries.map(({ index }) => index)).toEqual(entries.map((_, at) => at))
    expect(lines.at(-1)).toMatchObject({ kind: 'end', entries: entries.length, lines: lines.length })
    const documents = lines.filter((line) => line.kind === 'policy').map(({ sha256 }) => sha256)
    expect([documents.length, new Set(documents).size]).toEqual([documents.length, documents.length])
    expect(documents.length).toBeGreaterThan(0)
  })

  it('stops reading the database when the client goes away', async () => {
    await proven.signed() // the workers behind the log read it too, until it is signed
    const database = proven.app.app.get(Database)
    let reads = 0
    const spy = jest.spyOn(database, 'withOrgClient').mockImplementation(function (
      this: Database,
      scope,
      work,
    ) {
      reads++
      return Database.prototype.withOrgClient.call(this, scope, work)
    })
    const { promise: gone, resolve } = deferred()
    const asked = httpRequest(
      `${proven.app.url}/logs/export`,
      { headers: { 'X-Admin-Key': proven.app.admin_key } },
      (response) => {
        response.once('data', () => {
          response.destroy()
          resolve()
        })
      },
    )
    asked.on('error', () => undefined)
    asked.end()
    await gone
    // Until it reads no more: it may hear late that the client has gone.
    for (let before = -1; before !== reads; await sleep(500)) before = reads
    // Chunks of 256 entries, most of them never read.
    expect(reads).toBeLessThan(COUNT / 256)
    spy.mockRestore()
  })
})

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined
  const promise = new Promise<void>((settle) => (resolve = settle))
  return { promise, resolve }
}

async function newOrganization(name: string): Promise<{ org_id: string; root: Client }> {
  const { org_id } = (await proven.root.post<{ org_id: string }>('/organizations', { name })).body
  return { org_id, root: proven.root.with({ ...proven.root.headers, 'X-Org-ID': org_id }) }
}

/** Waits until the newest checkpoint of the organization covers everything. */
async function signed(root: Client): Promise<void> {
  const until = Date.now() + 60_000
  while (Date.now() < until) {
    const end = parsed(await exported(root, '')).find((line) => line.kind === 'manifest')?.end
    const { text, status } = await root.get('/ledger/checkpoint')
    if (status === 200 && Number(text.split('\n')[1]) === end) return
    await sleep(100)
  }
  throw new Error('the log was not signed within 60 s')
}
