import { randomBytes } from 'node:crypto'
import { Client as Postgres } from 'pg'
import { makeKey } from '../src/core/keys/key-format.js'
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
