import { FairQueue, type FairQueueLimits, type Waiting } from './fair-queue.js'

const LIMITS: FairQueueLimits = { max_queue: 100, max_queue_org: 75, max_wait_ms: 500, fair: true }

interface Item extends Waiting {
  readonly name: string
}

let now = 0
const item = (org_id: string, cost = 1): Item => ({ org_id, cost, queued_at: now++, name: `${org_id}${now}` })
const all = () => 'with_others' as const

function filled(count: number, limits: Partial<FairQueueLimits> = {}): FairQueue<Item> {
  const queue = new FairQueue<Item>({ ...LIMITS, ...limits })
  for (let i = 0; i < count; i++) queue.push(item('flood'))
  return queue
}

const counts = (items: readonly Item[]): Record<string, number> => {
  const found: Record<string, number> = {}
  for (const { org_id } of items) found[org_id] = (found[org_id] ?? 0) + 1
  return found
}

beforeEach(() => (now = 0))

it('gives everybody who waits an equal share of a batch, and what they leave to the others', () => {
  const queue = filled(16)
  for (let i = 0; i < 3; i++) queue.push(item('b'))
  for (let i = 0; i < 12; i++) queue.push(item('c'))
  expect(counts(queue.take(20, all).items)).toEqual({ flood: 9, b: 3, c: 8 })
  queue.push(item('b'))
  expect(counts(queue.take(20, all).items)).toMatchObject({ b: 1 })
})

it('appends by itself who has much, in its turn, and leaves it out where that is to be', () => {
  const queue = filled(70)
  queue.push(item('flood', 100))
  for (const org of ['b', 'c']) for (let i = 0; i < 3; i++) queue.push(item(org))
  expect(queue.take(512, all, false)).toMatchObject({ orgs: ['b', 'c'], large: false })
  queue.push(item('b'))
  const first = queue.take(512, all)
  expect(first).toMatchObject({ orgs: ['flood'], large: true })
  expect(counts(first.items)).toEqual({ flood: 70 }) // the group would make it more than a turn
  queue.push(item('flood'))
  expect(queue.take(512, all)).toMatchObject({ orgs: ['b'], large: false })
  expect(queue.take(512, all)).toMatchObject({ orgs: ['flood'], large: true })
  expect(queue.size).toBe(0)
})

it('gives who has much a whole batch where nobody else waits', () => {
  const queue = new FairQueue<Item>({ ...LIMITS, max_queue: 1_000, max_queue_org: 900 })
  for (let i = 0; i < 600; i++) queue.push(item('flood'))
  expect(queue.take(512, all).items).toHaveLength(512)
})

it('control: with fairness off, who came first takes it all', () => {
  const queue = filled(70, { fair: false })
  queue.push(item('b'))
  expect(counts(queue.take(30, all).items)).toEqual({ flood: 30 })
})

it('keeps the order within an organization, and groups whole', () => {
  const queue = new FairQueue<Item>(LIMITS)
  const pushed = [1, 10, 1, 10, 1].map((cost) => item('a', cost))
  for (const one of pushed) queue.push(one)
  for (let i = 0; i < 20; i++) queue.push(item('b'))
  const served: Item[] = []
  for (let batch = queue.take(12, all); batch.items.length > 0; batch = queue.take(12, all)) {
    expect(batch.items.reduce((sum, { cost }) => sum + cost, 0)).toBeLessThanOrEqual(12)
    served.push(...batch.items)
  }
  expect(served.filter(({ org_id }) => org_id === 'a')).toEqual(pushed)
  expect(served).toHaveLength(25)
  expect(queue.size).toBe(0)
})

it('serves everybody within a few batches, however many wait and however large their groups', () => {
  const queue = new FairQueue<Item>({ ...LIMITS, max_queue: 10_000, max_queue_org: 7_500 })
  for (let org = 0; org < 50; org++) for (let i = 0; i < 4; i++) queue.push(item(`o${org}`, 100))
  const first = new Set<string>()
  // A group of each, one after the other.
  for (let batch = 0; batch < 50; batch++)
    for (const { org_id } of queue.take(512, all).items) first.add(org_id)
  expect(first.size).toBe(50)
})

it('refuses a flood at its own bound, and lets the others in beyond the common one', () => {
  const queue = filled(75)
  expect(queue.admits('flood', 1, now)).toBe(false)
  expect(queue.admits('b', 25, now)).toBe(true)
  for (let i = 0; i < 25; i++) queue.push(item('b'))
  expect(queue.admits('c', 1, now)).toBe(true)
  expect(queue.admits('b', 9, now)).toBe(false)
  // However many organizations come: twice the bound waits at most.
  let waits = 100
  for (let org = 0; org < 1_000; org++) {
    while (queue.admits(`o${org}`, 1, now)) {
      queue.push(item(`o${org}`))
      waits++
    }
  }
  expect(waits).toBe(200)
})

it('judges how long an organization waits by its own entries', () => {
  const queue = filled(1)
  expect(queue.admits('flood', 1, 600)).toBe(false)
  expect(queue.admits('b', 1, 600)).toBe(true)
  const shared = filled(1, { fair: false })
  expect(shared.admits('b', 1, 600)).toBe(false)
})

it('leaves out who may not go now, and lets go alone who must', () => {
  const queue = filled(3)
  queue.push(item('b'))
  queue.push(item('c'))
  const admission = (org_id: string) =>
    org_id === 'flood' ? 'not_now' : org_id === 'b' ? 'alone' : 'with_others'
  expect(queue.take(30, admission)).toMatchObject({ orgs: ['b'], alone: true })
  expect(queue.take(30, admission)).toMatchObject({ orgs: ['c'], alone: false })
  expect(queue.take(30, admission).items).toEqual([])
  expect(queue.size).toBe(3)
})

it('puts an item back in front of what came later', () => {
  const queue = filled(3)
  const [first] = queue.take(1, all).items
  if (first) queue.putBack(first)
  expect(queue.take(1, all).items).toEqual([first])
})
