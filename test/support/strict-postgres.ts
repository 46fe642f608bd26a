import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, type QueryResultRow } from 'pg'
import {
  removeEmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../src/platform/embedded-postgres/embedded-postgres'
import { processStamp, readPostmasterFile } from '../../src/platform/embedded-postgres/processes'

const TENANT = { user: 'tenant', password: 'of-the-fault-tests' }

/** A PostgreSQL that keeps its promises (fsync on), in a temporary folder; started again when it dies, as on a laptop. */
export interface StrictPostgres {
  readonly port: number
  /** PostgreSQL's own folder. */
  readonly data_dir: string
  /** An empty database of an ordinary owner. @returns the owner's URL, as an operator sets it in `DATABASE_URL` */
  createDatabase(name: string): Promise<string>
  /** The superuser's URL. */
  urlOf(database: string): string
  /** Runs SQL as superuser, with a connection of its own; tries again while the server is away. */
  query<R extends QueryResultRow>(database: string, sql: string, values?: unknown[]): Promise<R[]>
  /** `kill -9` of the postmaster; the supervisor of `startEmbeddedPostgres` starts it again. */
  kill(): number
  /** A fast restart, as at a minor upgrade: connections are cut, nothing is lost. */
  restart(): void
  stop(): Promise<void>
}

/** @param where folder for the data; default: a new one in the system's temporary folder */
export async function startStrictPostgres(where?: string): Promise<StrictPostgres> {
  const folder = where ?? mkdtempSync(path.join(tmpdir(), 'agentguard-strict-'))
  const server = await startEmbeddedPostgres({ data_dir: folder })
  const urlOf = (database: string, login?: { user: string; password: string }): string => {
    const url = new URL(server.admin_url)
    url.pathname = `/${database}`
    if (login) [url.username, url.password] = [login.user, login.password]
    return url.href
  }
  const signal = (name: NodeJS.Signals): number => {
    const pid = readPostmasterFile(server.data_dir)?.pid
    if (pid === undefined || processStamp(pid) === undefined) return 0
    process.kill(pid, name)
    return pid
  }
  const query = async <R extends QueryResultRow>(
    database: string,
    sql: string,
    values: unknown[] = [],
  ): Promise<R[]> => {
    for (let left = 150; ; left--) {
      const client = new Client({ connectionString: urlOf(database) })
      client.on('error', () => {})
      try {
        await client.connect()
        return (await client.query<R>(sql, values)).rows
      } catch (error) {
        if (left === 0 || !isAway(error)) throw error
        await sleep(100)
      } finally {
        await client.end().catch(() => {})
      }
    }
  }
  const stop = async (): Promise<void> => {
    await server.stop()
    removeEmbeddedPostgres(folder)
  }
  try {
    await query(
      'postgres',
      `CREATE ROLE ${TENANT.user} LOGIN CREATEROLE NOSUPERUSER PASSWORD '${TENANT.password}'`,
    )
  } catch (error) {
    await stop()
    throw error
  }
  return {
    port: server.port,
    data_dir: server.data_dir,
    createDatabase: async (name) => {
      await query('postgres', `CREATE DATABASE ${name} OWNER ${TENANT.user}`)
      return urlOf(name, TENANT)
    },
    urlOf,
    query,
    kill: () => signal('SIGKILL'),
    restart: () => void signal('SIGINT'),
    stop,
  }
}

/** Not there, starting, stopping, or cut off in the middle: what passes by itself. */
function isAway(error: unknown): boolean {
  const { code = '', message = '' } = error as { code?: string; message?: string }
  return /^(ECONN|EPIPE|57P0|08)/.test(code) || /Connection terminated/.test(message)
}
