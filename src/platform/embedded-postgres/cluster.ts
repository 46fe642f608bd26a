import { execFile, execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { EmbeddedPostgresError, USE_YOUR_OWN } from './errors'
import {
  BARE_ENVIRONMENT,
  SHARED_DIR,
  type SystemUser,
  canEnter,
  runningAsRoot,
  systemUser,
} from './installation'
import { processStamp } from './processes'

const run = promisify(execFile)

/** Where one embedded database keeps its things, all below the caller's `data_dir`. */
export interface Home {
  dir: string
  /** PostgreSQL's own folder; a symbolic link when the data had to be kept elsewhere. */
  cluster: string
  password: string
  log: string
  /** Stamp of the process that stops the server when it ends. */
  owner: string
}

export function homeOf(dataDir: string): Home {
  const dir = path.resolve(dataDir)
  return {
    dir,
    cluster: path.join(dir, 'cluster'),
    password: path.join(dir, 'superuser-password'),
    log: path.join(dir, 'server.log'),
    owner: path.join(dir, 'owner'),
  }
}

/** Makes the folder. Others may pass through it (the database's user has to) but not list it; secrets in it are 600. */
export function makeHome(home: Home): void {
  try {
    mkdirSync(home.dir, { recursive: true, mode: 0o711 })
    // A folder of another user passes mkdir; find out now and not in the middle of initdb.
    const probe = path.join(home.dir, `.write-probe-${process.pid}`)
    writeFileSync(probe, '')
    rmSync(probe)
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `Cannot write to ${home.dir}, where the embedded database keeps its data (${(cause as Error).message}). ` +
        `Give this user the folder, choose another with DATA_DIR, ${USE_YOUR_OWN}.`,
      { cause },
    )
  }
}

/**
 * Makes a file of mode 600 unless it exists. It is complete before it has its name, so that of two processes one wins
 * and the other reads all of it.
 *
 * @returns false when it existed
 */
export function makeFile(file: string, content: string): boolean {
  const draft = `${file}.${process.pid}`
  writeFileSync(draft, content, { mode: 0o600, flush: true })
  try {
    linkSync(draft, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    rmSync(draft)
  }
}

/**
 * The superuser's password: random, made once, readable by this process's user only.
 *
 * @throws EmbeddedPostgresError when the data exist but their password does not
 */
export function superuserPassword(home: Home): string {
  if (!existsSync(home.cluster)) makeFile(home.password, randomBytes(32).toString('base64url'))
  try {
    return readFileSync(home.password, 'utf8')
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `The database in ${home.cluster} exists, but its password file ${home.password} cannot be read ` +
        `(${(cause as Error).message}). Restore the file from a backup, or remove ${home.dir} to start empty.`,
      { cause },
    )
  }
}

export interface Placement {
  /** The user PostgreSQL runs as, when that is not the user of this process. */
  user: SystemUser | undefined
  /** PostgreSQL's data folder, no longer a symbolic link. It may not exist yet. */
  clusterDir: string
}

/**
 * Decides which user the database runs as and where its files are, and moves them when that user cannot reach them.
 * Not root: this very user, in place. Root: the owner of existing data, else `postgres`.
 */
export function placeCluster(home: Home, log: (line: string) => void): Placement {
  const existing = lstatSync(home.cluster, { throwIfNoEntry: false })
  const clusterDir = existing?.isSymbolicLink() ? followLink(home) : home.cluster
  if (!runningAsRoot()) return { user: undefined, clusterDir }

  chmodSync(home.dir, 0o711) // it may have been made private, as mkdtemp does
  const data = statSync(clusterDir, { throwIfNoEntry: false })
  const user = data && data.uid !== 0 ? { uid: data.uid, gid: data.gid } : systemUser()
  if (existing?.isSymbolicLink() || canEnter(home.dir, user)) return { user, clusterDir }

  const here = realpathSync(home.dir)
  const elsewhere = path.join(SHARED_DIR, createHash('sha256').update(here).digest('hex').slice(0, 16))
  const target = path.join(elsewhere, 'cluster')
  mkdirSync(elsewhere, { recursive: true, mode: 0o755 })
  if (existing) {
    // The checkout became private after the database was made: bring the data along and keep the original.
    const unfinished = `${target}.${process.pid}`
    execFileSync('cp', ['-a', home.cluster, unfinished])
    renameSync(unfinished, target)
    renameSync(home.cluster, `${home.cluster}.before-move`)
  }
  writeFileSync(path.join(elsewhere, 'home'), here)
  symlinkSync(target, home.cluster)
  log(`The user "postgres" cannot reach ${home.dir}; the data are kept in ${target}`)
  return { user, clusterDir: target }
}

