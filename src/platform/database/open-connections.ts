import { createHmac } from 'node:crypto'
import path from 'node:path'
import { migrate, setLogins } from '../../../prisma/migrate.js'
import type { Settings } from '../config/settings.js'
import { startEmbeddedPostgres } from '../embedded-postgres/embedded-postgres.js'
import {
  APP_ROLE,
  type Connections,
  connectionsOfLogins,
  connectionsOfOwner,
  HOT_ROLE,
} from './connections.js'

/**
 * Gets the database ready and says how to reach it: the one of `DATABASE_URL`, or a PostgreSQL of our own in
 * `DATA_DIR`. Pending migrations are applied first (`MIGRATE_ON_START`; always with the embedded server).
 * @throws Error with what to do when the database cannot be reached, started or migrated
 */
export async function openConnections(
  settings: Pick<Settings, 'database_url' | 'migrate_on_start' | 'data_dir'>,
  log: (line: string) => void = () => {},
): Promise<Connections> {
  const { database_url } = settings
  if (database_url !== undefined) {
    if (settings.migrate_on_start) await migrate(database_url)
    return connectionsOfOwner(database_url)
  }
  const server = await startEmbeddedPostgres({ data_dir: path.resolve(settings.data_dir, 'postgres'), log })
  try {
    await migrate(server.admin_url)
    const logins = {
      app: passwordOf(server.admin_url, APP_ROLE),
      hot: passwordOf(server.admin_url, HOT_ROLE),
    }
    await setLogins(server.admin_url, logins)
    return connectionsOfLogins(
      {
        app_url: asLogin(server.admin_url, APP_ROLE, logins.app),
        hot_url: asLogin(server.admin_url, HOT_ROLE, logins.hot),
      },
      () => server.stop(),
    )
  } catch (error) {
    await server.stop()
    throw error
  }
}

/** A role's password, made from the superuser's: every process that shares the server arrives at the same one. */
const passwordOf = (admin_url: string, role: string): string =>
  createHmac('sha256', new URL(admin_url).password).update(role).digest('base64url')

function asLogin(admin_url: string, user: string, password: string): string {
  const login = new URL(admin_url)
  login.username = user
  login.password = password
  return login.href
}
