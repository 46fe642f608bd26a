import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BundleLine, parseLine } from '../../src/core/ledger/bundle.js'
import { BLOCK_LINES, BLOCK_TYPE, escapeText, MOST_ENTRIES } from './html/container.js'
import { batches, decodeLines, openLines } from './lines.js'
import { UsageError } from './usage.js'

/** The program of the page, as it was built. */
const PROGRAM = 'page.iife.js'

/**
 * The file of `agentguard export --html`, in pieces: one HTML file that holds the bundle and checks it. Memory holds
 * one block of lines.
 * @param source the bundle: a path, or its bytes as they come
 * @throws UsageError for more entries than a browser can take, or what is no whole bundle
 */
export async function* htmlOf(source: string | AsyncIterable<unknown>): AsyncGenerator<string> {
  const program = readProgram()
  yield headOf(program)
  let block: string[] = []
  let first = true
  let last = ''
  const pieces = typeof source === 'string' ? openLines(source).batches() : batches(source)
  for await (const { bytes } of pieces) {
    for (const line of decodeLines(bytes)) {
      if (first) assertSize(line)
      first = false
      last = line
      block.push(line)
      if (block.length < BLOCK_LINES) continue
      yield blockOf(block)
      block = []
    }
  }
  if (kindOf(last) !== 'end') throw new UsageError('The bundle has no last line: it was cut off. Try again.')
  if (block.length > 0) yield blockOf(block)
  yield `<script>${program}</script>\n</body>\n</html>\n`
}

const blockOf = (lines: readonly string[]): string =>
  `<script type="${BLOCK_TYPE}">\n${escapeText(lines.join('\n'))}\n</script>\n`

/** Everything is forbidden but this one program: no network, no eval, no frames, no other script or style. */
function headOf(program: string): string {
  const digest = createHash('sha256').update(program).digest('base64')
  const policy = [
    "default-src 'none'",
    `script-src 'sha256-${digest}'`,
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
  ].join('; ')
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width">
<title>NOT VERIFIED</title>
</head>
<body>
<h1 id="verdict" data-state="failed">NOT VERIFIED</h1>
<p>The program in this file has not run: it was changed, or the browser does not run it. Nothing below is checked.</p>
`
}

function readProgram(): string {
  // Beside the built command.
  const file = path.join(path.dirname(fileURLToPath(import.meta.url)), PROGRAM)
  if (!existsSync(file)) throw new UsageError(`${file} is missing: build the package (npm run build:sdk).`)
  // HTML reads a NUL as U+FFFD, and the hash in the policy would not be the one of what runs: the minifier writes them
  // into strings as they are.
  const program = readFileSync(file, 'utf8').trim().replaceAll('\0', '\\x00')
  if (/\r/.test(program)) throw new Error('the program of the page has a carriage return, which HTML changes')
  if (/<\/script|<!--/i.test(program)) throw new Error('the program of the page would end its own element')
  return program
}

function assertSize(line: string): void {
  const parsed = parseLine(line)
  if (!parsed.ok || parsed.value.kind !== 'manifest') throw new UsageError('This is no bundle.')
  const entries = parsed.value.end - parsed.value.first
  if (entries > MOST_ENTRIES) {
    throw new UsageError(
      `The log has ${entries.toLocaleString('en')} entries here, and a page takes at most ` +
        `${MOST_ENTRIES.toLocaleString('en')}: choose a time with --from and --to, or keep the bundle itself.`,
    )
  }
}

function kindOf(line: string): BundleLine['kind'] | null {
  const parsed = parseLine(line)
  return parsed.ok ? parsed.value.kind : null
}
