// make clean: removes what the build made. The data only with CONFIRM=1, or when a person types "yes".
import { existsSync, lstatSync, readFileSync, readdirSync, readlinkSync, rmSync, rmdirSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline/promises'
import { Stop, main, root } from './support/project.mjs'
import { runningService, settings } from './support/service.mjs'

const BUILT = ['dist', 'ui/out', 'ui/.next', 'coverage'] // not src/generated: that belongs to the installation
const DATABASES = ['postgres', 'migration-postgres']
const FILES = ['admin-key', 'ledger-kek', 'api.log', 'api.log.1', 'api.json']

await main(async () => {
  if (runningService()) throw new Stop('AgentGuard is running: "make down" first.')
  for (const name of BUILT) rmSync(path.join(root, name), { recursive: true, force: true })
  for (const name of readdirSync(root)) if (name.endsWith('.tsbuildinfo')) rmSync(path.join(root, name))
  console.log(`Removed ${BUILT.join(', ')}.`)

  const { dataDir } = settings()
  if (!existsSync(dataDir)) return
  if (!(await confirmed(dataDir))) {
    console.log(`Kept the data in ${dataDir}. To delete them too: make clean CONFIRM=1`)
    return
  }
  for (const name of DATABASES) removeDatabase(path.join(dataDir, name))
  // Only what is ours by name: DATA_DIR may be a folder that holds other things.
  for (const name of FILES) rmSync(path.join(dataDir, name), { force: true })
  if (readdirSync(dataDir).length === 0) rmdirSync(dataDir)
  console.log(`Deleted the data in ${dataDir}.`)
})

async function confirmed(dataDir) {
  if (process.env.CONFIRM === '1') return true
  if (!process.stdin.isTTY) return false
  const prompt = createInterface({ input: process.stdin, output: process.stdout })
  const answer = await prompt.question(
    `Delete all data in ${dataDir} (database, root key) for ever? Type yes: `,
  )
  prompt.close()
  return answer.trim() === 'yes'
}

function removeDatabase(folder) {
  const cluster = path.join(folder, 'cluster')
  const pidFile = path.join(cluster, 'postmaster.pid')
  if (existsSync(pidFile) && isAlive(Number.parseInt(readFileSync(pidFile, 'utf8'), 10))) {
    throw new Stop(`The database in ${folder} is running: "make down" first.`)
  }
  // Data that the database's user could not reach here are kept elsewhere, behind a link.
  if (lstatSync(cluster, { throwIfNoEntry: false })?.isSymbolicLink()) {
    rmSync(path.dirname(readlinkSync(cluster)), { recursive: true, force: true })
  }
  rmSync(folder, { recursive: true, force: true })
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}
