import { randomBytes } from 'node:crypto'
import { Client as Postgres } from 'pg'
import { ID_BYTES, makeId } from '../src/core/ids.js'
import { KillAftermathService } from '../src/kill-switch/aftermath.service.js'
import { Database } from '../src/platform/database/database.service.js'
import { type Approval, ask, Office, pending } from './support/approvals.js'
import { until } from './support/proofs.js'

/** Stopping has priority: it waits for nothing that others hold. */
let office: Office
let owner: Postgres
/** Sees what another transaction of `owner` waits for. */
let watcher: Postgres

beforeAll(async () => {
  office = await Office.open({
    settings: { database_pool_size: 2, database_max_overflow: 0, database_pool_timeout_s: 2 },
  })
  owner = new Postgres({ connectionString: office.app.database.owner_url })
  await owner.connect()
  watcher = new Postgres({ connectionString: office.app.database.owner_url })
  await watcher.connect()
})
afterAll(async () => {
  await watcher?.end()
  await owner?.end()
  await office?.close()
})

const statusOf = async (approval_id: string) =>
  (await office.root.get<Approval>(`/approvals/${approval_id}`)).body.status
const isCancelled = (approval_id: string) =>
  until(async () => ((await statusOf(approval_id)) === 'cancelled' ? true : null))

/** Takes every connection of the control plane and of look-ups, and keeps them until called. */
async function occupy(): Promise<() => Promise<void>> {
  const database = office.app.app.get(Database)
  const until_then = { over: false }
  let held = 0
  const transactions = [1, 2].map(() =>
    database.withOrg({ org_id: 'org_default' }, async (tx) => {
      held++
      // Again and again: PostgreSQL ends transactions that say nothing for two seconds.
      while (!until_then.over) await tx.$queryRaw`SELECT pg_sleep(0.1)::text AS slept`
    }),
  )
  const clients = await Promise.all([1, 2, 3, 4].map(() => database.hot.connect()))
  await until(() => Promise.resolve(held === 2 || null))
  return async () => {
    until_then.over = true
    clients.forEach((client) => client.release())
    await Promise.all(transactions)
  }
}

it('gets through when every connection is in use, with an administrator key and an Idempotency-Key', async () => {
  const agent = await office.agent()
  const admin = await office.person('admin')
  const letGo = await occupy()
  try {
    const busy = await admin.get('/agents')
    expect([busy.status, busy.body]).toEqual([503, expect.objectContaining({ code: 'not_ready' })])
    const kill = { scope: 'agent', target: agent.agent_id, reason: 'now' }
    const stopped = await admin.post('/kill-switch/activate', kill, { 'Idempotency-Key': 'stop-1' })
    expect([stopped.status, stopped.body]).toEqual([200, expect.objectContaining({ state: 'active' })])
  } finally {
    await letGo()
  }
  expect(await ask(agent, { action: 'read:file' })).toMatchObject({ code: 'kill_switch_active' })
})

it('stops the organization while another one waits to stop an agent that somebody holds', async () => {
  const agent = await office.agent()
  await owner.query('BEGIN')
  await owner.query('SELECT 1 FROM agents WHERE agent_id = $1 FOR UPDATE', [agent.agent_id])
  const activate = (body: object) => office.root.post('/kill-switch/activate', { reason: 'now', ...body })
  const narrow = activate({ scope: 'agent', target: agent.agent_id })
  try {
    const waiting = `SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT stop_at_once%' AND wait_event_type = 'Lock'`
    const pids = await until(async () => {
      const { rows } = await watcher.query<{ pid: number }>(waiting)
      return rows.length > 0 ? rows.map(({ pid }) => pid) : null
    })
    const held = `SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 72707372 AND granted AND pid = ANY ($1)`
    expect((await watcher.query(held, [pids])).rowCount).toBe(0)
    expect((await activate({ scope: 'organization' })).status).toBe(200)
    expect(await ask(agent, { action: 'read:file' })).toMatchObject({ code: 'kill_switch_active' })
  } finally {
    await owner.query('ROLLBACK')
  }
  expect((await narrow).status).toBe(200)
  const end = { scope: 'organization', reason: 'over' }
  expect((await office.root.post('/kill-switch/deactivate', end)).status).toBe(200)
})

/** Waits until somebody waits for a lock to stop something. */
const waitsToStop = () =>
  until(async () => {
    const waiting = `SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT stop_at_once%' AND wait_event_type = 'Lock'`
    return (await watcher.query(waiting)).rowCount === 1 || null
  })