/**
 * Follows the link to data that are kept elsewhere. A checkout that was copied brings the link along, and two
 * databases must not share one folder: the folder behind the link names the one home it belongs to.
 */
function followLink(home: Home): string {
  const target = readlinkSync(home.cluster)
  const marker = path.join(path.dirname(target), 'home')
  if (!existsSync(marker)) {
    throw new EmbeddedPostgresError(
      `${home.cluster} links to ${target}, which is gone. Restore it, or remove ${home.dir} to start empty.`,
    )
  }
  const here = realpathSync(home.dir)
  const belongsTo = readFileSync(marker, 'utf8')
  if (belongsTo !== here) {
    if (existsSync(path.join(belongsTo, 'cluster'))) {
      throw new EmbeddedPostgresError(
        `${home.cluster} links to the data of ${belongsTo}, of which this folder is a copy. ` +
          `Remove ${home.dir} to start with an empty database here, ${USE_YOUR_OWN}.`,
      )
    }
    writeFileSync(marker, here) // it was moved, not copied
  }
  return target
}

/**
 * Makes the data folder with initdb. Under another name first, renamed when complete: a process that is killed in the
 * middle leaves no half database, and of two that start at once the slower takes the winner's.
 */
export async function initCluster(
  home: Home,
  { user, clusterDir }: Placement,
  initdb: string,
  password: string,
  durable: boolean,
): Promise<void> {
  removeUnfinished(clusterDir)
  const unfinished = `${clusterDir}.init-${process.pid}-${randomBytes(4).toString('hex')}`
  const passwordFile = `${unfinished}.password`
  mkdirSync(unfinished, { mode: 0o700 })
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 })
  if (user) for (const file of [unfinished, passwordFile]) chownSync(file, user.uid, user.gid)
  try {
    // The builtin C.UTF-8 provider sorts the same on every machine; a bare locale would choose SQL_ASCII.
    const encoding = [
      '--encoding=UTF8',
      '--locale=C',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
    ]
    const access = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`]
    const rest = ['--no-instructions', ...(durable ? [] : ['--no-sync'])]
    await run(initdb, [`--pgdata=${unfinished}`, ...encoding, ...access, ...rest], {
      ...user,
      cwd: '/',
      env: BARE_ENVIRONMENT,
    })
    renameSync(unfinished, clusterDir)
    if (durable) syncFolder(path.dirname(clusterDir))
  } catch (cause) {
    rmSync(unfinished, { recursive: true, force: true })
    if (existsSync(clusterDir)) return
    const { stderr, message } = cause as Error & { stderr?: string }
    throw new EmbeddedPostgresError(
      `Cannot create the database in ${home.dir}: ${stderr?.trim() || message}`,
      {
        cause,
      },
    )
  } finally {
    rmSync(passwordFile, { force: true })
  }
}

/** Deletes the folder, and the data behind its link when they are kept elsewhere. */
export function removeHome(home: Home): void {
  if (lstatSync(home.cluster, { throwIfNoEntry: false })?.isSymbolicLink()) {
    rmSync(path.dirname(followLink(home)), { recursive: true, force: true })
  }
  rmSync(home.dir, { recursive: true, force: true })
}

function removeUnfinished(clusterDir: string): void {
  const prefix = `${path.basename(clusterDir)}.init-`
  for (const name of readdirSync(path.dirname(clusterDir))) {
    if (!name.startsWith(prefix)) continue
    const maker = Number.parseInt(name.slice(prefix.length), 10)
    if (processStamp(maker) !== undefined) continue
    rmSync(path.join(path.dirname(clusterDir), name), { recursive: true, force: true })
  }
}

function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
