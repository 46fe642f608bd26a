import type { Pool } from 'pg'
import { APP_ROLE, HOT_ROLE } from './connections.js'
import * as queries from './assertions.queries.js'

/**
 * What must be true of the database before the first request is served. Each failure names the thing and the
 * remedy; all failures are reported at once.
 *
 * - Both pools act as their role, and neither the role nor the login behind it is a superuser or bypasses
 *   row-level security: otherwise the second wall is paint.
 * - Every table that belongs to an organization has row-level security enabled, forced, and at least one policy
 *   (leaves of the ledger have none on purpose: they are reached through their parent).
 * - Neither role may UPDATE, DELETE or TRUNCATE the ledger, and its triggers fire always.
 * - fsync, full_page_writes and synchronous_commit are on: an answer promises that its entry is on disk.
 *   Only NODE_ENV=test may relax them.
 */
export async function assertDatabase(app: Pool, hot: Pool): Promise<void> {
  const failures: string[] = []
  for (const [pool, role] of [
    [app, APP_ROLE],
    [hot, HOT_ROLE],
  ] as const) {
    const identity = await queries.selectIdentity(pool)
    if (identity.acts_as !== role) {
      failures.push(`connections for ${role} act as "${identity.acts_as}": check DATABASE_URL and the roles`)
    }
    if (identity.privileged) {
      failures.push(
        `the login "${identity.login}" is a superuser or bypasses row-level security: use a user that is neither ` +
          '(it needs CREATEROLE only to migrate)',
      )
    }
  }
  for (const table of await queries.selectTablesWithoutWall(app)) {
    failures.push(`table ${table} lacks row-level security, FORCE, or a policy: run the migrations`)
  }
  for (const table of await queries.selectMutableLedgerTables(app, [APP_ROLE, HOT_ROLE])) {
    failures.push(`table ${table} of the ledger can be changed: revoke UPDATE, DELETE and TRUNCATE`)
  }
  for (const table of await queries.selectLedgerTablesWithoutTrigger(app)) {
    failures.push(`table ${table} of the ledger lacks its append_only trigger (ENABLE ALWAYS)`)
  }
  if (process.env.NODE_ENV !== 'test') {
    for (const setting of await queries.selectLooseDurability(hot)) {
      failures.push(`${setting} is off: an acknowledged decision could be lost; switch it on`)
    }
  }
  if (failures.length > 0)
    throw new Error(`the database is not safe to serve from:\n- ${failures.join('\n- ')}`)
}
