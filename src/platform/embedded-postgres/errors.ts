/** The embedded database cannot be had; the message says what to do about it. */
export class EmbeddedPostgresError extends Error {
  override readonly name = 'EmbeddedPostgresError'
}

/** The way out that always exists, for the end of a message. */
export const USE_YOUR_OWN = 'or set DATABASE_URL to a PostgreSQL 15 or newer of your own'
