import { Client } from 'pg'
import { EmbeddedPostgresError } from './errors'

/** Runs `use` with a connection of its own, which is closed afterwards. */
export async function withClient<T>(url: string, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 })
  client.on('error', () => {}) // a connection lost while idle: the next query reports it
  try {
    await client.connect()
    return await use(client)
  } catch (error) {
    if ((error as { code?: string }).code !== '28P01') throw error
    throw new EmbeddedPostgresError(
      'The embedded database does not accept the password in its file "superuser-password". ' +
        'Restore that file from the same backup as the data.',
      { cause: error },
    )
  } finally {
    await client.end()
  }
}

export const superuserUrl = (port: number, password: string, database: string): string =>
  `postgresql://postgres:${password}@127.0.0.1:${port}/${database}`
