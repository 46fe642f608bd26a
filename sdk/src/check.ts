import { readFileSync } from 'node:fs'
import { EntryForms } from '../../src/core/ledger/entry-forms.js'
import type { Finding } from '../../src/core/ledger/findings.js'
import { parseVerifierKey, type VerifierKey } from '../../src/core/ledger/note.js'
import { readPiece } from '../../src/core/ledger/pieces.js'
import { BundleVerifier, type Checked, type Verdict } from '../../src/core/ledger/verify.js'
import { TOOLS } from './crypto.js'
import { type Batch, decodeLines, openLines, type Source } from './lines.js'
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
 * Reads a bundle from the first line to the last, and gives its verdict. A file is read in pieces, a large one by
 * several threads; as soon as anything is found, it is read once more line by line, which says what is wrong, and where,
 * in order.
 */
export async function checkBundle(path: string, options: CheckOptions): Promise<Verdict> {
  const source = openLines(path)
  const { keys, checkpoints, witnesses = [], quorum, each } = options
  const verifying = {
    keys: keys.flatMap((given) => readKeys(given)),
    older: checkpoints.map(readText),
    ...witnessing(witnesses, quorum),
  }
  if (!each && source.size !== null) {
    const verdict = await checkInPieces(source, source.size, new BundleVerifier(TOOLS, verifying))
    if (verdict?.valid) return verdict
  }
  const verifier = new BundleVerifier(TOOLS, verifying)
  const progress = new Progress('Checking')
  for await (const { bytes, read } of source.batches()) {
    for (const line of decodeLines(bytes)) {
      const checked = verifier.line(line)
      if (checked && each) each(checked)
    }
    progress.show(shareOf(source, verifier, read), `${verifier.count.toLocaleString('en')} entries`)
  }
  progress.clear()
  return verifier.finish()
}

/** The verdict; null as soon as anything was found. */
async function checkInPieces(
  source: Source,
  size: number,
  verifier: BundleVerifier,
): Promise<Verdict | null> {
  const progress = new Progress('Checking')
  const batches = source.batches()
  let hands: SecondHands | null = null
  try {
    // The first piece holds the manifest, which says of what log the entries must be.
    const { value: head } = await batches.next()
    if (!head || !verifier.piece(decodeLines(head.bytes)) || verifier.origin === null) return null
    const { origin } = verifier
    if (size >= WORTH_A_WORKER_BYTES && SecondHands.exist) hands = new SecondHands(origin)
    for await (const { piece, read } of hands ? hands.read(batches) : piecesOf(batches, origin)) {
      if (!verifier.piece(piece)) return null
      progress.show(shareOf(source, verifier, read), `${verifier.count.toLocaleString('en')} entries`)
    }
    return verifier.finish()
  } finally {
    progress.clear()
    await batches.return(undefined)
    await hands?.end()
  }
}

async function* piecesOf(batches: AsyncIterable<Batch>, origin: string) {
  const forms = new EntryForms(TOOLS)
  for await (const { bytes, read } of batches)
    yield { piece: readPiece(decodeLines(bytes), origin, TOOLS, forms), read }
}

const shareOf = ({ size }: Source, { count, expected }: BundleVerifier, read: number): number =>
  size === null ? count / Math.max(1, expected) : read / size

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
