import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from '../platform/database/database.service.js'
import { toProblem } from '../platform/http/to-problem.js'

const ATTEMPTS = 3
const PAUSE_MS = 50

/** Tries again what the database was too busy for. Only for what may be done twice: a commit may have been heard by nobody. */
async function insist<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === ATTEMPTS || toProblem(error).code !== 'not_ready') throw error
      await sleep(PAUSE_MS * attempt)
    }
  }
}

/**
 * Stopping gets through when everything else is busy: on connections of its own, and again when a lock was not to be
 * had or the database was away for a moment. Doing it twice is harmless: what is active already is found.
 */
export function stopping<T>(database: Database, work: () => Promise<T>): Promise<T> {
  return database.urgently(() => insist(work))
}
