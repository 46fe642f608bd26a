import { randomBytes } from 'node:crypto'

/** 1 to 128 visible ASCII characters: anything else could split a log line or another header. */
const SANE = /^[\x21-\x7e]{1,128}$/

/** Tells processes apart that answer in the same millisecond. */
const process_part = randomBytes(4).toString('hex')
let count = 0

/**
 * The id of a request (row AG-98): the caller's `X-Request-ID` when it is sane, else `req_<epoch ms>_<unique>`.
 * @param header the header as Node gives it; a repeated one arrives joined by ", " and so is not sane.
 */
export function requestId(header: string | string[] | undefined, now = Date.now()): string {
  if (typeof header === 'string' && SANE.test(header)) return header
  count = (count + 1) % 0x100000000
  return `req_${now}_${process_part}${count.toString(36)}`
}

/** `X-Response-Time` (row AG-98): seconds with milliseconds, `0.123s`. */
export const responseTime = (duration_ms: number): string => `${(duration_ms / 1000).toFixed(3)}s`

/** The id that `entrance` gave this request. */
export const idOf = (request: { id?: unknown }): string => (typeof request.id === 'string' ? request.id : '')
