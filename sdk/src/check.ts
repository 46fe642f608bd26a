import { readFileSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Finding } from '../../src/core/ledger/findings.js'
import { parseVerifierKey, type VerifierKey } from '../../src/core/ledger/note.js'
import { BundleVerifier, type Checked, type Verdict } from '../../src/core/ledger/verify.js'
import { TOOLS } from './crypto.js'
import { openLines, type Source } from './lines.js'
import { Progress } from './progress.js'
import { SecondHands } from './second-hands.js'
import { UsageError } from './usage.js'

export interface CheckOptions {
  /** Verifier keys, as text or as files with one a line. */
  readonly keys: readonly string[]
  /** Files with older checkpoints. */
  readonly checkpoints: readonly string[]
  /** Verifier keys of witnesses, as text or files, and how many of them must have cosigned. */
  readonly witnesses?: readonly string[]
  readonly quorum?: number | undefined
  /** Sees every line that could be read. */
  readonly each?: (checked: Checked) => void
}

/** Smaller files are done before a worker has started. */
const WORTH_A_WORKER_BYTES = 8 * 1024 * 1024

/**
 * Reads a bundle from the first line to the last, and gives its verdict. A large file is checked by several threads; as
 * soon as one of them finds anything, it is read once more by one alone, which says what is wrong, and where, in order.
 */
export async function checkBundle(path: string, options: CheckOptions): Promise<Verdict> {
  const source = openLines(path)
  const { keys, checkpoints, witnesses = [], quorum, each } = options
  const verifying = {
    keys: keys.flatMap((given) => readKeys(given)),
    older: checkpoints.map(readText),
    ...witnessing(witnesses, quorum),
  }
  if (!each && source.size !== null && source.size >= WORTH_A_WORKER_BYTES) {
    const verdict = await checkTogether(source, new BundleVerifier(TOOLS, verifying))
    if (verdict?.valid) return verdict
  }
  const verifier = new BundleVerifier(TOOLS, verifying)
  const progress = new Progress('Checking')
  for await (const { lines, read } of source.batches()) {
    for (const line of lines) {
      const checked = verifier.line(line)
      if (checked && each) each(checked)
    }
    progress.show(shareOf(source, verifier, read), `${verifier.count.toLocaleString('en')} entries`)
  }
  progress.clear()
  return verifier.finish()
}

/** The verdict with the help of worker threads; null when there are none, or when something was found. */
async function checkTogether(source: Source, verifier: BundleVerifier): Promise<Verdict | null> {
  let hands: SecondHands | null = null
  const progress = new Progress('Checking')
  try {
    for await (const { lines, bytes, read } of source.batches()) {
      // The first piece holds the manifest, which says of what log the entries must be.
      const given = hands?.take(exactly(bytes)) ?? false
      for (const line of lines) verifier.line(line, given)
      if (!hands) {
        if (verifier.origin === null) return null
        hands = SecondHands.of(verifier.origin)
        if (!hands) return null
      }
      await nextTurn() // answers come in between
      if (hands.foundFault) return null
      progress.show(shareOf(source, verifier, read), `${verifier.count.toLocaleString('en')} entries`)
    }
    return (await hands?.settled()) ? verifier.finish() : null
  } finally {
    progress.clear()
    await hands?.end()
  }
}

const shareOf = ({ size }: Source, { count, expected }: BundleVerifier, read: number): number =>
  size === null ? count / Math.max(1, expected) : read / size

/** The bytes in memory of their own, which can be given away. */
function exactly(bytes: Buffer): ArrayBuffer {
  const { buffer, byteOffset, byteLength } = bytes
  if (buffer instanceof ArrayBuffer && byteOffset === 0 && byteLength === buffer.byteLength) return buffer
  return new Uint8Array(bytes).buffer
}

/** Findings in words: the first bad entry and member first. */
export function describeFinding({ kind, index, line, field, detail }: Finding): string {
  const where = [
    index === null ? null : `entry ${index}`,
    field === null ? null : `member ${field}`,
    line === null ? null : `line ${line}`,
  ].filter((part) => part !== null)
  return `${kind}${where.length > 0 ? ` (${where.join(', ')})` : ''}: ${detail}`
}

/** Which witnesses count, and how many must have cosigned: one, unless it is said. */
export function witnessing(
  given: readonly string[],
  quorum: number | undefined,
): { witness_keys: VerifierKey[]; quorum: number } {
  const witness_keys = given.flatMap((witness) => readKeys(witness, '--witness'))
  if (witness_keys.some(({ type }) => type !== 'cosignature'))
    throw new UsageError('--witness: the key is not that of a witness.')
  const distinct = new Set(witness_keys.map(({ public_key }) => Buffer.from(public_key).toString('hex'))).size
  if ((quorum ?? 0) > distinct)
    throw new UsageError(`--quorum ${quorum} needs as many witnesses: --witness <vkey|file>.`)
  return { witness_keys, quorum: quorum ?? Math.min(1, distinct) }
}

/** A key, or a file with one a line. */
export function readKeys(given: string, option = '--key'): VerifierKey[] {
  const texts = given.includes('+')
    ? [given]
    : readText(given)
        .split('\n')
        .filter((line) => line.trim() !== '')
  return texts.map((text) => {
    const key = parseVerifierKey(TOOLS.sha256, text.trim())
    if (!key.ok) throw new UsageError(`${option}: ${key.errors.detail}.`)
    return key.value
  })
}

export function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    throw new UsageError(`The file ${path} cannot be read.`)
  }
}
