import { HttpException } from '@nestjs/common'
import { Problem, type ProblemCode } from '../../core/problems.js'
import { errorField } from './error-code.js'

const BY_STATUS: Readonly<Record<number, ProblemCode>> = {
  401: 'unauthenticated',
  403: 'forbidden',
  404: 'not_found',
  405: 'method_not_allowed',
  406: 'not_acceptable',
  408: 'request_incomplete',
  409: 'conflict',
  413: 'payload_too_large',
  415: 'unsupported_media_type',
  422: 'validation_failed',
  429: 'rate_limit_exceeded',
  431: 'headers_too_large',
  503: 'not_ready',
}

/** Turns whatever was thrown into a Problem. What nobody foresaw says nothing about the inside. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (error instanceof HttpException) return fromStatus(error.getStatus(), error)
  return databaseProblem(error) ?? fromStatus(statusOf(error), error)
}

function fromStatus(status: number, cause: unknown): Problem {
  const code = BY_STATUS[status] ?? (status >= 400 && status < 500 ? 'bad_request' : 'internal_server_error')
  return new Problem(code, { cause })
}

/** Errors of Express and its parts carry their status; only a 4xx is believed. */
function statusOf(error: unknown): number {
  const status = errorField(error, 'status') ?? errorField(error, 'statusCode')
  return typeof status === 'number' && status >= 400 && status < 500 ? status : 500
}

/** SQLSTATE classes and codes of Prisma and Node that mean: the database is not to be had right now. */
const AWAY =
  /^(08...|57P0[1-5]|53...|55P03|57014|40001|40P01|25P03|58...|P1000|P1001|P1002|P1008|P1011|P1017|P2024|P2028|P2034|P2037|ECONN.*|EPIPE|ETIMEDOUT|ENOTFOUND|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN)$/
/** The same as Prisma's driver adapter names it, where an error of a raw query carries no code. */
const AWAY_KIND =
  /^(ConnectionClosed|SocketTimeout|DatabaseNotReachable|TooManyConnections|TlsConnectionError|TransactionWriteConflict)$/
/** Values that a column cannot hold: the input's fault, whoever should have caught it. */
const UNSTORABLE = /^(22021|22P05|22P02|22003|22001)$/
/** node-postgres reports these without a code. */
const AWAY_MESSAGE =
  /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout|Client has encountered a connection error|Cannot use a pool after calling end)/

/** Looks through an error's causes, as drivers and Prisma nest them. */
export function databaseProblem(error: unknown): Problem | undefined {
  for (let level: unknown = error, depth = 0; level && depth < 6; depth++) {
    for (const name of ['code', 'originalCode', 'errorCode']) {
      const code = errorField(level, name)
      if (typeof code !== 'string') continue
      if (AWAY.test(code))
        return new Problem('not_ready', { detail: AWAY_DETAIL, retry_after: 1, cause: error })
      if (UNSTORABLE.test(code))
        return new Problem('validation_failed', { detail: 'A value cannot be stored.', cause: error })
    }
    const kind = errorField(level, 'kind')
    if (
      (typeof kind === 'string' && AWAY_KIND.test(kind)) ||
      AWAY_MESSAGE.test(String(errorField(level, 'message')))
    )
      return new Problem('not_ready', { detail: AWAY_DETAIL, retry_after: 1, cause: error })
    level = errorField(level, 'cause') ?? errorField(errorField(level, 'meta'), 'driverAdapterError')
  }
  return undefined
}

const AWAY_DETAIL = 'The database cannot be reached or is too busy. Try again.'
