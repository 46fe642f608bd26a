import { setTimeout as sleep } from 'node:timers/promises'
import { expectAnswered, expectNothingLost, Fleet, RECOVERED_WITHIN_MS } from '../support/fleet'
import { report, sized } from '../support/size'

jest.setTimeout(sized(120_000, 900_000))

/** Decisions between two blows. */
const BETWEEN = sized(400, 4_000)

let fleet: Fleet

beforeAll(async () => {
  fleet = await Fleet.start()
})

afterEach(() => fleet.quiet())

afterAll(() => fleet?.stop())

describe('kill -9 in the middle of the load', () => {
  it.each([
    ['the server', sized(3, 12)],
    ['PostgreSQL', sized(2, 6)],
    ['both', sized(2, 6)],
  ])('of %s loses no acknowledged decision', async (victim, rounds) => {
    const load = fleet.load()
    const recoveries: number[] = []
    for (let round = 0; round < rounds; round++) {
      await load.more(BETWEEN)
      // Not always at the same moment of a batch.
      await sleep(Math.random() * 20)
      const began = performance.now()
      if (victim !== 'the server') expect(fleet.postgres.kill()).toBeGreaterThan(0)
      if (victim !== 'PostgreSQL') {
        await fleet.first.kill()
        await restarted(fleet)
      }
      await load
        .more(50, 15_000)
        .catch((error: unknown) => (fleet.expectAlive(), Promise.reject(error as Error)))
      recoveries.push(Math.round(performance.now() - began))
    }
    await load.stop()
    const evidence = await fleet.evidence()
    report(
      `kill -9 of ${victim}, ${rounds} rounds: ${load.summary()}; recovered in ${recoveries.join(', ')} ms; ${JSON.stringify(evidence)}`,
    )
    expectNothingLost(evidence)
    expect(Math.max(...recoveries)).toBeLessThan(RECOVERED_WITHIN_MS)
    expectAnswered(load)
  })

  it('of a server that answers before the commit loses some (control)', async () => {
    const hasty = await fleet.add({ preload: ['test/faults/answer-early.cjs'] })
    const load = fleet.load({ target: () => hasty.url })
    let lost = 0
    for (let round = 0; round < 5 && lost === 0; round++) {
      await load.more(300)
      await hasty.kill()
      lost = (await fleet.evidence([load])).lost
      report(
        `control, answers before the commit: ${lost} of ${load.acknowledged.length} acknowledged decisions lost`,
      )
      await hasty.start()
    }
    await load.stop()
    fleet.loads.splice(fleet.loads.indexOf(load), 1) // what it was told is not to be believed
    fleet.replicas.splice(fleet.replicas.indexOf(hasty), 1)
    await hasty.remove()
    expect(lost).toBeGreaterThan(0)
  })
})

it('survives restarts of PostgreSQL under load', async () => {
  const load = fleet.load()
  const recoveries: number[] = []
  for (let round = 0; round < sized(2, 6); round++) {
    await load.more(BETWEEN)
    const began = performance.now()
    fleet.postgres.restart()
    await load.more(50)
    recoveries.push(Math.round(performance.now() - began))
  }
  await load.stop()
  const evidence = await fleet.evidence()
  report(
    `restarts of PostgreSQL: ${load.summary()}; recovered in ${recoveries.join(', ')} ms; ${JSON.stringify(evidence)}`,
  )
  expectNothingLost(evidence)
  expect(Math.max(...recoveries)).toBeLessThan(RECOVERED_WITHIN_MS)
  expectAnswered(load)
})

it('of PostgreSQL with synchronous_commit = off loses acknowledged decisions (control)', async () => {
  const loose = await Fleet.start({
    postgres: fleet.postgres,
    database: 'loose',
    replica: { env: { NODE_ENV: 'test', MIGRATE_ON_START: 'true' } },
  })
  try {
    await fleet.postgres.query('loose', `ALTER SYSTEM SET wal_writer_delay = '10s'`)
    await fleet.postgres.query('loose', 'ALTER DATABASE loose SET synchronous_commit = off')
    await fleet.postgres.query('loose', 'SELECT pg_reload_conf()')
    await loose.first.kill()
    await loose.first.start() // connections made from now on are loose
    let lost = 0
    for (let round = 0; round < 5 && lost === 0; round++) {
      const load = loose.load()
      await load.more(500)
      fleet.postgres.kill()
      await load.more(10)
      await load.stop()
      lost = (await loose.evidence([load])).lost
      report(
        `control, synchronous_commit = off: ${lost} of ${load.acknowledged.length} acknowledged decisions lost`,
      )
    }
    expect(lost).toBeGreaterThan(0)
  } finally {
    await loose.stop()
  }
})

/** As a supervisor does: again and again until the database is back. */
async function restarted({ first }: Fleet): Promise<void> {
  for (let left = 20; ; left--) {
    try {
      await first.start()
      return
    } catch (error) {
      if (left === 0) throw error
      await sleep(200)
    }
  }
}
