import { readdir, readFile, rename, unlink } from 'node:fs/promises'
import path from 'node:path'
import { type Basis, OPEN_SPOOLS, SEGMENT_NAME, type Spooled } from './spool.js'

/** Decisions of one spool that its process left behind. */
export interface Leftover {
  readonly spool: string
  readonly files: readonly string[]
  readonly decisions: readonly Spooled[]
}

/** What processes that are gone left in a folder, oldest first. Never another running process's. */
export async function leftovers(dir: string): Promise<Leftover[]> {
  const names = await readdir(dir).catch((error: unknown) => {
    if ((error as { code?: string }).code === 'ENOENT') return []
    throw error
  })
  const spools = new Map<string, { file: string; number: number }[]>()
  for (const name of names) {
    const [, pid = '', spool = '', number = ''] = SEGMENT_NAME.exec(name) ?? []
    if (spool === '' || OPEN_SPOOLS.has(spool) || isOther(Number(pid))) continue
    const files = spools.get(spool) ?? []
    files.push({ file: path.join(dir, name), number: Number(number) })
    spools.set(spool, files)
  }
  return Promise.all(
    Array.from(spools, async ([spool, segments]) => {
      const files = segments.sort((a, b) => a.number - b.number).map(({ file }) => file)
      return { spool, files, decisions: (await Promise.all(files.map(readSegment))).flat() }
    }),
  )
}

export const discard = async ({ files }: Leftover): Promise<void> => {
  for (const file of files) await unlink(file)
}

/** What the service will never take is kept for people to look at, and not sent again. */
export const setAside = async ({ files }: Leftover): Promise<void> => {
  for (const file of files) await rename(file, `${file}.refused`)
}

async function readSegment(file: string): Promise<Spooled[]> {
  const lines = (await readFile(file, 'utf8')).split('\n')
  // The last line is empty, or was cut off before anybody was told of it.
  lines.pop()
  let basis: Basis = { manifest: '', lease: '' }
  const decisions: Spooled[] = []
  for (const text of lines) {
    const line = JSON.parse(text) as { basis: Basis } | { seq: number }
    if ('basis' in line) ({ basis } = line)
    else decisions.push({ basis, seq: line.seq, text })
  }
  return decisions
}

/** Whether another process of this machine runs under this id. */
function isOther(pid: number): boolean {
  if (pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as { code?: string }).code === 'EPERM'
  }
}
