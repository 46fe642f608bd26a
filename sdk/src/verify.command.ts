import { FINDING_KINDS } from '../../src/core/ledger/findings.js'
import type { Verdict } from '../../src/core/ledger/verify.js'
import { checkBundle, describeFinding } from './check.js'

export interface VerifyArguments {
  readonly bundle: string
  readonly keys: readonly string[]
  readonly checkpoints: readonly string[]
  readonly witnesses: readonly string[]
  readonly quorum: number | undefined
  readonly json: boolean
}

/** `agentguard verify`: 0, or the exit code of the first finding. */
export async function verifyCommand({ bundle, json, ...options }: VerifyArguments): Promise<number> {
  const verdict = await checkBundle(bundle, options)
  const exit_code = exitCodeOf(verdict)
  process.stdout.write(
    json ? `${JSON.stringify({ ...verdict, exit_code }, null, 2)}\n` : describeVerdict(verdict),
  )
  return exit_code
}

export const exitCodeOf = ({ findings: [first] }: Pick<Verdict, 'findings'>): number =>
  first ? FINDING_KINDS[first.kind].exit : 0

const number = (value: number): string => value.toLocaleString('en')

/** A verdict for people. */
export function describeVerdict(verdict: Verdict): string {
  const { first, end, decisions, redacted, checkpoint, older, unsigned, findings, more_findings, notes } =
    verdict
  const lines = [
    `Log      ${verdict.origin ?? 'unknown'}`,
    `Entries  ${number(verdict.entries)} (index ${first} to ${end - 1}): ${number(decisions.allow)} allowed, ` +
      `${number(decisions.deny)} denied, ${number(decisions.pending)} pending` +
      (redacted > 0 ? `; the payload of ${number(redacted)} has been erased` : ''),
    `Root     ${verdict.root ?? 'cannot be computed'}`,
  ]
  if (checkpoint) {
    lines.push(`Signed   the first ${number(checkpoint.size)} entries, by ${checkpoint.signers.join(', ')}`)
    if (unsigned > 0) lines.push(`         ${number(unsigned)} newer entries are not signed yet`)
  } else {
    lines.push('Signed   nothing that could be compared')
  }
  for (const mark of older)
    lines.push(`Older    begins with the ${number(mark.size)} entries of the checkpoint you hold`)
  if (checkpoint && verdict.keys === 'bundle')
    lines.push("Note     The key is the bundle's own. Compare it with one you got elsewhere: --key.")
  for (const note of notes) lines.push(`Note     ${note}`)
  for (const finding of findings) lines.push(`FOUND    ${describeFinding(finding)}`)
  if (more_findings > 0) lines.push(`FOUND    and ${number(more_findings)} more`)
  lines.push(verdict.valid ? 'Result   VALID' : 'Result   NOT VALID')
  return `${lines.join('\n')}\n`
}
