import { randomBytes } from 'node:crypto'
import { Client as Postgres } from 'pg'
import { makeKey } from '../src/core/keys/key-format.js'
import { AGENT_BY_KEY } from '../src/snapshots/snapshots.queries.js'
import { SnapshotsService } from '../src/snapshots/snapshots.service.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'

const KEPT = 3

let app: RunningApp
let owner: Postgres

beforeAll(async () => {
  app = await startApp({ settings: { snapshot_cache_agents: KEPT } })
  owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
})

afterAll(async () => {
  await owner?.end()
  await app?.close()
})

async function makeAgent(): Promise<Client> {
  const admin = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  const made = await admin.post<{ agent_id: string; api_key: string }>('/agents', {
    name: 'agent',
    owner_team: 'support',
    environment: 'dev',
  })
  await admin.put(`/agents/${made.body.agent_id}/policy`, { allow: [{ action: 'read:file' }] })
  return new Client(app.url, { 'X-Agent-Key': made.body.api_key })
}

const ask = (client: Client) => client.post<{ allowed: boolean }>('/enforce', { action: 'read:file' })

it('keeps as many agents as it is told to, and loads the others again when they ask', async () => {
  const agents: Client[] = []
  for (let n = 0; n < 3 * KEPT; n++) agents.push(await makeAgent())
  const snapshots = app.app.get(SnapshotsService)
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(agents.map(ask))
    expect(answers.map(({ body }) => body.allowed)).toEqual(agents.map(() => true))
    expect(snapshots.kept).toBe(KEPT)
  }
})

it('decides for whom it knows while look-ups of unknown keys have every other connection', async () => {
  const agent = await makeAgent()
  expect((await ask(agent)).body.allowed).toBe(true)
  // Look-ups wait for this lock; an append has no need of the table.
  await owner.query('BEGIN; LOCK TABLE agent_keys IN ACCESS EXCLUSIVE MODE')
  try {
    const strangers = Array.from({ length: 40 }, () =>
      ask(new Client(app.url, { 'X-Agent-Key': makeKey('agk_', randomBytes(32)) })),
    )
    const until = performance.now() + 2_000
    /** The longest of one thing again and again. */
    const slowest = async (work: () => Promise<void>): Promise<number> => {
      let most = 0
      for (let began = performance.now(); began < until; began = performance.now()) {
        await work()
        most = Math.max(most, performance.now() - began)
      }
      return most
    }
    const [decision, noise] = await Promise.all([
      slowest(async () => {
        const { status, body } = await ask(agent)
        expect([status, body.allowed]).toEqual([200, true])
      }),
      // What a busy machine adds to anything: beside it, the same processes are asked for nothing that waits.
      slowest(async () => {
        await owner.query('SELECT 1')
        await fetch(`${app.url}/health/live`)
      }),
    ])
    // A decision that waited for a look-up would take 700 ms or more.
    expect(decision).toBeLessThan(500 + 2 * noise)
    const refused = await Promise.all(strangers)
    expect(new Set(refused.map(({ status }) => status))).toEqual(new Set([503]))
    expect(refused.every(({ headers }) => headers.get('Retry-After') === '1')).toBe(true)
  } finally {
    await owner.query('ROLLBACK')
  }
})

describe('an organization of many agents', () => {
  const OTHERS = 2_000

  /** Rows that a statement about one agent looked at in vain, or that its tables gave it. */
  async function rowsRead(text: string, key_hash: string): Promise<number> {
    const { rows } = await owner.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
      `EXPLAIN (ANALYZE, FORMAT JSON) ${text.replaceAll('$1', `'${key_hash}'`)}`,
    )
    const [{ 'QUERY PLAN': [{ Plan }] }] = rows as [(typeof rows)[number]] // prettier-ignore
    return readBy(Plan)
  }

  interface PlanNode {
    'Actual Rows': number
    'Actual Loops': number
    'Rows Removed by Filter'?: number
    'Rows Removed by Join Filter'?: number
    Plans?: PlanNode[]
  }

  function readBy(node: PlanNode): number {
    const { 'Rows Removed by Filter': filtered = 0, 'Rows Removed by Join Filter': joined = 0 } = node
    const own = node['Actual Rows'] + filtered + joined
    return (node.Plans ?? []).reduce((sum, child) => sum + readBy(child), own * node['Actual Loops'])
  }

  beforeAll(async () => {
    await makeAgent()
    await owner.query(`
      INSERT INTO agents (org_id, agent_id, name, owner_team, environment)
      SELECT 'org_default', 'agt_many_' || n, 'other', 'support', 'dev' FROM generate_series(1, ${OTHERS}) n;
      INSERT INTO agent_config (org_id, agent_id)
      SELECT 'org_default', 'agt_many_' || n FROM generate_series(1, ${OTHERS}) n;
      INSERT INTO policies (org_id, policy_id, scope, agent_id, version)
      SELECT 'org_default', 'pol_many_' || n, 'agent', 'agt_many_' || n, 1 FROM generate_series(1, ${OTHERS}) n;
      INSERT INTO policy_versions (org_id, policy_id, version, document, sha256, created_by)
      SELECT 'org_default', 'pol_many_' || n, 1, '{"allow":[]}', md5(n::text), 'root' FROM generate_series(1, ${OTHERS}) n;
      ANALYZE agents, agent_config, policies, policy_versions`)
  })

  it('loads one of them without looking at the others', async () => {
    const { rows } = await owner.query<{ key_hash: string }>('SELECT key_hash FROM agent_keys LIMIT 1')
    const key_hash = rows[0]?.key_hash ?? ''
    expect(await rowsRead(AGENT_BY_KEY, key_hash)).toBeLessThan(100)
    const control = AGENT_BY_KEY.replace('scope, policy_id, version FROM policies WHERE org_id = a.org_id AND agent_id = a.agent_id', "scope, policy_id, version FROM policies WHERE org_id = a.org_id AND (agent_id = a.agent_id OR scope = 'team')") // prettier-ignore
    expect(control).not.toBe(AGENT_BY_KEY)
    expect(await rowsRead(control, key_hash)).toBeGreaterThan(OTHERS)
  })

  it('compiles the policy of a loaded agent that is too long to come with it', async () => {
    const admin = new Client(app.url, { 'X-Admin-Key': app.admin_key })
    const made = await admin.post<{ agent_id: string; api_key: string }>('/agents', {
      name: 'long',
      owner_team: 'support',
      environment: 'dev',
    })
    const allow = Array.from({ length: 1_000 }, (_, n) => ({
      action: 'read:file',
      resource: `folder-${n}/*`,
    }))
    await admin.put(`/agents/${made.body.agent_id}/policy`, { allow })
    const agent = new Client(app.url, { 'X-Agent-Key': made.body.api_key })
    const asked = (resource: string) =>
      agent.post<{ allowed: boolean }>('/enforce', { action: 'read:file', resource })
    expect((await asked('folder-999/a')).body.allowed).toBe(true)
    expect((await asked('folder-1000/a')).body.allowed).toBe(false)
  })
})
