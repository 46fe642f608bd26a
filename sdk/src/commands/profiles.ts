import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { UsageError } from '../usage.js'

/** A service and the keys for it, as `agentguard login` keeps them. */
export interface Profile {
  readonly url: string
  readonly admin_key?: string
  readonly agent_key?: string
  readonly org_id?: string
}

export interface Profiles {
  /** The one that is used when none is named. */
  readonly current: string
  readonly profiles: Readonly<Record<string, Profile>>
}

type Environment = Readonly<Record<string, string | undefined>>

export const DEFAULT_PROFILE = 'default'
const FILE = 'credentials.json'
const isWindows = process.platform === 'win32'

/** The folder of this program in the place where the operating system keeps settings. */
export function configFolder(env: Environment = process.env): string {
  if (env.XDG_CONFIG_HOME && path.isAbsolute(env.XDG_CONFIG_HOME))
    return path.join(env.XDG_CONFIG_HOME, 'agentguard')
  if (isWindows) return path.join(env.APPDATA ?? path.join(homedir(), 'AppData/Roaming'), 'agentguard')
  if (process.platform === 'darwin') return path.join(homedir(), 'Library/Application Support/agentguard')
  return path.join(homedir(), '.config/agentguard')
}

export const profilesFile = (env: Environment = process.env): string => path.join(configFolder(env), FILE)

/**
 * What was kept; nothing when there is no file.
 * @throws UsageError for a file that others can read or that belongs to somebody else: its keys are not secret
 */
export function readProfiles(env: Environment = process.env): Profiles {
  const file = profilesFile(env)
  let opened: number
  try {
    opened = openSync(file, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      return { current: DEFAULT_PROFILE, profiles: Object.create(null) as Record<string, Profile> }
    throw new UsageError(`${file} cannot be read.`)
  }
  try {
    assertPrivate(file, opened)
    return parse(file, readFileSync(opened, 'utf8'))
  } finally {
    closeSync(opened)
  }
}

/** Writes a new file beside the old one and puts it in its place: there is never half a file. */
export function writeProfiles(profiles: Profiles, env: Environment = process.env): void {
  const folder = configFolder(env)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  if (!isWindows) {
    const { mode, uid } = lstatSync(folder)
    if (uid !== process.getuid?.() || (mode & 0o022) !== 0)
      throw new UsageError(`${folder} can be changed by others. Make it yours alone: chmod 700 '${folder}'`)
  }
  const partial = path.join(folder, `.${FILE}.${process.pid}`)
  const opened = openSync(partial, 'wx', 0o600)
  try {
    if (!isWindows) fchmodSync(opened, 0o600)
    writeFileSync(opened, `${JSON.stringify(profiles, null, 2)}\n`)
    fsyncSync(opened)
    closeSync(opened)
    renameSync(partial, path.join(folder, FILE))
  } catch (error) {
    rmSync(partial, { force: true })
    throw error
  }
}

function assertPrivate(file: string, opened: number): void {
  if (isWindows) return // %APPDATA% is the user's alone; POSIX modes say nothing there.
  const { mode, uid } = fstatSync(opened)
  if (uid !== process.getuid?.()) throw new UsageError(`${file} belongs to another user, so it is not used.`)
  if ((mode & 0o077) !== 0)
    throw new UsageError(
      `${file} can be read by others, so it is not used. Make it private with: chmod 600 '${file}', and replace the keys in it.`,
    )
}

function parse(file: string, text: string): Profiles {
  const damaged = new UsageError(`${file} is not what agentguard login writes. Remove it and log in again.`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw damaged
  }
  const { current, profiles } = Object(value) as { current?: unknown; profiles?: unknown }
  if (typeof current !== 'string' || typeof profiles !== 'object' || profiles === null) throw damaged
  const read = Object.create(null) as Record<string, Profile>
  for (const [name, profile] of Object.entries(profiles)) {
    if (!isProfile(profile)) throw damaged
    read[name] = profile
  }
  return { current, profiles: read }
}

function isProfile(value: unknown): value is Profile {
  const { url, ...rest } = Object(value) as Record<string, unknown>
  return typeof url === 'string' && Object.values(rest).every((member) => typeof member === 'string')
}
