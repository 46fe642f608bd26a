#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { FINDING_KINDS } from '../../src/core/ledger/findings.js'
import { exportCommand } from './export.command.js'
import { receiptCommand } from './receipt.command.js'
import { hookCommand } from './hook.js'
import { replayCommand } from './replay.command.js'
import { UsageError } from './usage.js'
import { verifyCommand } from './verify.command.js'
import { witnessCommand } from './witness.command.js'

const EXIT_CODES = Object.entries(FINDING_KINDS)
  .map(([kind, { exit, title }]) => `  ${exit}  ${kind.padEnd(14)}  ${title}`)
  .join('\n')

const HELP = `agentguard: check the log of an AgentGuard, without trusting it.

  agentguard verify <bundle|-> [--key <vkey|file>]… [--checkpoint <file>]…
                    [--witness <vkey|file>]… [--quorum <n>] [--json]
      Checks a bundle offline: every hash, the signed root, columns, payloads, policies,
      and that no allow follows a no. A key is the text of /.well-known/agentguard-keys.json
      that you got another way; a checkpoint is one you kept earlier; of the witnesses at
      least n (default: one) must have cosigned.

  agentguard verify --receipt <file> --key <vkey|file> [--origin <log>] [--witness …] [--quorum …] [--json]
      Checks a receipt: the answer to POST /enforce with "Prefer: receipt", or a .tlog-proof.

  agentguard replay <bundle|-> [--log-id <id>] [--key …] [--checkpoint …] [--json]
      The same, and makes every decision again from its entry, payload, policies and facts.

  agentguard export --url <url> [--admin-key-file <file> | --admin-key <key>] [--org <org_id>]
                    [--from <time>] [--to <time>] [--format ndjson|json|csv | --html] -o <file|->
      Streams the log into a file. The key may also be in AGENTGUARD_ADMIN_KEY.
      --html: one page that shows the log and checks itself in a browser, without network.

  agentguard export --html --bundle <file> -o <file|->
      The same page of a bundle that you have.

  agentguard witness --dir <folder> --listen <host:port> --log-key <vkey|file>… [--origin <log>]… [--name <name>]
      Cosigns checkpoints of logs that only grow (C2SP tlog-witness), and prints its address and key. The folder
      holds its key and what it cosigned: keep it apart from the log's own machines.

  agentguard hook claude-code
      A PreToolUse hook: reads the event from standard input and answers allow or deny. The key
      is in AGENTGUARD_AGENT_KEY, the service in AGENTGUARD_URL.

Exit codes: that of the first finding.
   0  all is well
   2  a mistake in the call, or something that cannot be read
${EXIT_CODES}
`

async function run([command, ...rest]: string[]): Promise<number> {
  switch (command) {
    case 'verify':
    case 'replay': {
      const { values, positionals } = parse(rest, {
        key: { type: 'string', multiple: true },
        checkpoint: { type: 'string', multiple: true },
        json: { type: 'boolean' },
        'log-id': { type: 'string' },
        receipt: { type: 'string' },
        origin: { type: 'string' },
        witness: { type: 'string', multiple: true },
        quorum: { type: 'string' },
      })
      const [bundle] = positionals
      const [receipt, origin] = [text(values.receipt), text(values.origin)]
      const witnessed = { witnesses: list(values.witness), quorum: count(text(values.quorum)) }
      if (receipt !== undefined && command === 'verify' && bundle === undefined)
        return receiptCommand({
          receipt,
          origin,
          keys: list(values.key),
          ...witnessed,
          json: values.json === true,
        })
      if (receipt !== undefined || origin !== undefined)
        throw new UsageError('agentguard verify --receipt <file> --key <vkey|file> [--origin <log>]')
      if (bundle === undefined || positionals.length > 1)
        throw new UsageError(`agentguard ${command} <bundle|->`)
      const common = {
        bundle,
        keys: list(values.key),
        checkpoints: list(values.checkpoint),
        ...witnessed,
        json: values.json === true,
      }
      const log_id = text(values['log-id'])
      if (command === 'replay') return replayCommand({ ...common, log_id })
      if (log_id !== undefined) throw new UsageError('--log-id is for agentguard replay.')
      return verifyCommand(common)
    }
    case 'export': {
      const { values, positionals } = parse(rest, {
        url: { type: 'string' },
        'admin-key': { type: 'string' },
        'admin-key-file': { type: 'string' },
        org: { type: 'string' },
        from: { type: 'string' },
        to: { type: 'string' },
        format: { type: 'string' },
        html: { type: 'boolean' },
        bundle: { type: 'string' },
        output: { type: 'string', short: 'o' },
      })
      const [url, bundle, output] = [text(values.url), text(values.bundle), text(values.output)]
      if ((url === undefined) === (bundle === undefined) || output === undefined || positionals.length > 0)
        throw new UsageError('agentguard export --url <url> -o <file|->')
      return exportCommand({
        url,
        bundle,
        output,
        html: values.html === true,
        admin_key: text(values['admin-key']),
        admin_key_file: text(values['admin-key-file']),
        org_id: text(values.org),
        from: text(values.from),
        to: text(values.to),
        format: text(values.format) ?? 'ndjson',
      })
    }
    case 'witness': {
      const { values, positionals } = parse(rest, {
        dir: { type: 'string' },
        listen: { type: 'string' },
        'log-key': { type: 'string', multiple: true },
        origin: { type: 'string', multiple: true },
        name: { type: 'string' },
      })
      const [dir, listen] = [text(values.dir), text(values.listen)]
      if (dir === undefined || listen === undefined || positionals.length > 0)
        throw new UsageError('agentguard witness --dir <folder> --listen <host:port> --log-key <vkey|file>')
      return witnessCommand({
        dir,
        listen,
        log_keys: list(values['log-key']),
        origins: list(values.origin),
        name: text(values.name),
      })
    }
    case 'hook':
      return hookCommand(rest)
    case '--help':
    case '-h':
    case 'help':
      process.stdout.write(HELP)
      return 0
    default:
      process.stderr.write(HELP)
      return 2
  }
}

type Options = NonNullable<Parameters<typeof parseArgs>[0]>['options']
type Values = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>

function parse(args: string[], options: Options): { values: Values; positionals: string[] } {
  try {
    return parseArgs({ args, ...(options && { options }), allowPositionals: true })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

const text = (value: Values[string]): string | undefined => (typeof value === 'string' ? value : undefined)
const list = (value: Values[string]): string[] =>
  Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []

function count(value: string | undefined): number | undefined {
  if (value === undefined || /^[1-9]\d{0,2}$/.test(value)) return value === undefined ? value : Number(value)
  throw new UsageError('--quorum is a number from 1.')
}

run(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code
  },
  (error: unknown) => {
    const message =
      error instanceof UsageError ? error.message : error instanceof Error ? error.stack : String(error)
    process.stderr.write(`${message ?? 'failed'}\n`)
    process.exitCode = 2
  },
)
