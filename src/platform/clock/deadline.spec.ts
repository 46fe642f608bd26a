import { Deadline } from './deadline.js'

const never = (): Promise<never> => new Promise<never>(() => undefined)

describe('the deadline of a decision', () => {
  it('counts from when work on the request began, not from when it was made', async () => {
    const spent = new Deadline(2_000, performance.now() - 2_000)
    expect(() => spent.check()).toThrow(expect.objectContaining({ code: 'ledger_unavailable' }) as Error)
    await expect(spent.wait(never())).rejects.toMatchObject({ code: 'ledger_unavailable', retry_after: 1 })
  })

  it('lets through what is in time, and its failure', async () => {
    const deadline = new Deadline(60_000)
    deadline.check()
    await expect(deadline.wait(Promise.resolve('done'))).resolves.toBe('done')
    await expect(deadline.wait(Promise.reject(new Error('broke')))).rejects.toThrow('broke')
  })
})
