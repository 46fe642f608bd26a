import fc from 'fast-check'
import { Problem } from '../core/problems.js'
import { Line } from './line.js'

/** Work that is done when the test says so. */
function held() {
  const groups: number[][] = []
  const go: (() => void)[] = []
  const line = new Line<number, string>(
    async (items) => {
      groups.push([...items])
      await new Promise<void>((resolve) => go.push(resolve))
      if (items.includes(13)) throw new Error('thirteen')
      return items.map((item) => `done ${item}`)
    },
    () => 1,
    3,
  )
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn++) {
      go.shift()?.()
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  return { line, groups, settle }
}

describe('a line', () => {
  it('serves a lone one at once, and those that gathered meanwhile together, in their order', async () => {
    const { line, groups, settle } = held()
    const all = [1, 2, 3, 4, 5].map((item) => line.stand('a', item))
    await settle()
    expect(await Promise.all(all)).toEqual(['done 1', 'done 2', 'done 3', 'done 4', 'done 5'])
    expect(groups).toEqual([[1], [2, 3, 4], [5]])
  })

  it('keeps names apart', async () => {
    const { line, groups, settle } = held()
    const all = [line.stand('a', 1), line.stand('b', 2)]
    expect(groups).toEqual([[1], [2]])
    await settle()
    expect(await Promise.all(all)).toEqual(['done 1', 'done 2'])
  })

  it('lets nobody fail for the sake of another', async () => {
    const { line, settle } = held()
    const all = [1, 2, 13, 4].map((item) => line.stand('a', item))
    const outcomes = Promise.allSettled(all)
    await settle()
    expect((await outcomes).map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
    ])
  })

  it('refuses whom it could not serve in time', async () => {
    const { line } = held()
    for (let item = 0; item < 201; item++) void line.stand('a', item)
    await expect(line.stand('a', 201)).rejects.toThrow(Problem)
    void line.stand('b', 1)
  })

  it('gives everybody the own result, whatever the sizes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 40 }), async (sizes) => {
        const line = new Line<{ at: number; size: number }, number>(
          async (items) => {
            const total = items.reduce((sum, { size }) => sum + size, 0)
            expect(items.length === 1 || total <= 5).toBe(true)
            await Promise.resolve()
            return items.map(({ at }) => at)
          },
          ({ size }) => size,
          5,
        )
        const results = await Promise.all(sizes.map((size, at) => line.stand('a', { at, size })))
        expect(results).toEqual(sizes.map((_, at) => at))
      }),
    )
  })
})
