import { BODIES, expectNothingLost, Fleet, type FleetAgent } from '../support/fleet'
import type { Acknowledged, Load } from '../support/load'
import { report, sized } from '../support/size'

jest.setTimeout(sized(180_000, 600_000))

const ROUNDS = sized(20, 100)
/** Answers that make the traffic of a round: more than there are connections. */
const TRAFFIC = 30
const READ = BODIES[0] ?? ''

let fleet: Fleet
let canary: FleetAgent

beforeAll(async () => {
  fleet = await Fleet.start({ replicas: 3, agents: 0 })
  canary = await fleet.makeAgent({ allow: [{ action: 'read:file' }] })
})
afterEach(() => fleet.quiet())
afterAll(() => fleet?.stop())

/** One agent asks on all three replicas; a switch is pulled on one of them. */
it('stops a canary agent on 3 replicas: no allow after the entry of the switch, and how long it took', async () => {
  const load = fleet.load({ connections: 24, request: () => ({ key: canary.key, body: READ }) })
  const answered: number[] = []
  const late: number[] = []
  const first_denies: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    await load.more(TRAFFIC)
    const replica = fleet.replicas[round % fleet.replicas.length] ?? fleet.first
    const target = { scope: 'agent', target: canary.agent_id, reason: 'drill' }
    const began = performance.now()
    const { kill_id } = await replica.call<{ kill_id: string }>('POST', '/kill-switch/activate', target)
    const stopped = performance.now()
    answered.push(stopped - began)
    const index = await indexOf('kill_switch.activated', kill_id)
    // Until every connection that had asked before has its answer.
    await load.more(TRAFFIC * 3)
    const round_entries = load.acknowledged.filter((entry) => entry.index > index)
    expect(allowsOf(round_entries)).toEqual([])
    first_denies.push(...firstDeny(load, index, began))
    late.push(lastAllowAfter(load, stopped))
    await fleet.first.call('POST', '/kill-switch/deactivate', { kill_id, reason: 'drill' })
    await until(() => load.acknowledged.at(-1)?.allowed === true)
  }
  await load.stop()
  const figures = {
    rounds: ROUNDS,
    replicas: 3,
    activate_ms: quantiles(answered),
    first_deny_ms: quantiles(first_denies),
    last_allow_heard_after_the_answer_ms: quantiles(late),
  }
  report(`kill drill: ${JSON.stringify(figures)}; ${load.summary()}`)
  expectNothingLost(await fleet.evidence())
})

it('writes an installation-wide switch into every log, and prints how long that takes', async () => {
  const organizations = sized(50, 1_000)
  for (let i = 0; i < organizations; i++) await fleet.first.call('POST', '/organizations', { name: 'drill' })
  const began = performance.now()
  await fleet.first.call('POST', '/kill-switch/activate', { scope: 'installation', reason: 'drill' })
  const took = performance.now() - began
  await fleet.first.call('POST', '/kill-switch/deactivate', { scope: 'installation', reason: 'drill' })
  report(`kill drill: installation_ms ${took.toFixed(0)} with ${organizations + 1} logs`)
  const [row] = await fleet.postgres.query<{ logs: number; entries: number }>(
    fleet.database,
    `SELECT count(DISTINCT org_id)::integer AS logs, count(*)::integer AS entries
     FROM ledger.ledger_entry WHERE type = 'kill' AND convert_from(entry, 'UTF8')::jsonb #>> '{kill,scope}' = 'installation'`,
  )
  expect(row).toEqual({ logs: organizations + 1, entries: 2 * (organizations + 1) })
})

async function indexOf(event: string, kill_id: string): Promise<number> {
  const [row] = await fleet.postgres.query<{ index: number }>(
    fleet.database,
    `SELECT index::float8 AS index FROM ledger.ledger_entry, LATERAL (SELECT convert_from(entry, 'UTF8')::jsonb) AS j (e)
     WHERE org_id = 'org_default' AND type = 'kill' AND e ->> 'event' = '${event}' AND e #>> '{kill,id}' = '${kill_id}'`,
  )
  if (!row) throw new Error(`no entry of ${kill_id}`)
  return row.index
}

/** Allows among these, whose indexes all follow the entry of the switch. */
const allowsOf = (entries: readonly Acknowledged[]): Acknowledged[] =>
  entries.filter(({ allowed }) => allowed)

/** How long after the call began somebody was first told no. */
function firstDeny(load: Load, index: number, began: number): number[] {
  const first = load.acknowledged.find((entry) => entry.index > index && !entry.allowed)
  return first ? [first.at - began] : []
}

/** How long after the switch was answered an allow was still heard that was committed before it; 0: none was. */
function lastAllowAfter(load: Load, stopped: number): number {
  const late = load.acknowledged.filter(({ allowed, at }) => allowed && at > stopped)
  return Math.max(0, ...late.map(({ at }) => at - stopped))
}

function quantiles(values: readonly number[]): { p50: number; p99: number; max: number } {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (part: number) =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0)
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}

async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + 60_000
  while (!holds()) {
    if (performance.now() > end) throw new Error('the canary was not allowed again')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
