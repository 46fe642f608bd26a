import { setTimeout as sleep } from 'node:timers/promises'
import { Overdue } from './overdue.js'

/** Polls until it holds; a test that waits for ever ends by Jest's own limit. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(1)
}

describe('what is open for too long', () => {
  it('is told once of each, in the order in which they began to be watched, and is not open then', async () => {
    const late: string[] = []
    const overdue = new Overdue<string>(20, 1, (item) => late.push(item))
    const now = performance.now()
    for (const item of ['a', 'b', 'c']) overdue.begin(item, now)
    expect(overdue.size).toBe(3)
    await until(() => late.length > 0)
    expect(late).toEqual(['a', 'b', 'c'])
    expect(overdue.size).toBe(0)
    overdue.begin('d', performance.now())
    await until(() => late.length > 3)
    expect(late).toEqual(['a', 'b', 'c', 'd'])
  })

  it('looks at when each began, not at when it came', async () => {
    const late: string[] = []
    const overdue = new Overdue<string>(60_000, 1, (item) => late.push(item))
    const now = performance.now()
    overdue.begin('young', now)
    overdue.begin('old', now - 60_001)
    const last = overdue.begin('young too', now)
    await until(() => late.length > 0)
    expect(late).toEqual(['old'])
    expect(overdue.size).toBe(2)
    last.end()
    expect(overdue.size).toBe(1)
  })

  it('forgets what has ended, from any place, and however often that is said', async () => {
    const late: number[] = []
    const overdue = new Overdue<number>(5, 1, (item) => late.push(item))
    const began = performance.now()
    const open = [0, 1, 2, 3, 4].map((item) => overdue.begin(item, began))
    for (const at of [0, 2, 4, 2, 0]) open[at]?.end()
    expect(overdue.size).toBe(2)
    await until(() => late.length === 2)
    expect(late).toEqual([1, 3])
    open[1]?.end()
    expect(overdue.size).toBe(0)
  })

  it('may be told of an end while it tells of another', async () => {
    const late: string[] = []
    const overdue = new Overdue<string>(1, 1, (item) => {
      late.push(item)
      second.end()
    })
    const began = performance.now() - 2
    overdue.begin('first', began)
    const second = overdue.begin('second', began)
    await until(() => late.length > 0)
    expect(late[0]).toBe('first')
    expect(overdue.size).toBe(0)
  })
})
