import { isUtf8 } from 'node:buffer'
import { createReadStream, statSync } from 'node:fs'
import { UsageError } from './usage.js'

/** A bundle of a policy with 10,000 rules has lines of some megabytes; beyond this it is no bundle. */
const MAX_LINE_BYTES = 64 * 1024 * 1024
const CHUNK_BYTES = 256 * 1024

/** The bytes of some whole lines (nobody else's), see `decodeLines`, and how many bytes have been read so far. */
export interface Batch {
  readonly bytes: Buffer
  readonly read: number
}

export interface Source {
  /** Bytes; null when it is not known, and what was read cannot be read again (standard input, a pipe). */
  readonly size: number | null
  /** Some lines at a time. */
  batches(): AsyncGenerator<Batch, undefined>
}

/** Lines of a file, or of standard input for `-`. Memory holds one piece of the file and one line. */
export function openLines(path: string): Source {
  if (path === '-') return { size: null, batches: () => batches(process.stdin) }
  let size: number | null
  try {
    const stats = statSync(path)
    size = stats.isFile() ? stats.size : null
  } catch {
    throw new UsageError(`There is no file ${path}.`)
  }
  return { size, batches: () => batches(createReadStream(path, { highWaterMark: CHUNK_BYTES })) }
}

/** The lines of bytes as they come. */
export async function* batches(stream: AsyncIterable<unknown>): AsyncGenerator<Batch, undefined> {
  let rest: Buffer[] = []
  let waiting = 0
  let read = 0
  for await (const piece of stream) {
    const chunk =
      piece instanceof Uint8Array
        ? Buffer.from(piece.buffer, piece.byteOffset, piece.length)
        : Buffer.from(String(piece))
    read += chunk.length
    const end = chunk.lastIndexOf(0x0a)
    if (end < 0) {
      rest.push(chunk)
      waiting += chunk.length
      if (waiting > MAX_LINE_BYTES)
        throw new UsageError('The file has a line of more than 64 MiB: it is no bundle.')
      continue
    }
    const whole = Buffer.concat([...rest, chunk.subarray(0, end)])
    rest = [chunk.subarray(end + 1)]
    waiting = chunk.length - end - 1
    yield { bytes: whole, read }
  }
  if (waiting > 0) {
    const whole = Buffer.concat(rest)
    yield { bytes: whole, read }
  }
}

/** A line that is not UTF-8 becomes one that no bundle has, so that it is found out where it stands. */
const NOT_UTF8 = '\u0000'

/** Lines without their newlines. Line by line: one letter beyond Latin would make a whole piece into a text that everything after takes longer with. */
export function decodeLines(bytes: Buffer): string[] {
  const strict = isUtf8(bytes)
  const lines: string[] = []
  for (let from = 0; from <= bytes.length;) {
    const next = bytes.indexOf(0x0a, from)
    const end = next < 0 ? bytes.length : next
    lines.push(strict || isUtf8(bytes.subarray(from, end)) ? bytes.toString('utf8', from, end) : NOT_UTF8)
    from = end + 1
  }
  return lines
}
