// make down: stops the background service and its database; the data stay.
import { existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Stop, main, step } from './support/project.mjs'
import { embeddedPostgres, runningService, settings } from './support/service.mjs'

const PATIENCE_MS = 60_000

await main(async () => {
  const service = runningService()
  if (service) await step('Stopping', () => stop(service))
  const leftDatabase = await stopLeftDatabase()
  if (!service && !leftDatabase) console.log('AgentGuard is not running.')
  else console.log('AgentGuard is stopped; its data stay.')
})

/** The service finishes the requests it has, writes its log and stops its database, then ends. */
async function stop({ pid }) {
  process.kill(pid, 'SIGTERM')
  const deadline = Date.now() + PATIENCE_MS
  while (runningService()) {
    if (Date.now() > deadline) {
      process.kill(pid, 'SIGKILL')
      console.log(
        `\n  It did not end within ${PATIENCE_MS / 1000} s and was killed. What it had acknowledged is on disk.`,
      )
    }
    await sleep(50)
  }
  rmSync(settings().record, { force: true })
}

/** When the service was killed, its database is still there. */
async function stopLeftDatabase() {
  const { database } = settings()
  if (!existsSync(path.join(database, 'cluster', 'postmaster.pid'))) return false
  const { stopEmbeddedPostgres, EmbeddedPostgresError } = await embeddedPostgres()
  try {
    return await stopEmbeddedPostgres(database)
  } catch (error) {
    throw error instanceof EmbeddedPostgresError ? new Stop(error.message) : error
  }
}
