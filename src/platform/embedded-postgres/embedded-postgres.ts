import { existsSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
// Without ".js" on purpose in this folder: Jest's global setup loads it, where no file names are mapped.
import {
  type Home,
  type Placement,
  homeOf,
  makeFile,
  makeHome,
  placeCluster,
  removeHome,
  superuserPassword,
} from './cluster'
import { superuserUrl, withClient } from './connection'
import { EmbeddedPostgresError, USE_YOUR_OWN } from './errors'
import { isPostmasterOf, processStamp, readPostmasterFile } from './processes'
import { type Running, findRunning, launch, stopServer } from './server-process'

export { EmbeddedPostgresError } from './errors'

/** The database that the service uses in the embedded server. */
export const DATABASE = 'agentguard'

/** How long to keep trying while something is in the way; a server that is recovering is waited for longer. */
const START_TIMEOUT_MS = 60_000
/** How often to look whether the server is still there. */
const SUPERVISE_MS = 1_000

export interface EmbeddedPostgresOptions {
  /** Folder of this database; made when absent. Nothing else should be kept in it. */
  data_dir: string
  /** TCP port on 127.0.0.1. Absent: a free one, another at each start. */
  port?: number
  /** Trades durability for speed (fsync and friends off). Refused unless NODE_ENV is `test`. */
  relaxed?: boolean
  /**
   * Join the server also while it belongs to another living process, which then has to keep it running. Without it
   * that is refused: two services on one folder would set each other's database passwords.
   */
  share?: boolean
  /** Receives one sentence at a time about what takes long or is out of the ordinary. */
  log?: (line: string) => void
}

export interface EmbeddedPostgres {
  /** Superuser connection to the database `agentguard`. Holds the password: never log it. */
  admin_url: string
  port: number
  /** Where PostgreSQL's files really are; not below the option's `data_dir` when they had to be kept elsewhere. */
  data_dir: string
  /** True when the server was already running, left behind by a process that was killed or started by a living one. */
  adopted: boolean
  /**
   * Stops the server after rolling back what is open (fast shutdown) and resolves when it has ended. Does nothing
   * when the server belongs to another living process.
   */
  stop(): Promise<void>
}

/**
 * Starts PostgreSQL 18 for this process, or joins the one that already runs on this data folder, and resolves when it
 * accepts connections and the database `agentguard` exists. Durable unless `relaxed`.
 *
 * It listens on 127.0.0.1 only and has its own process group, so that Ctrl-C in a terminal reaches this process alone,
 * which can then finish its work before it calls `stop()`. No signal handlers are installed here. A server that ends
 * by itself is started again on the same port.
 *
 * @throws EmbeddedPostgresError with what to do, when there is no PostgreSQL for this platform, the folder cannot be
 *   used or is in use, or the port is taken
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  if (options.relaxed && process.env.NODE_ENV !== 'test') {
    throw new EmbeddedPostgresError(
      'A database that may lose data is for tests: relaxed needs NODE_ENV=test.',
    )
  }
  const log = options.log ?? (() => {})
  const home = homeOf(options.data_dir)
  makeHome(home)
  const owned = claim(home)
  if (!owned && !options.share) throw inUse(home)
  try {
    const placement = placeCluster(home, log)
    const password = superuserPassword(home)
    const running = await adoptOrLaunch(home, placement, password, options, log)
    const relaunch = (port: number) => adoptOrLaunch(home, placement, password, { ...options, port }, log)
    return await server(home, placement, password, running, owned, relaunch, log)
  } catch (error) {
    if (owned) rmSync(home.owner, { force: true })
    throw error
  }
}

/**
 * Each round either ends with a running server or learns why it has to look again: a port was taken in between,
 * another process was faster, a killed server's children still hold its memory.
 */
async function adoptOrLaunch(
  home: Home,
  placement: Placement,
  password: string,
  options: EmbeddedPostgresOptions,
  log: (line: string) => void,
): Promise<Running & { adopted: boolean }> {
  const deadline = Date.now() + START_TIMEOUT_MS
  for (let lastReason = ''; Date.now() < deadline; await sleep(200)) {
    const running = await findRunning(placement.clusterDir, password, deadline, log)
    if (running) {
      log(`Using the database that is already running (process ${running.pid}, port ${running.port})`)
      return { ...running, adopted: true }
    }
    const started = await launch(home, placement, password, options, log)
    if (started.state === 'ready') return { ...started, adopted: false }
    if (started.reason !== lastReason) log(`The database did not start yet: ${started.reason}`)
    lastReason = started.reason
  }
  throw new EmbeddedPostgresError(
    `The database did not start within ${START_TIMEOUT_MS / 1000} s. See ${home.log}`,
  )
}

/**
 * Stops the server that a killed process left behind.
 *
 * @returns false when none was running
 * @throws EmbeddedPostgresError when it belongs to another living process
 */
export async function stopEmbeddedPostgres(data_dir: string): Promise<boolean> {
  const home = homeOf(data_dir)
  const pid = runningPid(home)
  if (pid === undefined) return false
  if (!claim(home)) throw inUse(home)
  await stopServer(pid)
  rmSync(home.owner, { force: true })
  return true
}

/** Deletes the database of this folder for ever, also when it is kept elsewhere. It must be stopped. */
export function removeEmbeddedPostgres(data_dir: string): void {
  const home = homeOf(data_dir)
  const pid = runningPid(home)
  if (pid !== undefined) {
    throw new EmbeddedPostgresError(`The database in ${home.dir} is running (process ${pid}). Stop it first.`)
  }
  removeHome(home)
}

function runningPid(home: Home): number | undefined {
  const pid = readPostmasterFile(home.cluster)?.pid
  return pid !== undefined && processStamp(pid) && isPostmasterOf(pid, home.cluster) ? pid : undefined
}

async function server(
  home: Home,
  { clusterDir }: Placement,
  password: string,
  { pid, port, adopted }: Running & { adopted: boolean },
  owned: boolean,
  relaunch: (port: number) => Promise<Running>,
  log: (line: string) => void,
): Promise<EmbeddedPostgres> {
  const supervisor = owned ? supervise(pid, () => relaunch(port), log) : undefined
  const stop = async (): Promise<void> => {
    if (!supervisor) return
    await stopServer(await supervisor.end())
    rmSync(home.owner, { force: true })
  }
  try {
    await ensureDatabase(superuserUrl(port, password, 'postgres'), DATABASE)
  } catch (error) {
    await stop()
    throw error
  }
  let stopping: Promise<void> | undefined
  return {
    admin_url: superuserUrl(port, password, DATABASE),
    port,
    data_dir: clusterDir,
    adopted,
    stop: () => (stopping ??= stop()),
  }
}

/**
 * Starts the server again, on the same port, when it ended by itself or was killed: nobody else does on a laptop.
 * Looks once a second, because an adopted server is no child of this process and tells it nothing.
 */
function supervise(first: number, relaunch: () => Promise<Running>, log: (line: string) => void) {
  let pid = first
  let stamp = processStamp(pid)
  let underway: Promise<void> = Promise.resolve()
  let busy = false
  const look = async (): Promise<void> => {
    if (processStamp(pid) === stamp) return
    log('The database has ended; starting it again')
    try {
      pid = (await relaunch()).pid
      stamp = processStamp(pid)
      log('The database is running again')
    } catch (error) {
      log(`The database could not be started again: ${(error as Error).message}`)
    }
  }
  const timer = setInterval(() => {
    if (busy) return
    busy = true
    underway = look().finally(() => (busy = false))
  }, SUPERVISE_MS).unref()
  return {
    /** Ends supervision. @returns the process that is the server now */
    async end(): Promise<number> {
      clearInterval(timer)
      await underway
      return pid
    },
  }
}

/** Makes this process the one that the server belongs to and that stops it, unless that one is still alive. */
function claim(home: Home): boolean {
  const self = ownerMark(home, process.pid)
  while (!makeFile(home.owner, self)) {
    const owner = readOwner(home)
    if (owner === self) return true
    if (owner !== undefined && ownerMark(home, Number.parseInt(owner, 10)) === owner) return false
    rmSync(home.owner, { force: true }) // its process is gone, or the file came with a copy of the folder
  }
  return true
}

/** What the owner file says: which process, and for which folder. */
const ownerMark = (home: Home, pid: number): string =>
  `${processStamp(pid) ?? 'gone'} ${realpathSync(home.dir)}`

function readOwner(home: Home): string | undefined {
  return existsSync(home.owner) ? readFileSync(home.owner, 'utf8') : undefined
}

const inUse = (home: Home): EmbeddedPostgresError =>
  new EmbeddedPostgresError(
    `The database in ${home.dir} is in use by process ${readOwner(home)?.split(' ')[0]}. Stop that one, choose ` +
      `another folder with DATA_DIR, ${USE_YOUR_OWN}.`,
  )

/**
 * Makes a database unless it exists.
 *
 * @param url connection of a role that may create databases
 */
export async function ensureDatabase(url: string, name: string): Promise<void> {
  await withClient(url, async (client) => {
    const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [name])
    if (rowCount) return
    try {
      await client.query(`CREATE DATABASE ${client.escapeIdentifier(name)}`)
    } catch (error) {
      // 42P04, 23505: another process made it at this very moment
      if (!['42P04', '23505'].includes((error as { code?: string }).code ?? '')) throw error
    }
  })
}
