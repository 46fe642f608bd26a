import './process-setup.js'
import { existsSync } from 'node:fs'
import { pino } from 'pino'
import { createApp } from './app.js'
import { loadSettings } from './platform/config/load-settings.js'
import type { Settings } from './platform/config/settings.js'
import { openConnections } from './platform/database/open-connections.js'
import { leave } from './platform/http/server.js'
import { Shutdown } from './platform/http/shutdown.js'
import { logDestination, logOptions } from './platform/logging/log-options.js'
import { SetupService } from './setup/setup.service.js'

/** The service from start to end: settings, database, application, then the way back when a signal comes. */
async function main(): Promise<void> {
  const stopped = firstSignal()
  if (existsSync('.env')) process.loadEnvFile('.env')
  const settings = loadSettings(process.env)
  const log = pino(logOptions(settings), logDestination(settings)).child({ logger: 'main' })
  const connections = await openConnections(settings, (line) => log.info(line))
  let close = () => connections.close()
  try {
    const app = await createApp(settings, connections)
    close = () => app.close()
    await app.listen(settings.port, settings.host)
    log.info(readyLine(settings, await app.getUrl()))
    const first = await app.get(SetupService).firstLink()
    // The one secret that is ever printed: who reads it first owns what is still empty.
    if (first) log.info(`Set up the first owner here, once and within 24 hours: ${first.link}`)
    await stopped
    log.info('Stopping: answering what is in flight')
    await leave(app.getHttpServer(), app.get(Shutdown))
  } finally {
    await close()
  }
}

/** Resolves at the first SIGINT or SIGTERM, also when it comes during the start; the second one does not wait. */
function firstSignal(): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const) {
      process.on(signal, () => {
        if (stopping) process.exit(code)
        stopping = true
        resolve()
      })
    }
  })
}

function readyLine(settings: Settings, url: string): string {
  const { admin_api_key_source: source } = settings
  const where = source.kind === 'file' ? source.path : `the environment variable ${source.variable}`
  return `AgentGuard is ready at ${url} (documentation at /docs). The root key is in ${where}.`
}

/** One line for people, whatever it was: a list of failed addresses has no message of its own. */
function fail(error: unknown): never {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error
  process.stderr.write(`fatal: ${first instanceof Error ? first.message : String(first)}\n`)
  process.exit(1)
}

main().then(() => process.exit(0), fail)
