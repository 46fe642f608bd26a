import { spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
// Without ".js": Jest runs this file outside of its own name mapping.
import { migrate, setLogins } from '../prisma/migrate'
import {
  type EmbeddedPostgres,
  ensureDatabase,
  removeEmbeddedPostgres,
  startEmbeddedPostgres,
} from '../src/platform/embedded-postgres/embedded-postgres'
import { SERVER_VARIABLE, TEMPLATE, TEST_LOGINS } from './support/postgres'

/** One PostgreSQL for the whole run, with one migrated database that `createTestDatabase` copies. */
export default async function setup(): Promise<void> {
  const startedAt = performance.now()
  const dataDir = mkdtempSync(path.join(tmpdir(), 'agentguard-test-'))
  const server = await startEmbeddedPostgres({ data_dir: dataDir, relaxed: true })
  const teardown = async (): Promise<void> => {
    await server.stop()
    removeEmbeddedPostgres(dataDir)
  }
  globalThis.stopTestServer = teardown
  endWithThisProcess(server, dataDir)
  try {
    const template = new URL(server.admin_url)
    template.pathname = `/${TEMPLATE}`
    await ensureDatabase(server.admin_url, TEMPLATE)
    await migrate(template.href)
    await setLogins(template.href, TEST_LOGINS)
  } catch (error) {
    await teardown() // Jest does not call the global teardown when the setup fails
    throw error
  }
  process.env[SERVER_VARIABLE] = server.admin_url
  console.log(`\nPostgreSQL for the tests: ${Math.round(performance.now() - startedAt)} ms`)
}

/**
 * Ctrl-C ends Jest without its teardown, and the server has a process group of its own. This watcher reads from a
 * pipe that only Jest holds: it ends with Jest, however Jest ends, and then the watcher removes what is left.
 */
function endWithThisProcess(server: EmbeddedPostgres, dataDir: string): void {
  const script = `
    cat > /dev/null
    pid=$(head -n 1 "$1/postmaster.pid" 2> /dev/null) && kill -QUIT "$pid" && while kill -0 "$pid"; do sleep 0.1; done
    case "$1" in "$2"/*) ;; *) rm -rf "$(dirname "$1")" ;; esac
    rm -rf "$2"`
  spawn('/bin/sh', ['-c', script, 'sh', server.data_dir, dataDir], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  }).unref()
}

declare global {
  var stopTestServer: (() => Promise<void>) | undefined
}
