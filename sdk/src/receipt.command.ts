import { FINDING_KINDS } from '../../src/core/ledger/findings.js'
import { checkReceipt, type Receipt } from '../../src/core/ledger/receipt.js'
import { describeFinding, readKeys, readText, witnessing } from './check.js'
import { TOOLS } from './crypto.js'
import { UsageError } from './usage.js'

export interface ReceiptArguments {
  readonly receipt: string
  readonly keys: readonly string[]
  readonly origin: string | undefined
  readonly witnesses: readonly string[]
  readonly quorum: number | undefined
  readonly json: boolean
}

/** `agentguard verify --receipt`: 0, or the exit code of what is wrong with it. */
export function receiptCommand({ receipt, keys, origin, witnesses, quorum, json }: ReceiptArguments): number {
  if (keys.length === 0) throw new UsageError('A receipt holds no key: give the one you trust with --key.')
  const checked = checkReceipt(TOOLS, readText(receipt), {
    keys: keys.flatMap((given) => readKeys(given)),
    ...witnessing(witnesses, quorum),
    ...(origin !== undefined && { origin }),
  })
  const exit_code = checked.ok ? 0 : FINDING_KINDS[checked.errors.kind].exit
  process.stdout.write(
    json
      ? `${JSON.stringify({ valid: checked.ok, ...(checked.ok ? factsOf(checked.value) : { finding: checked.errors }), exit_code }, null, 2)}\n`
      : checked.ok
        ? describe(checked.value)
        : `FOUND    ${describeFinding(checked.errors)}\nResult   NOT VALID\n`,
  )
  return exit_code
}

const factsOf = ({ checkpoint, index, entry }: Receipt) => ({
  origin: checkpoint.origin,
  index,
  size: checkpoint.size,
  signers: [...new Set(checkpoint.signers.map(({ key }) => key.name))],
  entry,
})

function describe(receipt: Receipt): string {
  const { origin, index, size, signers, entry } = factsOf(receipt)
  const { actor, action, decision } = entry
  const lines = [
    `Log      ${origin}`,
    `Entry    ${index} (${entry.id}), made ${entry.ts}: ${entry.event} by ${actor.kind} ${actor.id}`,
    ...(decision ? [`Decision ${decision.effect} ${action?.key ?? ''}`] : []),
    `Signed   the first ${size.toLocaleString('en')} entries, by ${signers.join(', ')}`,
    'Result   VALID',
  ]
  return `${lines.join('\n')}\n`
}
