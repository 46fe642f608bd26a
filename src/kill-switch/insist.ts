import { setTimeout as sleep } from 'node:timers/promises'
import { toProblem } from '../platform/http/to-problem.js'

const ATTEMPTS = 3
const PAUSE_MS = 50

/** Tries again what the database was too busy for. Only for what may be done twice: a commit may have been heard by nobody. */
export async function insist<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === ATTEMPTS || toProblem(error).code !== 'not_ready') throw error
      await sleep(PAUSE_MS * attempt)
    }
  }
}
