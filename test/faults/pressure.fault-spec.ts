import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import {
  BODIES,
  expectAnswered,
  expectDecided,
  expectNothingLost,
  isNoisy,
  Fleet,
  RECOVERED_WITHIN_MS,
} from '../support/fleet'
import { report, sized } from '../support/size'
import { startStrictPostgres, type StrictPostgres } from '../support/strict-postgres'

jest.setTimeout(sized(120_000, 300_000))

let postgres: StrictPostgres
let fleet: Fleet

beforeAll(async () => {
  postgres = await startStrictPostgres()
  fleet = await Fleet.start({
    postgres,
    replica: { env: { DATABASE_POOL_SIZE: '3', DATABASE_MAX_OVERFLOW: '0', DATABASE_POOL_TIMEOUT: '1' } },
  })
})

afterEach(() => fleet.quiet())

afterAll(async () => {
  await fleet?.stop()
  await postgres?.stop()
})

describe('a clock', () => {
  it.each([3_000, -3_000, 30_000, -30_000])(
    'that is %d ms off is corrected by the database',
    async (skew_ms) => {
      const skewed = await fleet.add({
        preload: ['test/faults/skewed-clock.cjs'],
        env: { SKEW_MS: String(skew_ms) },
      })
      const load = fleet.load({ target: () => skewed.url })
      await load.more(200)
      await load.stop()
      const off_ms = await newestOff()
      report(`clock ${skew_ms} ms off: ${load.summary()}; its entries are ${off_ms} ms off`)
      await retire(skewed)
      expectDecided(load)
      expect(Math.abs(off_ms)).toBeLessThan(1_000)
      expectNothingLost(await fleet.evidence())
    },
  )

  it.each([30_000, -30_000])('that jumps by %d ms under load is corrected', async (jump_ms) => {
    const jumping = await fleet.add({
      preload: ['test/faults/skewed-clock.cjs'],
      env: { JUMP_MS: String(jump_ms) },
    })
    const load = fleet.load({ target: () => jumping.url })
    await load.more(200)
    process.kill(jumping.pid, 'SIGUSR2')
    const recovered_ms = Math.round(await load.more(200))
    await load.stop()
    const off_ms = await newestOff()
    report(
      `clock jumps by ${jump_ms} ms: ${load.summary()}; 200 more decisions in ${recovered_ms} ms, ${off_ms} ms off`,
    )
    await retire(jumping)
    expectAnswered(load)
    expect(recovered_ms).toBeLessThan(RECOVERED_WITHIN_MS)
    expect(Math.abs(off_ms)).toBeLessThan(1_000)
    expectNothingLost(await fleet.evidence())
  })
})

it('answers everybody but the poisoned, whose entry PostgreSQL refuses', async () => {
  const poisoned = await fleet.add({ preload: ['test/faults/poison.cjs'] })
  const poison = JSON.stringify({ action: 'poison:well' })
  let number = 0
  let poisons = 0
  const load = fleet.load({
    target: () => poisoned.url,
    total: sized(1_000, 10_000),
    request: () => {
      const question = fleet.question()
      if (number++ % 25 !== 7) return question
      poisons++
      return { ...question, body: poison }
    },
  })
  await load.finished()
  report(`${poisons} poisoned entries: ${load.summary()}`)
  await retire(poisoned)
  const others = load.sent - poisons
  expect(load.acknowledged.length).toBeLessThanOrEqual(others)
  // On a machine that is too busy some of the others may have come too late.
  expect(load.acknowledged.length).toBeGreaterThanOrEqual(isNoisy(load) ? others / 2 : others)
  expectAnswered(load)
  expectNothingLost(await fleet.evidence())
})

