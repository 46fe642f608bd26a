// The background service that "make up" starts: where its files are, whether it runs, whether it answers.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { Stop, fromBuild, root } from './project.mjs'

/** Read when needed, not at import: .env is loaded in between. */
export function settings() {
  const dataDir = path.resolve(root, process.env.DATA_DIR || '.data')
  const port = Number(process.env.PORT || 8000)
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw new Stop(`PORT is "${process.env.PORT}": it must be a number from 1 to 65535.`)
  }
  const host = process.env.HOST || '127.0.0.1'
  const reachable = ['0.0.0.0', '::'].includes(host) ? '127.0.0.1' : host
  return {
    dataDir,
    port,
    url: `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`,
    log: path.join(dataDir, 'api.log'),
    record: path.join(dataDir, 'api.json'),
    database: path.join(dataDir, 'postgres'),
    rootKey: path.join(dataDir, 'admin-key'),
  }
}

/** @returns what "make up" wrote down about its process, if that one is still running */
export function runningService() {
  const { record } = settings()
  if (!existsSync(record)) return undefined
  const service = JSON.parse(readFileSync(record, 'utf8'))
  if (commandOf(service.pid)?.includes('dist/src/main.js')) return service
  rmSync(record, { force: true }) // killed, or the machine was restarted: the pid may be any program's now
  return undefined
}

function commandOf(pid) {
  try {
    if (existsSync('/proc/self/cmdline'))
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
    return execFileSync('ps', ['-o', 'args=', '-p', String(pid)], { encoding: 'utf8' })
  } catch {
    return undefined // no such process
  }
}

/** @returns the answer's status and body, or undefined when nobody answers */
export async function ask(url) {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(3_000) })
    return { status: response.status, body: await response.text() }
  } catch {
    return undefined
  }
}

/**
 * Runs `work` with a superuser's URL of the database: the one of DATABASE_URL, or the embedded one, which is started
 * for as long as needed unless it is running already.
 */
export async function withDatabase(work) {
  if (process.env.DATABASE_URL) return work(process.env.DATABASE_URL)
  return withEmbeddedDatabase(settings().database, work)
}

export async function withEmbeddedDatabase(dataDir, work) {
  const { startEmbeddedPostgres, EmbeddedPostgresError } = await embeddedPostgres()
  try {
    const server = await startEmbeddedPostgres({
      data_dir: dataDir,
      share: true,
      log: (line) => console.log(line),
    })
    try {
      return await work(server.admin_url)
    } finally {
      await server.stop()
    }
  } catch (error) {
    throw error instanceof EmbeddedPostgresError ? new Stop(error.message) : error
  }
}

export const embeddedPostgres = () => fromBuild('src/platform/embedded-postgres/embedded-postgres.js')
