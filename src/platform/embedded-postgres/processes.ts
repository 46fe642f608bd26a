import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'

const hasProc = existsSync('/proc/self/stat')
const boot = hasProc ? readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim() : ''

/**
 * A stamp that no other process ever has: the pid with the moment it started (on Linux in ticks since the boot, so
 * with the boot too). A bare pid is not enough, because the kernel hands pids out again, quickly so in containers.
 *
 * @returns undefined when there is no such process; a zombie counts as gone
 */
export function processStamp(pid: number): string | undefined {
  if (hasProc) {
    let stat: string
    try {
      stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    } catch {
      return undefined
    }
    // "pid (name) state …": the name may hold spaces and brackets, so count from the last bracket.
    const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return state === 'Z' || state === 'X' ? undefined : `${pid} ${rest[18]} ${boot}`
  }
  const started = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).stdout.trim()
  return started === '' ? undefined : `${pid} ${started}`
}

/** True when the process is a PostgreSQL server that has this data folder open; false for whatever else has the pid. */
export function isPostmasterOf(pid: number, clusterDir: string): boolean {
  if (hasProc) {
    try {
      // The postmaster's working directory is its data folder, also after the folder was moved.
      return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(clusterDir)
    } catch {
      return false // not ours to look at: our own server runs as this user or was started by root
    }
  }
  const command = spawnSync('ps', ['-o', 'args=', '-p', String(pid)], { encoding: 'utf8' }).stdout
  return command.includes('postgres') && command.includes(clusterDir)
}

export interface PostmasterFile {
  pid: number
  port: number
  ready: boolean
}

/**
 * Reads `postmaster.pid`, which a running server keeps in its data folder (and a killed one leaves behind).
 * Layout: PostgreSQL source, src/include/utils/pidfile.h.
 */
export function readPostmasterFile(clusterDir: string): PostmasterFile | undefined {
  let lines: string[]
  try {
    lines = readFileSync(`${clusterDir}/postmaster.pid`, 'utf8').split('\n')
  } catch {
    return undefined
  }
  const pid = Number(lines[0])
  // The file is written in steps; without a pid it says nothing yet.
  if (!Number.isInteger(pid) || pid <= 0) return undefined
  return { pid, port: Number(lines[3] ?? 0), ready: lines[7]?.trim() === 'ready' }
}
