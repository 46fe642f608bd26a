import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Client } from 'pg'
import { parse } from 'yaml'
import type { Entry } from '../src/core/ledger/entry.js'
import { LedgerService } from '../src/ledger/ledger.service.js'
import { Clock } from '../src/platform/clock/clock.js'
import { SnapshotsWorker } from '../src/snapshots/snapshots.worker.js'
import { type RunningApp, startApp } from './support/app.js'

let app: RunningApp
let owner: Client

beforeAll(async () => {
  app = await startApp()
  owner = new Client({ connectionString: app.database.owner_url })
  await owner.connect()
})

afterAll(async () => {
  await owner?.end()
  await app?.close()
})

interface Answer {
  status: number
  body: Record<string, unknown>
}

async function call(
  method: string,
  route: string,
  headers: Record<string, string>,
  body?: unknown,
): Promise<Answer> {
  const response = await fetch(app.url + route, {
    method,
    headers: { 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  return { status: response.status, body: text ? (JSON.parse(text) as Record<string, unknown>) : {} }
}

const admin = () => ({ 'x-admin-key': app.admin_key })

interface TestAgent {
  agent_id: string
  key_id: string
  headers: Record<string, string>
}

async function makeAgent(environment = 'dev', owner_team = 'support'): Promise<TestAgent> {
  const { body } = await call('POST', '/agents', admin(), { name: 'agent', owner_team, environment })
  return {
    agent_id: String(body.agent_id),
    key_id: String(body.key_id),
    headers: { 'x-agent-key': String(body.api_key) },
  }
}

const putPolicy = (agent: TestAgent, policy: unknown) =>
  call('PUT', `/agents/${agent.agent_id}/policy`, admin(), policy)
const enforce = (agent: TestAgent, request: unknown) => call('POST', '/enforce', agent.headers, request)

const lastEntry = async (): Promise<Entry> => {
  const { rows } = await owner.query<{ entry: Buffer }>(
    `SELECT entry FROM ledger.ledger_entry WHERE org_id = 'org_default' ORDER BY index DESC LIMIT 1`,
  )
  return JSON.parse(String(rows[0]?.entry)) as Entry
}
const logSize = async () =>
  Number(
    (await owner.query(`SELECT count(*) AS n FROM ledger.ledger_entry WHERE org_id = 'org_default'`)).rows[0]
      ?.n,
  )

describe('POST /enforce', () => {
  it('answers in the documented shape, and its entry holds what it was decided from', async () => {
    const agent = await makeAgent('prod')
    await putPolicy(agent, { allow: [{ action: 'read:file', resource: 's3://docs/*' }] })
    const { status, body } = await enforce(agent, {
      action: 'Read File',
      resource: 's3://docs/a.txt',
      arguments: { page: 1 },
      context: { why: 'canary' },
    })
    expect(status).toBe(200)
    const entry = await lastEntry()
    expect(body).toEqual({
      allowed: true,
      status: 'allowed',
      reason: 'Matched allow rule: read:file on s3://docs/*',
      code: 'allow_rule',
      decision_id: entry.id,
      matched_rule: expect.objectContaining({
        scope: 'agent',
        version: 1,
        list: 'allow',
        index: 0,
        action: 'read:file',
        resource: 's3://docs/*',
      }) as unknown,
      policy_version: 1,
      log: { index: (await logSize()) - 1 },
    })
    expect(entry).toMatchObject({
      v: 1,
      type: 'decision',
      event: 'decision.made',
      actor: { kind: 'agent', id: agent.agent_id, key_id: agent.key_id },
      subject: { agent_id: agent.agent_id, environment: 'prod', team: 'support' },
      engine: { semantics: 1, stages: { kill: 1, rules: 1 } },
      action: { raw: 'Read File', key: 'read:file' },
      resource: { raw: 's3://docs/a.txt', key: 's3://docs/a.txt' },
      decision: { effect: 'allow', code: 'allow_rule' },
      policies: [{ scope: 'agent', version: 1 }],
      payload: { fields: ['arguments', 'context'] },
    })
    expect(JSON.stringify(entry)).not.toContain('canary')
  })

  it('denies by default: without a policy, and without a matching rule', async () => {
    const agent = await makeAgent()
    expect((await enforce(agent, { action: 'read:file' })).body).toMatchObject({
      allowed: false,
      status: 'denied',
      code: 'no_policy',
      reason: 'No policy defined for agent (default deny)',
      matched_rule: null,
      policy_version: null,
    })
    await putPolicy(agent, { allow: [{ action: 'read:file' }] })
    expect((await enforce(agent, { action: 'write:file' })).body).toMatchObject({
      allowed: false,
      code: 'default_deny',
      reason: 'No matching allow rule (default deny)',
    })
  })

  it('answers pending, and not allowed, where a person must decide', async () => {
    const agent = await makeAgent()
    await putPolicy(agent, { allow: [{ action: '*' }], require_approval: [{ action: 'send:email' }] })
    expect((await enforce(agent, { action: 'send email', resource: 'a@b.c' })).body).toMatchObject({
      allowed: false,
      status: 'pending',
      code: 'approval_rule',
      reason: 'Matched approval rule: send:email on *',
    })
  })

  it.each([
    ['', 'action'],
    ['   ', 'action'],
    ['-', 'action'],
    ['read:*', 'action'],
    ['lire:été', 'action'],
    ['x'.repeat(257), 'action'],
  ])('refuses the unreadable action %j with its path and records nothing', async (action, at) => {
    const agent = await makeAgent()
    const before = await logSize()
    const { status, body } = await enforce(agent, { action })
    expect(status).toBe(422)
    expect(body).toMatchObject({ code: 'validation_failed', errors: [{ path: at }] })
    expect(await logSize()).toBe(before)
  })

  it('refuses arguments and context above 64 KiB together', async () => {
    const agent = await makeAgent()
    const half = 'x'.repeat(33 * 1024)
    const { status } = await enforce(agent, { action: 'read', arguments: { half }, context: { half } })
    expect(status).toBe(413)
    expect((await enforce(agent, { action: 'read', arguments: { half } })).status).toBe(200)
  })

  it('follows a change of policy, of the agent and of a key with the very next answer', async () => {
    const agent = await makeAgent('dev')
    await putPolicy(agent, { allow: [{ action: 'read:file', conditions: { env: 'dev' } }] })
    expect((await enforce(agent, { action: 'read:file' })).body.allowed).toBe(true)
    await call('PATCH', `/agents/${agent.agent_id}`, admin(), { environment: 'prod' })
    expect((await enforce(agent, { action: 'read:file' })).body.allowed).toBe(false)
    await putPolicy(agent, { allow: [{ action: 'read:file' }] })
    expect((await enforce(agent, { action: 'read:file' })).body.allowed).toBe(true)
    await call('DELETE', `/agents/${agent.agent_id}/keys/${agent.key_id}`, admin())
    expect((await enforce(agent, { action: 'read:file' })).status).toBe(401)
  })
})

describe('stale configuration', () => {
  /** Another replica: changes the database while this process hears nothing of it. */
  const behindItsBack = async (agent: TestAgent, sql: string) => {
    await owner.query('BEGIN')
    await owner.query(
      'UPDATE agent_config SET version = version + 1, changed_xid = pg_current_xact_id() WHERE agent_id = $1',
      [agent.agent_id],
    )
    await owner.query(sql, [agent.agent_id])
    await owner.query('COMMIT')
  }

  it('is refused at the commit, reloaded and decided again: a revoked key is a 401 at once', async () => {
    const agent = await makeAgent()
    await putPolicy(agent, { allow: [{ action: 'read:file' }] })
    expect((await enforce(agent, { action: 'read:file' })).body.allowed).toBe(true)
    const before = await logSize()
    await behindItsBack(agent, 'UPDATE agent_keys SET revoked_at = now() WHERE agent_id = $1')
    expect((await enforce(agent, { action: 'read:file' })).status).toBe(401)
    expect(await logSize()).toBe(before)
  })

  it('is decided again from the new configuration when the key is still good', async () => {
    const agent = await makeAgent('dev')
    await putPolicy(agent, { allow: [{ action: 'read:file', conditions: { env: 'dev' } }] })
    expect((await enforce(agent, { action: 'read:file' })).body.allowed).toBe(true)
    await behindItsBack(agent, `UPDATE agents SET environment = 'prod' WHERE agent_id = $1`)
    const { body } = await enforce(agent, { action: 'read:file' })
    expect(body.allowed).toBe(false)
    expect(await lastEntry()).toMatchObject({ id: body.decision_id, subject: { environment: 'prod' } })
  })

  it('control: without the version the old configuration would have been used', async () => {
    const agent = await makeAgent('dev')
    await putPolicy(agent, { allow: [{ action: 'read:file', conditions: { env: 'dev' } }] })
    expect((await enforce(agent, { action: 'read:file' })).body.allowed).toBe(true)
    await owner.query(`UPDATE agents SET environment = 'prod' WHERE agent_id = $1`, [agent.agent_id])
    expect((await enforce(agent, { action: 'read:file' })).body.allowed).toBe(true)
  })

  it('gives up with 503 when the configuration never stands still', async () => {
    const agent = await makeAgent()
    await putPolicy(agent, { allow: [{ action: 'read:file' }] })
    const submit = jest.spyOn(app.app.get(LedgerService), 'submit').mockResolvedValue({ kind: 'stale' })
    const before = await logSize()
    const { status, body } = await enforce(agent, { action: 'read:file' })
    expect([status, body.code]).toEqual([503, 'decision_stale'])
    expect(submit).toHaveBeenCalledTimes(3)
    expect(await logSize()).toBe(before)
    submit.mockRestore()
  })
})

describe('no evidence, no action', () => {
  it('answers 503 and no verdict when the entry cannot be committed', async () => {
    const agent = await makeAgent()
    await putPolicy(agent, { allow: [{ action: 'read:file' }] })
    const both = 'FUNCTION ledger.ledger_append, ledger.ledger_append_alike'
    await owner.query(`REVOKE EXECUTE ON ${both} FROM agentguard_hot`)
    const { status, body } = await enforce(agent, { action: 'read:file' })
    await owner.query(`GRANT EXECUTE ON ${both} TO agentguard_hot`)
    expect(status).toBe(503)
    expect(body).toMatchObject({ code: 'ledger_unavailable' })
    expect(body).not.toHaveProperty('allowed')
    expect((await enforce(agent, { action: 'read:file' })).body.allowed).toBe(true)
  })
})

interface Case {
  name: string
  policy: unknown
  agent?: { environment: string; team: string }
  now?: string
  request: { action: string; resource?: string; arguments?: object; context?: object }
  want: {
    status: string
    code: string
    reason: string
    matched_rule?: { list: string; index: number } | null
  }
}

describe('the policy cases, over HTTP', () => {
  const folder = path.join(__dirname, '../src/core/policy/testdata')
  const cases = readdirSync(folder)
    .filter((file) => file.endsWith('.yaml'))
    .flatMap((file) =>
      (parse(readFileSync(path.join(folder, file), 'utf8')) as Case[]).map((one) => ({
        ...one,
        name: `${file}: ${one.name}`,
      })),
    )
    // A UUIDv7, and so the log, begins with 1970.
    .filter((one) => one.now === undefined || Date.parse(one.now) >= 0)

  /** Stops both clocks at `at`: the database's, which judges every entry, and the service's, which follows it. */
  let stopped = false
  const stopClocks = async (at: number) => {
    stopped = true
    await owner.query(`CREATE OR REPLACE FUNCTION ledger.now_ms() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = '' AS
      $$ SELECT ${at}::bigint $$`)
    await owner.query('SELECT ledger.ledger_ensure_partitions($1, 0)', [new Date(at)])
    jest.spyOn(app.app.get(Clock), 'now').mockReturnValue(at)
  }
  let present: string
  beforeAll(async () => {
    const { rows } = await owner.query<{ definition: string }>(
      `SELECT pg_get_functiondef('ledger.now_ms()'::regprocedure) AS definition`,
    )
    present = rows[0]?.definition ?? ''
  })
  afterEach(async () => {
    if (!stopped) return
    stopped = false
    jest.restoreAllMocks()
    await owner.query(present)
    await app.app.get(SnapshotsWorker).poll() // the service's own look may have followed the stopped clock
  })

  it('has cases', () => expect(cases.length).toBeGreaterThan(100))

  it.each(cases.map((one) => [one.name, one] as const))('%s', async (_, one) => {
    const agent = await makeAgent(one.agent?.environment, one.agent?.team)
    if (one.policy !== null) expect((await putPolicy(agent, one.policy)).body).toMatchObject({ version: 1 })
    if (one.now !== undefined) await stopClocks(Date.parse(one.now))
    const { status, body } = await enforce(agent, one.request)
    expect(status).toBe(200)
    expect({
      status: body.status,
      code: body.code,
      reason: body.reason,
      matched_rule: body.matched_rule && {
        list: (body.matched_rule as { list: string }).list,
        index: (body.matched_rule as { index: number }).index,
      },
    }).toEqual({ ...one.want, matched_rule: one.want.matched_rule ?? null })
    expect(body.allowed).toBe(one.want.status === 'allowed')
  })
})
