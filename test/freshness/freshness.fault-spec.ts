import { setTimeout as sleep } from 'node:timers/promises'
import { BODIES, expectNothingLost, Fleet, type FleetAgent } from '../support/fleet'
import type { Replica } from '../support/replica'
import { report, sized } from '../support/size'
import { readLog, violationsOf } from './violations'

jest.setTimeout(sized(300_000, 1_800_000))

const FLIPS = sized(150, 600)
const DECISIONS = sized(15_000, 200_000)
/** Between two flips of an agent: without it the agents would hardly ever be allowed anything. */
const PAUSE_MS = 300
const READ = BODIES[0] ?? ''
const ALLOW = { allow: [{ action: 'read:file' }] }
const DENY = { allow: [{ action: 'read:file' }], deny: [{ action: 'read:file' }] }

let fleet: Fleet

beforeAll(async () => {
  fleet = await Fleet.start({ replicas: 3, agents: 0 })
})

afterEach(() => fleet.quiet())

afterAll(() => fleet?.stop())

it('allows nothing, in the order of the log, after the entry that forbids it', async () => {
  const { flips, asked } = await flipUnderLoad(DECISIONS, FLIPS)
  const found = violationsOf(await readLog(fleet.postgres, fleet.database))
  report(`${flips} flips, ${asked}: ${JSON.stringify(found)}`)
  expect(flips).toBeGreaterThanOrEqual(FLIPS)
  expect(found.decisions).toBeGreaterThanOrEqual(DECISIONS)
  // The load met both sides of the flips: otherwise nothing was tested.
  expect(found.allows).toBeGreaterThan(found.decisions / 10)
  expect(found).toMatchObject({ by_key: 0, by_policy: 0, by_activity: 0, by_kill: 0, by_version: 0 })
  expectNothingLost(await fleet.evidence())
})

it('allows what is forbidden when ledger_append does not compare versions (control)', async () => {
  await withoutCheck()
  const last = (await readLog(fleet.postgres, fleet.database)).at(-1)?.index ?? 0
  const { flips, asked } = await flipUnderLoad(sized(2_000, 20_000), sized(40, 200))
  const found = violationsOf(await readLog(fleet.postgres, fleet.database), last)
  report(`control, versions not compared, ${flips} flips, ${asked}: ${JSON.stringify(found)}`)
  expect(found.by_key + found.by_policy + found.by_activity + found.by_kill).toBeGreaterThan(0)
})

/** Every change goes through another replica than the last; the load goes to all. */
async function flipUnderLoad(decisions: number, flips: number): Promise<{ flips: number; asked: string }> {
  let turn = 0
  const next = (): Replica => fleet.replicas[turn++ % fleet.replicas.length] ?? fleet.first
  const agents: FleetAgent[] = []
  for (let i = 0; i < 6; i++) agents.push(await fleet.makeAgent(ALLOW))
  let asked = 0
  const load = fleet.load({
    connections: sized(96, 160),
    request: () => ({ key: agents[asked++ % agents.length]?.key ?? '', body: READ }),
  })
  let made = 0
  const enough = (): boolean => made >= flips && load.acknowledged.length >= decisions
  const flip = async (agent: FleetAgent): Promise<void> => {
    const at = `/agents/${agent.agent_id}`
    const steps = [
      () => next().call('PUT', `${at}/policy`, DENY),
      () => next().call('PUT', `${at}/policy`, ALLOW),
      () => next().call('PATCH', at, { is_active: false }),
      () => next().call('PATCH', at, { is_active: true }),
      () => revokeAndReplace(next, agent),
      () => rotate(next, agent),
      () => kill(next, agent, 'activate'),
      () => kill(next, agent, 'deactivate'),
    ]
    while (!enough()) {
      for (const step of steps) {
        await step()
        made++
        await sleep(Math.random() * PAUSE_MS)
      }
    }
  }
  await Promise.all(agents.map(flip))
  await load.stop()
  return { flips: made, asked: load.summary() }
}

async function revokeAndReplace(next: () => Replica, agent: FleetAgent): Promise<void> {
  await next().call('DELETE', `/agents/${agent.agent_id}/keys/${agent.key_id}`)
  await sleep(20) // the load goes on with the revoked key
  const made = await next().call<{ key_id: string; api_key: string }>(
    'POST',
    `/agents/${agent.agent_id}/keys`,
    {},
  )
  Object.assign(agent, { key_id: made.key_id, key: made.api_key })
}

/** Stops one agent, or lets it go on. */
async function kill(next: () => Replica, agent: FleetAgent, op: 'activate' | 'deactivate'): Promise<void> {
  const named = { scope: 'agent', target: agent.agent_id, reason: 'freshness' }
  await next().call('POST', `/kill-switch/${op}`, named)
}

async function rotate(next: () => Replica, agent: FleetAgent): Promise<void> {
  const made = await next().call<{ key_id: string; api_key: string }>(
    'POST',
    `/agents/${agent.agent_id}/keys/${agent.key_id}/rotate`,
    { overlap_seconds: 0 },
  )
  Object.assign(agent, { key_id: made.key_id, key: made.api_key })
}

/** Takes the comparison of versions out of the database's own function: the product has no switch for it. */
async function withoutCheck(): Promise<void> {
  const functions = await fleet.postgres.query<{ definition: string; signature: string }>(
    fleet.database,
    `SELECT pg_get_functiondef(oid) AS definition, oid::regprocedure::text AS signature FROM pg_proc
     WHERE pronamespace = 'ledger'::regnamespace AND prosrc ~ 'THEN 2\\y'`,
  )
  expect(functions.length).toBeGreaterThan(0)
  for (const { definition } of functions) {
    const changed = definition.replace(/WHEN (?:(?!\bWHEN\b)[\s\S])*?THEN 2\b/, 'WHEN false THEN 2')
    expect(changed).not.toBe(definition)
    await fleet.postgres.query(fleet.database, changed)
  }
}
