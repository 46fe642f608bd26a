import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Home, type Placement, initCluster } from './cluster'
import { superuserUrl, withClient } from './connection'
import { EmbeddedPostgresError, USE_YOUR_OWN } from './errors'
import { BARE_ENVIRONMENT, findBinaries } from './installation'
import { isPostmasterOf, processStamp, readPostmasterFile } from './processes'

const STOP_TIMEOUT_MS = 60_000
const POLL_MS = 25
const LOG_LIMIT_BYTES = 10 * 1024 * 1024

/** A server that accepts connections. */
export interface Running {
  pid: number
  port: number
}

/**
 * The server that already has this data folder open, waiting for it while it starts up or shuts down.
 *
 * The pid file alone proves nothing: a killed server leaves it behind, and its pid may belong to any program now.
 * PostgreSQL would refuse to start beside such a program, so a file that is proved wrong is removed. That is safe even
 * if the proof were mistaken: the server also guards its folder with a shared memory segment.
 */
export async function findRunning(
  clusterDir: string,
  password: string,
  deadline: number,
  log: (line: string) => void,
): Promise<Running | undefined> {
  let problem = 'it is starting up or shutting down'
  while (Date.now() < deadline) {
    const file = readPostmasterFile(clusterDir)
    if (!file || processStamp(file.pid) === undefined) return undefined
    if (!isPostmasterOf(file.pid, clusterDir)) {
      log(
        `Process ${file.pid} is not the database of ${clusterDir}; its postmaster.pid is stale and was removed`,
      )
      rmSync(`${clusterDir}/postmaster.pid`, { force: true })
      return undefined
    }
    if (file.ready) {
      try {
        await withClient(superuserUrl(file.port, password, 'postgres'), (client) => client.query('SELECT 1'))
        return file
      } catch (error) {
        if (error instanceof EmbeddedPostgresError) throw error
        problem = (error as Error).message
      }
    }
    await sleep(POLL_MS * 4)
  }
  throw new EmbeddedPostgresError(`The database in ${clusterDir} is running but does not answer: ${problem}`)
}

export interface LaunchOptions {
  port?: number
  relaxed?: boolean
}

export type Launch = ({ state: 'ready' } & Running) | { state: 'retry'; reason: string }

const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '', // the default folder is shared by every PostgreSQL of the machine
  cluster_name: 'agentguard',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_checkpoints: 'off',
}

const RELAXED_SETTINGS = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }

/** Starts the server, after making its data folder if need be, and waits until it is ready or gone. */
export async function launch(
  home: Home,
  placement: Placement,
  password: string,
  options: LaunchOptions,
  log: (line: string) => void,
): Promise<Launch> {
  const { user, clusterDir } = placement
  const binaries = findBinaries(user, log)
  if (!existsSync(clusterDir)) {
    log(`Creating a database in ${home.dir}`)
    await initCluster(home, placement, binaries.initdb, password, !options.relaxed)
  }
  const port = options.port ?? (await freePort())
  const logStart = rotateLog(home.log)
  const output = openSync(home.log, 'a', 0o600)
  const flags = Object.entries({ ...SETTINGS, ...(options.relaxed ? RELAXED_SETTINGS : {}) })
  const child = spawn(
    binaries.postgres,
    ['-D', clusterDir, '-p', String(port), ...flags.flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    {
      ...user,
      cwd: '/',
      env: BARE_ENVIRONMENT,
      stdio: ['ignore', output, output], // a file, not a pipe: it must outlive this process
      detached: true,
    },
  )
  closeSync(output)
  child.unref()
  const failure = await readyOrGone(child, home, clusterDir, log)
  if (failure === undefined) return { state: 'ready', pid: child.pid ?? 0, port }
  const said = readFileSync(home.log).subarray(logStart).toString('utf8').trim()
  return afterFailedLaunch(said || failure, port, options, home)
}

/** @returns why it is gone, or undefined when it is ready */
async function readyOrGone(
  child: ChildProcess,
  home: Home,
  clusterDir: string,
  log: (line: string) => void,
): Promise<string | undefined> {
  let failure: string | undefined
  let ready = false
  child.once('error', (error) => (failure = error.message))
  child.once('exit', (code, signal) => {
    failure = `it ended with ${signal ?? `code ${code}`}`
    if (ready && code !== 0) log(`The database is gone: ${failure}. See ${home.log}`)
  })
  const startedAt = Date.now()
  let nextWord = startedAt + 5_000
  while (failure === undefined) {
    const file = readPostmasterFile(clusterDir)
    ready = file?.pid === child.pid && file?.ready === true
    if (ready) return undefined
    if (Date.now() > nextWord) {
      const seconds = Math.round((Date.now() - startedAt) / 1000)
      log(`Waiting for the database (${seconds} s); it may be recovering from a crash`)
      nextWord += 5_000
    }
    await sleep(POLL_MS)
  }
  return failure
}

function afterFailedLaunch(said: string, port: number, options: LaunchOptions, home: Home): Launch {
  const lastLines = said.split('\n').slice(-6).join('\n')
  if (/postmaster\.pid" already exists|pre-existing shared memory block/.test(said)) {
    return { state: 'retry', reason: 'another process has the data folder open' }
  }
  if (/Address already in use/.test(said)) {
    if (options.port === undefined)
      return { state: 'retry', reason: `port ${port} was taken by another program` }
    throw new EmbeddedPostgresError(
      `Port ${port} is already in use by another program. Stop it, leave the port out to take a free one, ${USE_YOUR_OWN}.`,
    )
  }
  if (/Permission denied|wrong ownership/.test(said)) {
    throw new EmbeddedPostgresError(
      `The data in ${home.dir} belong to another user. Run as that user, choose another folder with DATA_DIR, ` +
        `${USE_YOUR_OWN}.\n${lastLines}`,
    )
  }
  throw new EmbeddedPostgresError(`The database in ${home.dir} does not start:\n${lastLines}`)
}

/** Ends the server and waits for it, at first gently. */
export async function stopServer(pid: number): Promise<void> {
  const stamp = processStamp(pid)
  const signal = (name: NodeJS.Signals): void => {
    try {
      process.kill(pid, name)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
  const deadline = Date.now() + STOP_TIMEOUT_MS
  if (stamp === undefined) return
  signal('SIGINT') // fast: open transactions are rolled back, then a checkpoint
  while (processStamp(pid) === stamp) {
    await sleep(POLL_MS)
    // Immediate: no checkpoint, nothing committed is lost, the next start recovers from the log.
    if (Date.now() > deadline) signal('SIGQUIT')
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo
      probe.close(() => resolve(port))
    })
  })
}

/** Keeps the server's log and one older one. @returns where this start's lines begin */
function rotateLog(file: string): number {
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0
  if (size <= LOG_LIMIT_BYTES) return size
  renameSync(file, `${file}.1`)
  return 0
}
