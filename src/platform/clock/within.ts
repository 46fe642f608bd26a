import { Problem } from '../../core/problems.js'

/**
 * What `work` resolves to, if it does so in time. It goes on either way; only the caller waits no longer.
 * @throws Problem `code` after `ms` milliseconds
 */
export async function within<T>(
  ms: number,
  work: Promise<T>,
  code: 'not_ready' | 'ledger_unavailable' = 'not_ready',
): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    // An answer that came while the process was busy is still in time: it is read before `setImmediate` runs.
    timer = setTimeout(() => setImmediate(() => reject(new Problem(code, { retry_after: 1 }))), ms)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
