/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The program of `agentguard export --html`: checks the bundle in its own file with the code of `agentguard verify`,
 * says what it found, and shows the entries. Until it has run, and when it cannot, the page says that nothing is
 * verified.
 */
import { FINDING_KINDS, type Finding } from '../../../src/core/ledger/findings.js'
import { parseVerifierKey, type VerifierKey } from '../../../src/core/ledger/note.js'
import { BundleVerifier, type Verdict } from '../../../src/core/ledger/verify.js'
import { BLOCK_TYPE, unescapeText } from './container.js'
import { element } from './element.js'
import { sha256 } from './sha256.js'
import { toolsFor } from './signatures.js'
import { STYLE } from './style.js'
import { type Row, rowOf, Timeline } from './timeline.js'

/** Findings that are kept: a row of the list is marked for each. */
const MOST_FINDINGS = 1_000
const LISTED_FINDINGS = 20

const number = (value: number): string => value.toLocaleString('en')

/** The lines of the bundle in this file, a block at a time. */
function blocks(): string[][] {
  const found = document.querySelectorAll(`script[type="${BLOCK_TYPE}"]`)
  return [...found].map((block) =>
    unescapeText(block.textContent ?? '')
      .replace(/^\n|\n$/g, '')
      .split('\n'),
  )
}

/** The lines before the first policy or entry. */
function headOf([first = []]: readonly string[][]): string[] {
  const end = first.findIndex((line) => /^\{"kind":"(policy|entry|end)"/.test(line))
  return first.slice(0, end < 0 ? first.length : end)
}

async function check(
  lines: readonly string[][],
  keys: readonly VerifierKey[],
  progress: (count: number) => void,
): Promise<{ verdict: Verdict; rows: Row[] }> {
  const tools = await toolsFor(headOf(lines), keys)
  const verifier = new BundleVerifier(tools, { keys, most_findings: MOST_FINDINGS })
  const rows: Row[] = []
  for (const block of lines) {
    for (const line of block) {
      const checked = verifier.line(line)
      const row = checked && rowOf(checked)
      if (row) rows.push(row)
    }
    progress(verifier.count)
    await new Promise((resolve) => setTimeout(resolve))
  }
  return { verdict: verifier.finish(), rows }
}

function describe({ kind, index, field, line, detail }: Finding): HTMLElement {
  const where = [
    index === null ? '' : `entry ${index}`,
    field === null ? '' : `member ${field}`,
    line === null ? '' : `line ${line}`,
  ].filter((part) => part !== '')
  const made = element('li', { class: 'finding', 'data-kind': kind })
  made.append(element('b', {}, FINDING_KINDS[kind].title), ` (${[kind, ...where].join(', ')}): ${detail}`)
  return made
}

function summary(verdict: Verdict): HTMLElement {
  const { origin, first, end, entries, decisions, redacted, checkpoint, unsigned, findings, notes } = verdict
  // Green is only for what a signature covers: hashes alone anyone can make.
  const state = !verdict.valid ? 'bad' : checkpoint ? 'good' : 'unsigned'
  const title = { good: 'VALID', bad: 'NOT VALID', unsigned: 'NOT SIGNED' }[state]
  const made = element('header', { class: state, id: 'verdict', 'data-state': state })
  made.append(element('h1', {}, title))
  const facts = element('ul', {})
  facts.append(
    element('li', {}, `Log ${origin ?? 'unknown'}`),
    element(
      'li',
      {},
      `${number(entries)} entries (index ${first} to ${end - 1}): ${number(decisions.allow)} allowed, ` +
        `${number(decisions.deny)} denied, ${number(decisions.pending)} pending; the payload of ${number(redacted)} was erased`,
    ),
    element(
      'li',
      {},
      checkpoint
        ? `The first ${number(checkpoint.size)} entries are signed by ${checkpoint.signers.join(', ')}` +
            (unsigned > 0 ? `; ${number(unsigned)} newer ones are not signed yet` : '')
        : 'No signature covers these entries',
    ),
  )
  for (const note of notes) facts.append(element('li', {}, note))
  const kinds = new Map<string, number>()
  for (const { kind } of findings) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  if (kinds.size > 0) {
    const counted = [...kinds].map(([kind, count]) => `${kind} ${number(count)}`).join(', ')
    const more = verdict.more_findings > 0 ? ` and ${number(verdict.more_findings)} more` : ''
    facts.append(element('li', {}, `Found: ${counted}${more}`))
  }
  made.append(facts)
  const list = element('ol', { id: 'findings' })
  list.append(...findings.slice(0, LISTED_FINDINGS).map(describe))
  if (findings.length > 0) made.append(list)
  return made
}

/** The key matters most: this file brings its own, so the reader compares it, or gives the one they trust. */
function keyForm(verdict: Verdict, used: readonly string[], again: (key: VerifierKey) => void): HTMLElement {
  const made = element('section', { class: 'key' })
  const text =
    verdict.keys === 'given'
      ? 'Checked with the key that you gave.'
      : 'Checked with the key in this file. Whoever forges a log forges a key for it: compare it with the one you ' +
        'got elsewhere, or paste that one here.'
  const input = element('input', { type: 'text', placeholder: 'verifier key', 'aria-label': 'Verifier key' })
  const button = element('button', {}, 'Check again')
  const said = element('span', {})
  button.addEventListener('click', () => {
    const key = parseVerifierKey(sha256, input.value.trim())
    if (key.ok) again(key.value)
    else said.textContent = key.errors.detail
  })
  made.append(element('p', {}, text))
  for (const key of used) made.append(element('code', {}, key))
  made.append(input, button, said)
  return made
}

function keysIn(lines: readonly string[][]): string[] {
  return headOf(lines).flatMap((line) => {
    try {
      const { kind, vkey } = JSON.parse(line) as { kind?: unknown; vkey?: unknown }
      return kind === 'key' && typeof vkey === 'string' ? [vkey] : []
    } catch {
      return []
    }
  })
}

async function show(lines: readonly string[][], keys: readonly VerifierKey[]): Promise<void> {
  const said = element('p', { class: 'progress' }, 'Checking…')
  document.body.replaceChildren(said)
  try {
    const { verdict, rows } = await check(lines, keys, (count) => {
      said.textContent = `Checking: ${number(count)} entries`
    })
    const marked = new Map<number, Finding>()
    for (const finding of verdict.findings.toReversed()) {
      if (finding.index !== null) marked.set(finding.index, finding)
    }
    document.title = `${verdict.valid ? '' : 'NOT VALID: '}${verdict.origin ?? 'AgentGuard log'}`
    document.body.replaceChildren(
      summary(verdict),
      keyForm(verdict, keysIn(lines), (key) => void show(lines, [key])),
      new Timeline(rows, marked).element,
    )
  } catch (error) {
    const failed = element('header', { class: 'bad', id: 'verdict', 'data-state': 'failed' })
    const why = error instanceof Error ? error.message : String(error)
    failed.append(element('h1', {}, 'NOT VERIFIED'), element('p', {}, why))
    document.body.replaceChildren(failed)
  }
}

const sheet = new CSSStyleSheet()
sheet.replaceSync(STYLE)
document.adoptedStyleSheets = [sheet]
void show(blocks(), [])
