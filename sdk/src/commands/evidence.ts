import { FINDING_KINDS } from '../../../src/core/ledger/findings.js'
import { exportCommand } from '../export.command.js'
import { hookCommand } from '../hook.js'
import { receiptCommand } from '../receipt.command.js'
import { replayCommand } from '../replay.command.js'
import { verifyCommand } from '../verify.command.js'
import { witnessCommand } from '../witness.command.js'
import type { Command, Given, Options } from './command.js'
import { accessOf } from './connection.js'

const EXIT_CODES = Object.entries(FINDING_KINDS)
  .map(([kind, { exit, title }]) => `  ${exit}  ${kind.padEnd(14)}  ${title}`)
  .join('\n')

const CODES = `Exit codes: that of the first finding.
   0  all is well
   2  a mistake in the call, or something that cannot be read
${EXIT_CODES}`

const WITNESSES: Options = {
  witness: { value: 'vkey|file', many: true, summary: 'a witness; must have cosigned' },
  quorum: { value: 'n', summary: 'how many of them; default one' },
}
const CHECKS: Options = {
  key: {
    value: 'vkey|file',
    many: true,
    summary: 'the key of the log, got another way than with the bundle',
  },
  checkpoint: { value: 'file', many: true, summary: 'a checkpoint kept earlier: the log must begin with it' },
  ...WITNESSES,
  json: { summary: 'for programs: JSON on standard output' },
}

const checksOf = (given: Given) => ({
  keys: given.list('key'),
  witnesses: given.list('witness'),
  quorum: given.number('quorum', { min: 1, max: 999 }),
  json: given.json,
})

export const evidenceCommands: readonly Command[] = [
  {
    name: 'verify',
    summary: 'checks an exported log or a receipt offline, trusting nobody',
    arguments: '[bundle|-]',
    options: {
      ...CHECKS,
      receipt: {
        value: 'file',
        summary: 'the answer to POST /enforce with "Prefer: receipt", or a .tlog-proof',
      },
      origin: { value: 'log', summary: 'with --receipt: the name of the log' },
    },
    details: `Checks every hash, the signed root, columns, payloads, policies, and that no allow follows a no.\n${CODES}`,
    offline: true,
    failure: 2,
    run(given) {
      const [bundle, receipt, origin] = [given.optional(0), given.text('receipt'), given.text('origin')]
      if (receipt !== undefined && bundle === undefined)
        return receiptCommand({ receipt, origin, ...checksOf(given) })
      if (receipt !== undefined || origin !== undefined)
        throw given.mistake(
          'A receipt is checked without a bundle: --receipt <file> --key <vkey|file> [--origin <log>].',
        )
      if (bundle === undefined) throw given.mistake('<bundle|-> is missing.')
      return verifyCommand({ bundle, checkpoints: given.list('checkpoint'), ...checksOf(given) })
    },
  },
  {
    name: 'replay',
    summary: 'verifies, and makes every decision again from its entry, policy and facts',
    arguments: '<bundle|->',
    options: { ...CHECKS, 'log-id': { value: 'id', summary: 'only this decision' } },
    details: CODES,
    offline: true,
    failure: 2,
    run: (given) =>
      replayCommand({
        bundle: given.argument(0),
        log_id: given.text('log-id'),
        checkpoints: given.list('checkpoint'),
        ...checksOf(given),
      }),
  },
  {
    name: 'export',
    summary: 'streams the log into a file',
    options: {
      output: { value: 'file|-', short: 'o', summary: 'where to (required)' },
      format: {
        value: 'format',
        choices: ['ndjson', 'json', 'csv'],
        summary: 'ndjson (default), json or csv',
      },
      html: { summary: 'one page that shows the log and checks itself in a browser, without network' },
      bundle: { value: 'file', summary: 'with --html: of a bundle that is there already' },
      from: { value: 'time', summary: 'entries from then on' },
      to: { value: 'time', summary: 'entries until then' },
      'admin-key-file': { value: 'file', summary: 'where the key is' },
      'admin-key': { value: 'key', summary: 'the key; others on this machine can see it' },
    },
    failure: 2,
    run(given) {
      const [bundle, url, key_file] = [given.text('bundle'), given.text('url'), given.text('admin-key-file')]
      if (url !== undefined && bundle !== undefined) throw given.mistake('--bundle does not go with --url.')
      const key = given.text('admin-key')
      const named = { url, profile: given.text('profile'), org_id: given.text('org') }
      const access = bundle === undefined ? accessOf(named) : undefined
      return exportCommand({
        url: access?.url,
        bundle,
        output: given.required('output'),
        html: given.flag('html'),
        admin_key: key ?? (key_file === undefined ? access?.admin_key : undefined),
        admin_key_file: key_file,
        org_id: access?.org_id,
        from: given.text('from'),
        to: given.text('to'),
        format: given.text('format') ?? 'ndjson',
      })
    },
  },
  {
    name: 'witness',
    summary: 'cosigns checkpoints of logs that only grow (C2SP tlog-witness)',
    options: {
      dir: {
        value: 'folder',
        summary: 'its key and what it cosigned; keep it apart from the log (required)',
      },
      listen: { value: 'host:port', summary: 'where it answers (required)' },
      'log-key': { value: 'vkey|file', many: true, summary: 'the key of a log' },
      origin: { value: 'log', many: true, summary: 'the name of a log' },
      name: { value: 'name', summary: 'what it signs as' },
    },
    offline: true,
    failure: 2,
    run: (given) =>
      witnessCommand({
        dir: given.required('dir'),
        listen: given.required('listen'),
        log_keys: given.list('log-key'),
        origins: given.list('origin'),
        name: given.text('name'),
      }),
  },
  {
    name: 'hook claude-code',
    summary: 'a PreToolUse hook: reads the event from standard input and answers allow or deny',
    details: 'The key is in AGENTGUARD_AGENT_KEY, the service in AGENTGUARD_URL.',
    offline: true,
    failure: 2,
    run: () => hookCommand(['claude-code']),
  },
]
