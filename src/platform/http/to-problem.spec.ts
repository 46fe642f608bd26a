import { databaseProblem, toProblem } from './to-problem.js'

/** As Prisma 7 throws it for a raw query: the driver's error is below `meta`, without a code. */
const raw = (kind: string): Error =>
  Object.assign(new Error('Raw query failed. Code: `N/A`.'), {
    code: 'P2010',
    meta: { driverAdapterError: { name: 'DriverAdapterError', cause: { kind } } },
  })

describe('what a failed statement is answered with', () => {
  it.each(['ConnectionClosed', 'SocketTimeout', 'DatabaseNotReachable', 'TooManyConnections'])(
    'a raw query whose connection is gone (%s) is a 503 to be tried again',
    (kind) => {
      const problem = toProblem(raw(kind))
      expect(problem.code).toBe('not_ready')
      expect(problem.status).toBe(503)
      expect(problem.retry_after).toBe(1)
    },
  )

  it('a raw query that is wrong in itself is not taken for a database that is away', () => {
    expect(databaseProblem(raw('ColumnNotFound'))).toBeUndefined()
    expect(toProblem(raw('ColumnNotFound')).status).toBe(500)
  })
})
