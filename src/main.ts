import { existsSync } from 'node:fs'
import v8 from 'node:v8'
import { createApp } from './app.js'
import { loadSettings } from './platform/config/load-settings.js'
import type { Settings } from './platform/config/settings.js'
import { openConnections } from './platform/database/open-connections.js'

// Patterns never come from users as regular expressions; should one of ours ever backtrack badly, it turns linear.
v8.setFlagsFromString('--enable-experimental-regexp-engine-on-excessive-backtracks')

/** Starts the service: settings, database, application; then waits for a signal. */
async function main(): Promise<void> {
  if (existsSync('.env')) process.loadEnvFile('.env')
  const settings = loadSettings(process.env)
  const connections = await openConnections(settings)
  let app
  try {
    app = await createApp(settings, connections)
    stopOnSignal(app)
    await app.listen(settings.port, settings.host)
  } catch (error) {
    await (app ? app.close() : connections.close()).catch(() => undefined)
    throw error
  }
  console.error(readyLine(settings, await app.getUrl()))
}

/** The first signal drains and closes; a second one does not wait. */
function stopOnSignal(app: { close(): Promise<void> }): void {
  let stopping = false
  const stop = (signal: NodeJS.Signals) => {
    if (stopping) process.exit(signal === 'SIGINT' ? 130 : 143)
    stopping = true
    app.close().then(
      () => process.exit(0),
      (error: unknown) => fail(error),
    )
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
}

function readyLine(settings: Settings, url: string): string {
  const { admin_api_key_source: source } = settings
  const where = source.kind === 'file' ? source.path : `the environment variable ${source.variable}`
  return `AgentGuard is ready at ${url} (documentation at /docs). The root key is in ${where}.`
}

function fail(error: unknown): never {
  console.error(`fatal: ${error instanceof Error ? error.message : String(error)}`)
  process.exit(1)
}

main().catch(fail)
