import { randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, unlink } from 'node:fs/promises'
import path from 'node:path'
import type { LocalDecisionDto } from '../generated/openapi.js'
import { LocalRefused } from './refused.js'

/** What the decisions of a batch were made from. */
export interface Basis {
  readonly manifest: string
  readonly lease: string
}

/** A decision in the spool. */
export interface Spooled {
  readonly basis: Basis
  readonly seq: number
  /** The decision as it lies on disk, whatever has become of the objects it was made of: a `LocalDecisionDto` as JSON. */
  readonly text: string
}

interface Segment {
  readonly file: string
  readonly handle: FileHandle
  bytes: number
  last_seq: number
}

interface Waiting {
  readonly line: string
  readonly spooled: Spooled
  readonly done: () => void
  readonly failed: (error: unknown) => void
}

const SEGMENT_BYTES = 4 * 1024 * 1024

/** Spools of this process, which nobody may take for left over. */
export const OPEN_SPOOLS = new Set<string>()

/** `<process id>-<spool>-<number>.jsonl` */
export const SEGMENT_NAME = /^(\d+)-([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})-(\d+)\.jsonl$/

/**
 * Keeps decisions on disk until the log has them. `append` resolves when the decision is there: written, and fsynced
 * together with all others that waited. Files are the owner's alone; arguments and context are in them as they were.
 */
export class Spool {
  readonly id = randomUUID()
  private seq = 0
  private bytes = 0
  private number = 0
  private last_basis: Basis | null = null
  private segments: Segment[] = []
  private queue: Waiting[] = []
  private kept: Spooled[] = []
  private flushing: Promise<void> | null = null
  private failure: LocalRefused | null = null

  /** @param max_bytes of decisions that the log has not got yet, roughly */
  constructor(
    private readonly dir: string,
    private readonly max_bytes: number,
  ) {
    OPEN_SPOOLS.add(this.id)
  }

  /** Decisions on disk that the log has not got yet, oldest first. */
  get unsent(): readonly Spooled[] {
    return this.kept
  }

  /**
   * Adds a decision, durably.
   * @throws LocalRefused `spool_full`; `spool_failed` from the first failure on: what a disk has lost once is not
   * believed again (fsync may say so only once)
   */
  append(basis: Basis, made: Omit<LocalDecisionDto, 'seq'>): Promise<number> {
    if (this.failure) return Promise.reject(this.failure)
    const { seq } = this
    const text = JSON.stringify({ seq, ...made })
    const line = basis === this.last_basis ? `${text}\n` : `${basisLine(basis)}${text}\n`
    if (this.bytes + text.length > this.max_bytes) {
      const detail = 'more decisions wait for the service than the spool may hold'
      return Promise.reject(new LocalRefused('spool_full', detail))
    }
    this.seq++
    this.bytes += text.length
    this.last_basis = basis
    return new Promise((resolve, failed) => {
      this.queue.push({ line, spooled: { basis, seq, text }, done: () => resolve(seq), failed })
      this.flushing ??= this.flush().finally(() => (this.flushing = null))
    })
  }

  /** The log has all before `next_seq`. */
  async forget(next_seq: number): Promise<void> {
    let count = 0
    for (const { seq, text } of this.kept) {
      if (seq >= next_seq) break
      this.bytes -= text.length
      count++
    }
    this.kept.splice(0, count)
    for (;;) {
      const [first, ...later] = this.segments
      // The newest one is still written to, unless it is full.
      if (!first || first.last_seq >= next_seq || (later.length === 0 && first.bytes < SEGMENT_BYTES)) return
      this.segments = later
      await remove(first)
    }
  }

  /** Ends writing. Files of which the log has everything go; the others stay for the next start. */
  async close(): Promise<void> {
    this.failure ??= new LocalRefused('closed', 'this guard was closed')
    await this.flushing
    for (const segment of this.segments.splice(0)) {
      if (this.kept.length === 0) await remove(segment)
      else await segment.handle.close()
    }
    OPEN_SPOOLS.delete(this.id)
  }

  private async flush(): Promise<void> {
    while (this.queue.length > 0) {
      const batch = this.queue.splice(0)
      try {
        const segment = await this.segment(batch)
        const text = batch.map(({ line }) => line).join('')
        await segment.handle.appendFile(text)
        await segment.handle.datasync()
        segment.bytes += text.length
        segment.last_seq = batch.at(-1)?.spooled.seq ?? segment.last_seq
      } catch (error) {
        this.failure ??= new LocalRefused('spool_failed', wordsOf(error))
        for (const { failed } of [...batch, ...this.queue.splice(0)]) failed(this.failure)
        return
      }
      for (const { spooled, done } of batch) {
        this.kept.push(spooled)
        done()
      }
    }
  }

  /** The file to write to: a new one when the last is full. It begins with what its decisions were made from. */
  private async segment([first]: readonly Waiting[]): Promise<Segment> {
    const last = this.segments.at(-1)
    if (last && last.bytes < SEGMENT_BYTES) return last
    await mkdir(this.dir, { recursive: true, mode: 0o700 })
    const file = path.join(this.dir, `${process.pid}-${this.id}-${this.number++}.jsonl`)
    const handle = await open(file, 'ax', 0o600)
    const segment = { file, handle, bytes: 0, last_seq: -1 }
    this.segments.push(segment)
    if (first) await handle.appendFile(basisLine(first.spooled.basis))
    await syncFolder(this.dir)
    return segment
  }
}

/** Stands before the decisions that were made from it. */
const basisLine = (basis: Basis): string => `${JSON.stringify({ basis })}\n`

async function remove({ file, handle }: Segment): Promise<void> {
  await handle.close()
  await unlink(file)
}

/** A new file's name is on disk only when its folder is; Windows cannot sync one, and need not. */
async function syncFolder(dir: string): Promise<void> {
  if (process.platform === 'win32') return
  const folder = await open(dir, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

const wordsOf = (error: unknown): string =>
  `the spool cannot be written (${(error as { code?: string }).code ?? String(error)})`
