const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

/** Pauses after the first, second, … failed attempt: about three days in all (Standard Webhooks, Retry schedule). */
export const PAUSES_MS: readonly number[] = [
  5 * SECOND,
  5 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  14 * HOUR,
  20 * HOUR,
  24 * HOUR,
]
export const MAX_ATTEMPTS = PAUSES_MS.length + 1
/** A receiver may ask for a longer pause, but not keep a message for ever. */
const MAX_RETRY_AFTER_MS = 24 * HOUR

/**
 * How long to wait after a failed attempt; null when it was the last.
 * @param attempt from 1 @param random in [0, 1): spreads the retries of many messages over ±20 %
 * @param retry_after the receiver's header: seconds or an HTTP date (RFC 9110 10.2.3)
 */
export function pauseAfter(
  attempt: number,
  random: number,
  retry_after: string | undefined,
  now: number,
): number | null {
  const pause = PAUSES_MS[attempt - 1]
  if (pause === undefined) return null
  const asked = Math.min(readRetryAfter(retry_after, now), MAX_RETRY_AFTER_MS)
  return Math.round(Math.max(pause * (0.8 + 0.4 * random), asked))
}

function readRetryAfter(text: string | undefined, now: number): number {
  if (text === undefined) return 0
  if (/^\d{1,9}$/.test(text)) return Number(text) * SECOND
  const at = /^[A-Z][a-z]{2}, /.test(text) ? Date.parse(text) : NaN
  return Number.isNaN(at) ? 0 : Math.max(0, at - now)
}
