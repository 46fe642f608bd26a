import { setTimeout as sleep } from 'node:timers/promises'
import { Balancer } from '../support/balancer'
import { expectAnswered, expectDecided, expectNothingLost, Fleet } from '../support/fleet'
import { report, sized } from '../support/size'

jest.setTimeout(sized(120_000, 300_000))

let fleet: Fleet

beforeAll(async () => {
  fleet = await Fleet.start({ replicas: 2 })
})

afterEach(() => fleet.quiet())

afterAll(() => fleet?.stop())

/**
 * Dropped is every request that was sent over an open connection and did not get its decision: no answer, half an
 * answer, or any status but 200. A connection that is refused carried no request; the balancer tries the other one.
 */
it('drops nothing when replicas behind a balancer are replaced one after the other', async () => {
  const total = sized(8_000, 20_000)
  const balancer = new Balancer(fleet.replicas.map((replica) => replica.url))
  const load = fleet.load({
    target: () => balancer.next(),
    leave: (url) => balancer.leave(url),
    connections: 64,
    rate: 1_000,
    total,
  })
  const ends: string[] = []
  let done = false
  const finished = load.finished().then(() => (done = true))
  for (let i = 0; !done; i++) {
    const replica = fleet.replicas[i % fleet.replicas.length] ?? fleet.first
    await sleep(500)
    if (done) break
    const { code, ms } = await replica.terminate()
    ends.push(`${code} after ${Math.round(ms)} ms`)
    await replica.start()
    balancer.enter(replica.url)
    expect(code).toBe(0)
  }
  await finished
  const evidence = await fleet.evidence()
  report(`${ends.length} × SIGTERM (exit ${ends.join(', ')}): ${load.summary()}; ${JSON.stringify(evidence)}`)
  expect(ends.length).toBeGreaterThan(1)
  expect(load.failures.broken).toBe(0)
  expectDecided(load)
  expectAnswered(load)
  expectNothingLost(evidence)
})