it.each(['agent', 'key'] as const)('stops an %s in one statement that is a transaction', async (scope) => {
  const agent = await office.agent()
  const transactions = jest.spyOn(office.app.app.get(Database), 'withOrg')
  try {
    const kill = { scope, target: scope === 'agent' ? agent.agent_id : agent.key_id, reason: 'now' }
    expect((await office.root.post('/kill-switch/activate', kill)).status).toBe(200)
    expect(transactions.mock.calls.filter(([principal]) => 'kind' in principal)).toEqual([])
  } finally {
    transactions.mockRestore()
  }
  expect(await ask(agent, { action: 'read:file' })).toMatchObject({ code: 'kill_switch_active' })
})

it('writes nothing of a switch whose agent has changed since it was seen, and then looks again', async () => {
  const agent = await office.agent()
  await owner.query('BEGIN')
  const raise = `UPDATE agent_config SET version = version + 1, changed_xid = pg_current_xact_id() WHERE agent_id = $1`
  await owner.query('SELECT FROM agents WHERE agent_id = $1 FOR UPDATE', [agent.agent_id])
  const kill = { scope: 'agent', target: agent.agent_id, reason: 'now' }
  const stopped = office.root.post<{ kill_id: string }>('/kill-switch/activate', kill)
  try {
    await waitsToStop()
    await owner.query(raise, [agent.agent_id])
  } finally {
    await owner.query('COMMIT')
  }
  expect(await stopped).toMatchObject({ status: 200, body: { state: 'active' } })
  const { rows } = await owner.query<{ id: string; named: number; version: number }>(
    `SELECT e.e #>> '{kill,id}' AS id, (e.e #>> '{config,agent}')::float8 AS named, c.version::float8 AS version
     FROM ledger.ledger_entry, LATERAL (SELECT convert_from(entry, 'UTF8')::jsonb) AS e (e)
     JOIN agent_config c ON c.agent_id = e.e #>> '{subject,agent_id}' WHERE type = 'kill' AND c.agent_id = $1`,
    [agent.agent_id],
  )
  expect(rows).toEqual([
    { id: (await stopped).body.kill_id, named: rows[0]?.version, version: rows[0]?.version },
  ])
  const { rowCount } = await owner.query('SELECT FROM kill_switches WHERE agent_id = $1', [agent.agent_id])
  expect(rowCount).toBe(1)
})

it('does not wait for who holds what it will cancel, and that is cancelled afterwards', async () => {
  const agent = await office.agent()
  const approval_id = await pending(agent)
  await owner.query('BEGIN')
  await owner.query('SELECT 1 FROM approvals WHERE approval_id = $1 FOR UPDATE', [approval_id])
  try {
    const kill = { scope: 'agent', target: agent.agent_id, reason: 'now' }
    expect((await office.root.post('/kill-switch/activate', kill)).status).toBe(200)
    expect(await ask(agent, { action: 'read:file' })).toMatchObject({ code: 'kill_switch_active' })
    expect(await statusOf(approval_id)).toBe('pending')
  } finally {
    await owner.query('ROLLBACK')
  }
  await isCancelled(approval_id)
  const history = await office.root.get<{ event: string; actor: string; reason: string }[]>(
    `/approvals/${approval_id}/history`,
  )
  expect(history.body.at(-1)).toMatchObject({ event: 'cancelled', reason: 'A kill switch was activated' })
})

/** As a process leaves it that ended between its commit and what follows. */
async function leave(agent_id: string): Promise<void> {
  await owner.query(
    `INSERT INTO kill_switches (org_id, kill_id, scope, agent_id, reason, activated_by, activated_at)
     VALUES ('org_default', $1, 'agent', $2, 'left', 'root', now())`,
    [makeId('kil_', randomBytes(ID_BYTES)), agent_id],
  )
}

it('is followed by another process when its own ended, and by its own end at the latest', async () => {
  const [one, two] = [await office.agent(), await office.agent()]
  const [first, second] = [await pending(one), await pending(two)]
  await leave(one.agent_id)
  await office.app.app.get(KillAftermathService).look()
  expect(await statusOf(first)).toBe('cancelled')
  await leave(two.agent_id)
  const end = { scope: 'agent', target: two.agent_id, reason: 'over' }
  expect((await office.root.post('/kill-switch/deactivate', end)).status).toBe(200)
  expect(await statusOf(second)).toBe('cancelled')
})
