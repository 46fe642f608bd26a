import type { Database } from '../platform/database/database.service.js'
import { insist, type Insisting } from '../platform/database/insist.js'

const HURRIED: Insisting = { attempts: 3, pause_ms: 50 }

/**
 * Stopping gets through when everything else is busy: on connections of its own, and again when a lock was not to be
 * had or the database was away for a moment. Doing it twice is harmless: what is active already is found.
 */
export function stopping<T>(database: Database, work: () => Promise<T>): Promise<T> {
  return database.urgently(() => insist(work, HURRIED))
}
