// What this machine is, and what processes cost on it. Linux only: elsewhere CPU figures are NaN and shown as such.
import { readFileSync } from 'node:fs'
import os from 'node:os'

const HERTZ = 100

/** CPU seconds used so far by a process and, with `tree`, by its children: PostgreSQL's backends. */
export function cpuSeconds(pid, tree = false) {
  try {
    const children = tree
      ? readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
      : []
    return [pid, ...children].reduce((sum, id) => sum + readCpu(id), 0)
  } catch {
    return NaN
  }
}

function readCpu(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  // utime, stime and, for what has ended, cutime, cstime
  return (Number(fields[11]) + Number(fields[12]) + Number(fields[13]) + Number(fields[14])) / HERTZ
}

/** Resident memory in MiB. */
export function memoryMiB(pid) {
  const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kilobytes) / 1024
}

export const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN

/** Smallest and largest, as text: how far the rounds lie apart. */
export function spread(values, digits = 1) {
  return `${Math.min(...values).toFixed(digits)}–${Math.max(...values).toFixed(digits)}`
}

export function describe() {
  const [cpu] = os.cpus()
  return {
    cores: os.cpus().length,
    processor: cpu?.model ?? 'unknown processor',
    memory: `${Math.round(os.totalmem() / 2 ** 30)} GiB`,
    system: `${os.type()} ${os.release()}`,
    node: process.version,
  }
}

/** The load of the last minute: above the number of cores somebody else is working here too. */
export const loadAverage = () => os.loadavg()[0] ?? NaN
