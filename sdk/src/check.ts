import { readFileSync } from 'node:fs'
import type { Finding } from '../../src/core/ledger/findings.js'
import { parseVerifierKey, type VerifierKey } from '../../src/core/ledger/note.js'
import { BundleVerifier, type Checked, type Verdict } from '../../src/core/ledger/verify.js'
import { TOOLS } from './crypto.js'
import { openLines } from './lines.js'
import { Progress } from './progress.js'
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

/** Reads a bundle once, from the first line to the last, and gives its verdict. */
export async function checkBundle(
  path: string,
  { keys, checkpoints, witnesses = [], quorum, each }: CheckOptions,
): Promise<Verdict> {
  const older = checkpoints.map(readText)
  const verifier = new BundleVerifier(TOOLS, {
    keys: keys.flatMap((given) => readKeys(given)),
    older,
    ...witnessing(witnesses, quorum),
  })
  const source = openLines(path)
  const progress = new Progress('Checking')
  for await (const { lines, read } of source.batches()) {
    for (const line of lines) {
      const checked = verifier.line(line)
      if (checked && each) each(checked)
    }
    const share = source.size === null ? verifier.count / Math.max(1, verifier.expected) : read / source.size
    progress.show(share, `${verifier.count.toLocaleString('en')} entries`)
  }
  progress.clear()
  return verifier.finish()
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
