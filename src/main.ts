import './process-setup.js'
import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type Logger, pino } from 'pino'
import { createApp } from './app.js'
import { Primary } from './platform/cluster/primary.js'
import { primary, workerNumber } from './platform/cluster/worker.js'
import { loadSettings } from './platform/config/load-settings.js'
import type { Settings } from './platform/config/settings.js'
import type { Connections } from './platform/database/connections.js'
import { openConnections } from './platform/database/open-connections.js'
import { leave } from './platform/http/server.js'
import { Shutdown } from './platform/http/shutdown.js'
import { logDestination, logOptions } from './platform/logging/log-options.js'
import { SetupService } from './setup/setup.service.js'

/** The primary process answers its workers at once; this is only so long that a broken one is noticed. */
const START_MS = 10_000

/** The service from start to end: settings, database, application, then the way back when a signal comes. */
async function main(): Promise<void> {
  const stopped = firstSignal()
  if (existsSync('.env')) process.loadEnvFile('.env')
  const settings = loadSettings({ ...process.env, ...flags() })
  const log = pino(logOptions(settings), logDestination(settings)).child({ logger: 'main' })
  const line = primary()
  if (line) {
    const told = new Promise<void>((resolve) => line.answer('stop', () => resolve()))
    const given = await line.ask<Pick<Connections, 'app' | 'hot'>>('start', null, START_MS)
    const connections = { ...given, close: () => Promise.resolve() }
    await serve(settings, connections, Promise.race([stopped, told]), log, (url) =>
      line.ask('ready', url, START_MS),
    )
    return
  }
  const connections = await openConnections(settings, (text) => log.info(text))
  if (settings.workers > 1) return lead(settings, connections, stopped, log)
  return serve(settings, connections, stopped, log, (url) => log.info(readyLine(settings, url)))
}

/** Answers requests until `stopped`. */
async function serve(
  settings: Settings,
  connections: Connections,
  stopped: Promise<void>,
  log: Logger,
  announce: (url: string) => unknown,
): Promise<void> {
  let close = () => connections.close()
  try {
    const app = await createApp(settings, connections)
    close = () => app.close()
    await app.listen(settings.port, settings.host)
    await announce(await app.getUrl())
    const first = (workerNumber() ?? 1) === 1 && (await app.get(SetupService).firstLink())
    // The one secret that is ever printed: who reads it first owns what is still empty.
    if (first) log.info(`Set up the first owner here, once and within 24 hours: ${first.link}`)
    await stopped
    log.info('Stopping: answering what is in flight')
    await leave(app.getHttpServer(), app.get(Shutdown))
  } finally {
    await close()
  }
}

/** Has several workers answer until `stopped`; the database is opened and closed here, once. */
async function lead(
  settings: Settings,
  { app, hot, close }: Connections,
  stopped: Promise<void>,
  log: Logger,
): Promise<void> {
  const workers = new Primary(settings.workers, { app, hot }, log)
  try {
    workers.start()
    const url = await Promise.race([workers.ready, workers.failure, stopped])
    if (url !== undefined) log.info(`${settings.workers} workers. ${readyLine(settings, url)}`)
    await Promise.race([stopped, workers.failure])
    log.info('Stopping: the workers answer what is in flight')
  } finally {
    await workers.stop()
    await close()
  }
}

/** What the command line says instead of the environment. */
function flags(): Record<string, string> {
  const { workers } = parseArgs({ options: { workers: { type: 'string' } } }).values
  return workers === undefined ? {} : { WEB_CONCURRENCY: workers }
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
