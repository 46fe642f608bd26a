import type { PoolConfig } from 'pg'

/** How to reach the database in each role. Made by `openConnections` or by a test. */
export interface Connections {
  /** The control plane's role: row-level security by `app.org_id`. */
  readonly app: PoolConfig
  /** The decision path's role: reads configuration, appends to the ledger. */
  readonly hot: PoolConfig
  /** Runs after everything that uses the connections has stopped (the embedded server's own stop). */
  readonly close: () => Promise<void>
}

export const APP_ROLE = 'agentguard_app'
export const HOT_ROLE = 'agentguard_hot'

/**
 * Connections of one owner's URL: each pool takes on its role for the whole session.
 * The URL's own user must not be a superuser; `assertDatabase` refuses that.
 */
export function connectionsOfOwner(url: string, close: () => Promise<void> = async () => {}): Connections {
  return {
    app: { connectionString: url, options: `-c role=${APP_ROLE}` },
    hot: { connectionString: url, options: `-c role=${HOT_ROLE}` },
    close,
  }
}

/** Connections whose roles log in themselves (embedded database, tests). */
export function connectionsOfLogins(
  urls: { app_url: string; hot_url: string },
  close: () => Promise<void> = async () => {},
): Connections {
  return { app: { connectionString: urls.app_url }, hot: { connectionString: urls.hot_url }, close }
}