describe('connections', () => {
  it('that the control plane has used up do not slow decisions, but for those that need a person', async () => {
    const holder = await connected()
    await holder.query(`BEGIN; SELECT FROM agents FOR UPDATE`)
    const [allowed = '', denied = '', pending = ''] = BODIES
    let turn = 0
    const load = fleet.load({
      connections: 8,
      request: () => ({ ...fleet.question(), body: turn++ % 2 ? allowed : denied }),
    })
    const asking = fleet.load({
      connections: 2,
      request: () => ({ ...fleet.question(), body: pending }),
    })
    const began = performance.now()
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        fleet.first
          .call('PATCH', `/agents/${fleet.agents[i % fleet.agents.length]?.agent_id}`, {
            name: `wanted ${i}`,
          })
          .then(
            () => '200',
            (error: unknown) => /: (\d{3}) /.exec(String(error))?.[1] ?? String(error),
          ),
      ),
    )
    const took_ms = Math.round(performance.now() - began)
    await holder.query('ROLLBACK')
    await holder.end()
    await Promise.all([load.stop(), asking.stop()])
    report(
      `control plane stuck for ${took_ms} ms (${JSON.stringify(count(answers))}): ${load.summary()}; needing a person: ${asking.summary()}`,
    )
    if (answers.includes('500'))
      report(
        fleet.first.log
          .split('\n')
          .filter((line) => line.includes('error'))
          .slice(-2)
          .join('\n'),
      )
    expect(new Set(answers)).toEqual(new Set(['503']))
    expectDecided(load)
    expect(load.acknowledged.length).toBeGreaterThan(500)
    expect(load.slowest_ms).toBeLessThan(1_000 + load.noise_ms)
    expectAnswered(asking) // with 503 where it had to wait: asking people is a change, and changes were stuck
    await fleet.first.call('PATCH', `/agents/${fleet.agents[0]?.agent_id}`, { name: 'free again' })
    expectNothingLost(await fleet.evidence())
  })

  it('that others have used up are waited for, not for long, and taken again', async () => {
    const load = fleet.load({ connections: 16 })
    await load.more(200)
    const admin = await connected()
    await admin.query('ALTER DATABASE product CONNECTION LIMIT 0')
    await admin.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'product' AND usename = 'tenant'`,
    )
    await sleep(3_000)
    const refused = load.statuses.get(503) ?? 0
    await admin.query('ALTER DATABASE product CONNECTION LIMIT -1')
    await admin.end()
    const recovered_ms = Math.round(await load.more(200, 20_000))
    await load.stop()
    const evidence = await fleet.evidence()
    report(
      `no connection to be had for 3 s: ${load.summary()}; recovered in ${recovered_ms} ms; ${JSON.stringify(evidence)}`,
    )
    expect(refused).toBeGreaterThan(0)
    expect(recovered_ms).toBeLessThan(RECOVERED_WITHIN_MS)
    expectAnswered(load)
    expectNothingLost(evidence)
  })
})

describe('a full disk', () => {
  // Tried and undone at once: a run that leaves this test out must not leave a mount behind.
  const probe = mountSmallDisk()
  if (probe) unmount(probe)
  else report('SKIPPED: a small tmpfs cannot be mounted here (it takes root), so the full disk is not tested')
  let mount: string | null = null

  afterEach(() => mount && unmount(mount))
  ;(probe ? it : it.skip)('is a 503 in time, and decisions go on when there is room again', async () => {
    mount = mountSmallDisk()
    if (!mount) throw new Error('the small disk could be mounted before, and now it cannot')
    const data = path.join(mount, 'postgres')
    mkdirSync(data, { mode: 0o711 })
    const small = await startStrictPostgres(data)
    const narrow = await Fleet.start({ postgres: small })
    try {
      const load = narrow.load()
      await load.more(200)
      const ballast = path.join(mount, 'ballast')
      fill(mount, ballast)
      const full_at = load.acknowledged.length
      const until = performance.now() + 20_000
      while (!(load.statuses.get(503) ?? 0) && performance.now() < until) await sleep(50)
      await sleep(3_000)
      const made_meanwhile = load.acknowledged.length - full_at
      rmSync(ballast)
      const recovered_ms = Math.round(await load.more(200, 30_000))
      await load.stop()
      const evidence = await narrow.evidence()
      report(
        `disk full (${made_meanwhile} more decisions fit): ${load.summary()}; recovered in ${recovered_ms} ms; ${JSON.stringify(evidence)}`,
      )
      narrow.expectAlive()
      expect(load.statuses.get(503)).toBeGreaterThan(0)
      expect(recovered_ms).toBeLessThan(RECOVERED_WITHIN_MS)
      expectAnswered(load)
      expectNothingLost(evidence)
    } finally {
      await narrow.stop()
      await small.stop()
    }
  })
})

/** How far a new entry's time is from the database's clock: the least of three, as what passes in between is not it. */
async function newestOff(): Promise<number> {
  const found: number[] = []
  for (let i = 0; i < 3; i++) found.push(await offOnce())
  return found.reduce((least, off) => (Math.abs(off) < Math.abs(least) ? off : least))
}

async function offOnce(): Promise<number> {
  const [key, body] = [fleet.agents[0]?.key ?? '', BODIES[0] ?? '']
  const replica = fleet.replicas.at(-1)
  const before = await now()
  await fetch(`${replica?.url}/enforce`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-agent-key': key },
    body,
  })
  const rows = await postgres.query<{ ts: number }>(
    'product',
    'SELECT (extract(epoch FROM ts) * 1000)::float8 AS ts FROM ledger.ledger_entry ORDER BY index DESC LIMIT 1',
  )
  return Math.round((rows[0]?.ts ?? 0) - before)
}

async function now(): Promise<number> {
  const rows = await postgres.query<{ now: number }>('product', 'SELECT ledger.now_ms()::float8 AS now')
  return rows[0]?.now ?? 0
}

async function retire(replica: Fleet['first']): Promise<void> {
  fleet.replicas.splice(fleet.replicas.indexOf(replica), 1)
  await replica.remove()
}

async function connected(): Promise<Client> {
  const client = new Client({ connectionString: postgres.urlOf('product') })
  client.on('error', () => {})
  await client.connect()
  return client
}

function count(values: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1
  return counts
}

/** @returns where it is, or null when that is not allowed */
function mountSmallDisk(): string | null {
  if (process.getuid?.() !== 0) return null
  const folder = mkdtempSync(path.join(tmpdir(), 'agentguard-disk-'))
  const mounted = spawnSync('mount', [
    '-t',
    'tmpfs',
    '-o',
    'size=160m,mode=0755',
    'agentguard-faults',
    folder,
  ])
  if (mounted.status === 0) return folder
  rmSync(folder, { recursive: true })
  return null
}

function unmount(folder: string): void {
  spawnSync('umount', ['--lazy', folder])
  rmSync(folder, { recursive: true, force: true })
}

/** Leaves no room for anything. */
function fill(folder: string, ballast: string): void {
  const chunk = Buffer.alloc(64 * 1024)
  for (;;) {
    try {
      const { bavail, bsize } = statfsSync(folder)
      writeFileSync(ballast, bavail * bsize > chunk.length ? chunk : chunk.subarray(0, 4096), { flag: 'a' })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return
      throw error
    }
  }
}
