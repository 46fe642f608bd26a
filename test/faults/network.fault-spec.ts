import { setTimeout as sleep } from 'node:timers/promises'
import { expectAnswered, expectNothingLost, Fleet, RECOVERED_WITHIN_MS } from '../support/fleet'
import type { Load } from '../support/load'
import { report, sized } from '../support/size'
import { startStrictPostgres, type StrictPostgres } from '../support/strict-postgres'
import { type ProxyFault, TcpProxy } from '../support/tcp-proxy'

jest.setTimeout(sized(120_000, 600_000))

let postgres: StrictPostgres
let proxy: TcpProxy
let fleet: Fleet

beforeAll(async () => {
  postgres = await startStrictPostgres()
  proxy = await TcpProxy.start(postgres.port)
  fleet = await Fleet.start({
    postgres,
    agents: 8,
    through: (url) => url.replace(`:${postgres.port}/`, `:${proxy.port}/`),
  })
})

afterEach(async () => {
  proxy.set({ kind: 'none' })
  await fleet.quiet()
})

afterAll(async () => {
  await fleet?.stop()
  await proxy?.close()
  await postgres?.stop()
})

/** How long the fault lasts. The longest waits of the service (deadline 2 s, a silent statement 1.5 s) fit twice. */
const FAULT_MS = sized(4_000, 8_000)

const FAULTS: [string, ProxyFault, wanted: { recover_ms: number }][] = [
  ['slow (20 ms a packet)', { kind: 'delay', ms: 20 }, { recover_ms: 2_000 }],
  ['very slow (600 ms a packet)', { kind: 'delay', ms: 600 }, { recover_ms: RECOVERED_WITHIN_MS }],
  ['stalled', { kind: 'stall' }, { recover_ms: RECOVERED_WITHIN_MS }],
  [
    'half-open, with new connections working',
    { kind: 'half_open', new_too: false },
    { recover_ms: RECOVERED_WITHIN_MS },
  ],
  [
    'half-open for new connections too',
    { kind: 'half_open', new_too: true },
    { recover_ms: RECOVERED_WITHIN_MS },
  ],
  ['heard, but its answers are lost', { kind: 'deaf' }, { recover_ms: RECOVERED_WITHIN_MS }],
  ['reset', { kind: 'reset' }, { recover_ms: RECOVERED_WITHIN_MS }],
]

describe('a database that is', () => {
  it.each(FAULTS)(
    '%s: answers in time, recovers by itself, loses nothing',
    async (name, fault, { recover_ms }) => {
      for (let round = 0; round < sized(1, 3); round++) {
        const load = fleet.load()
        await load.more(200)
        proxy.set(fault)
        await sleep(FAULT_MS)
        proxy.set({ kind: 'none' })
        const recovered_ms = await recovery(load)
        await load.stop()
        const evidence = await fleet.evidence()
        report(`${name}: ${load.summary()}; recovered in ${recovered_ms} ms; ${JSON.stringify(evidence)}`)
        expectNothingLost(evidence)
        expectAnswered(load)
        expect(recovered_ms).toBeLessThan(recover_ms + load.noise_ms)
      }
    },
  )

  it.each([150, 350, 600])('slow (%d ms a packet) answers in time who was never seen before', async (ms) => {
    await fleet.first.kill()
    await fleet.first.start() // nothing is in memory: neither keys nor policies nor data keys
    proxy.set({ kind: 'delay', ms })
    const load = fleet.load({ connections: 8, total: 40 })
    await load.finished()
    proxy.set({ kind: 'none' })
    report(`slow (${ms} ms a packet) and cold: ${load.summary()}`)
    expectAnswered(load)
  })

  it('cut off in the middle of changes lets go of the log that they held', async () => {
    proxy.set({ kind: 'delay', ms: 40 })
    // They queue for one head lock, and whoever has it keeps it for a round trip: at any moment somebody holds it.
    let seen = false
    const changes = fleet.agents.map(async ({ agent_id }) => {
      for (let i = 0; ; i++) {
        const name = `cut off ${i}`
        const done = await fleet.first.call('PATCH', `/agents/${agent_id}`, { name }).catch(() => 'cut off')
        if (seen || done === 'cut off') return done
      }
    })
    await headHeld()
    seen = true
    proxy.set({ kind: 'half_open', new_too: false })
    const load = fleet.load()
    const recovered_ms = await recovery(load)
    await load.stop()
    const outcomes = await Promise.all(changes)
    const evidence = await fleet.evidence()
    const cut = outcomes.filter((outcome) => outcome === 'cut off').length
    report(
      `cut off in ${cut} changes: ${load.summary()}; recovered in ${recovered_ms} ms; ${JSON.stringify(evidence)}`,
    )
    expectNothingLost(evidence)
    expectAnswered(load)
    expect(cut).toBeGreaterThan(0)
    expect(recovered_ms).toBeLessThan(RECOVERED_WITHIN_MS)
  })

  it('cut off answers the control plane again within 10 s', async () => {
    await Promise.all(fleet.agents.map(({ agent_id }) => fleet.first.call('GET', `/agents/${agent_id}`)))
    proxy.set({ kind: 'half_open', new_too: false })
    const began = performance.now()
    const [agent] = fleet.agents
    let tries = 0
    for (;;) {
      tries++
      const done = await fleet.first
        .call('PATCH', `/agents/${agent?.agent_id}`, { name: `again ${tries}` })
        .then(
          () => true,
          () => false,
        )
      if (done) break
    }
    const recovered_ms = Math.round(performance.now() - began)
    report(`control plane over half-open connections: changed at try ${tries}, after ${recovered_ms} ms`)
    expect(recovered_ms).toBeLessThan(RECOVERED_WITHIN_MS)
  })
})

/** Milliseconds until decisions are made again, quickly. */
async function recovery(load: Load): Promise<number> {
  const began = performance.now()
  await load.more(100, 20_000).catch((error: unknown) => {
    fleet.expectAlive()
    report(fleet.first.log.slice(-3_000))
    throw error
  })
  return Math.round(performance.now() - began)
}

/** Resolves when a transaction of the control plane waits for its client while it holds the head of a log. */
async function headHeld(): Promise<void> {
  const until = performance.now() + 60_000
  while (performance.now() < until) {
    const held = await postgres.query<{ pid: number }>(
      'product',
      `SELECT a.pid FROM pg_stat_activity a WHERE a.datname = 'product' AND a.wait_event_type = 'Lock'
       AND EXISTS (SELECT FROM unnest(pg_blocking_pids(a.pid)) AS b (pid) JOIN pg_stat_activity h USING (pid)
                   WHERE h.state = 'idle in transaction')`,
    )
    if (held.length > 0) return
  }
  throw new Error('no change held the log')
}
