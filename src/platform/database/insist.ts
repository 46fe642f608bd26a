import { setTimeout as sleep } from 'node:timers/promises'
import { toProblem } from '../http/to-problem.js'

export interface Insisting {
  /** How often it is tried, at most. */
  readonly attempts: number
  /** Milliseconds before the second attempt; before the nth n − 1 times as many. */
  readonly pause_ms: number
}

/** For what has begun to answer, and for a start: 9 s of pauses, longer than a database takes that starts again. */
export const PATIENT: Insisting = { attempts: 10, pause_ms: 200 }

/**
 * Tries again what the database was too busy for. Only for what may be done twice: a commit may have been heard by nobody.
 * @throws what the last attempt did, and at once whatever is not a matter of waiting
 */
export async function insist<T>(work: () => Promise<T>, { attempts, pause_ms }: Insisting): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === attempts || toProblem(error).code !== 'not_ready') throw error
      await sleep(pause_ms * attempt)
    }
  }
}
