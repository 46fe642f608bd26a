import { type APIError } from '../errors.js'

/** One column of a table: its heading and what stands in it. */
export type Column<T> = readonly [heading: string, of: (row: T) => unknown]

/** Controls and what changes the direction of text: in a terminal they could move, hide or forge what is read. */
const UNSAFE = /[\p{Cc}\p{Cf}\u2028\u2029]/gu
const escapeOf = (character: string): string =>
  character
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('')

/** Text of agents and services, safe to show on one line. */
export const clean = (text: string): string => text.replace(UNSAFE, escapeOf)

/** JSON for programs. What a terminal would obey is escaped, which JSON reads as the same text. */
export function printJson(value: unknown): void {
  process.stdout.write(`${jsonOf(value, 2)}\n`)
}

/** One value a line: for what does not end. */
export function printJsonLine(value: unknown): void {
  process.stdout.write(`${jsonOf(value)}\n`)
}

const jsonOf = (value: unknown, indent?: number): string =>
  JSON.stringify(value, null, indent).replace(UNSAFE, (character) =>
    character === '\n' ? character : escapeOf(character),
  )

export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** For people, beside what is piped on. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`)
}

/** How many columns of a terminal a text takes: East Asian wide characters and emoji take two. */
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u
export function widthOf(text: string): number {
  let width = 0
  for (const character of text) width += WIDE.test(character) ? 2 : /\p{Mark}/u.test(character) ? 0 : 1
  return width
}

function fit(text: string, width: number): string {
  if (widthOf(text) <= width) return text + ' '.repeat(width - widthOf(text))
  let kept = ''
  let used = 0
  for (const character of text) {
    const next = widthOf(character)
    if (used + next > width - 1) break
    kept += character
    used += next
  }
  return `${kept}…${' '.repeat(Math.max(0, width - used - 1))}`
}

const GAP = 2
const NARROWEST = 8

export function cell(value: unknown): string {
  if (value === null || value === undefined || value === '') return '-'
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (Array.isArray(value)) return value.map((item) => cell(item)).join(', ') || '-'
  return clean(typeof value === 'string' ? value : JSON.stringify(value))
}

/** Lines of a table; in a terminal no wider than it is, the widest columns giving way. */
export function tableLines<T>(
  rows: readonly T[],
  columns: readonly Column<T>[],
  width = process.stdout.isTTY ? process.stdout.columns : Infinity,
): string[] {
  const cells = rows.map((row) => columns.map(([, of]) => cell(of(row))))
  const widths = columns.map(([heading], i) =>
    Math.max(widthOf(heading), ...cells.map((row) => widthOf(row[i] ?? ''))),
  )
  const room = width - GAP * (columns.length - 1)
  while (sum(widths) > room) {
    const widest = widths.indexOf(Math.max(...widths))
    if ((widths[widest] ?? 0) <= NARROWEST) break
    widths[widest] = Math.max(
      NARROWEST,
      (widths[widest] ?? 0) - Math.max(1, Math.ceil((sum(widths) - room) / 2)),
    )
  }
  const line = (texts: readonly string[]) =>
    texts
      .map((text, i) => fit(text, widths[i] ?? 0))
      .join(' '.repeat(GAP))
      .trimEnd()
  return [colored(line(columns.map(([heading]) => heading)), 1), ...cells.map(line)]
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0)

/** A list: a table for people, an array for programs. */
export function printList<T>(
  rows: readonly T[],
  columns: readonly Column<T>[],
  json: boolean,
  empty: string,
): void {
  if (json) printJson(rows)
  else if (rows.length === 0) note(empty)
  else for (const line of tableLines(rows, columns)) print(line)
}

/** One thing: a line a member for people. */
export function printThing(thing: object, json: boolean): void {
  if (json) return printJson(thing)
  const members = Object.entries(thing)
  const width = Math.max(...members.map(([name]) => name.length))
  for (const [name, value] of members) print(`${name.padEnd(width)}  ${cell(value)}`)
}

/** SGR codes where they can be seen and are wanted (no-color.org). */
export function colored(text: string, code: number): string {
  const wanted = process.stdout.isTTY && !process.env.NO_COLOR && process.env.TERM !== 'dumb'
  return wanted ? `\u001b[${code}m${text}\u001b[0m` : text
}

/** What to do next, by code or status. */
const NEXT: Readonly<Record<string, string>> = {
  401: 'The key is not, or no longer, valid here: agentguard login, or set AGENTGUARD_ADMIN_KEY or AGENTGUARD_AGENT_KEY.',
  403: 'agentguard doctor says what this key may do.',
  409: 'Look at how it is now, then try again.',
  429: 'Wait, then try again.',
  503: 'Try again; agentguard doctor says what is not ready.',
  connection_failed: 'Is the service running there? agentguard doctor, or another --url.',
  timeout: 'Try again; agentguard doctor says how the service is.',
  not_found: 'This service does not have that yet: compare versions with agentguard doctor.',
  agent_not_found: 'agentguard agents list shows the ids.',
  key_not_found: 'agentguard keys list <agent_id> shows the ids.',
  policy_not_found: 'Give the agent one: agentguard policy set <agent_id> <file>.',
  approval_not_found: 'agentguard approvals list shows the ids.',
}

/** A failure as one line: what happened, code and request id, and what to do next. */
export function lineOf(error: APIError): string {
  const { status, code, detail, request_id, errors = [], retry_after_s } = error
  const fields = errors.map(({ path, message }) => `${path || '(body)'}: ${message}`).join('; ')
  const next =
    retry_after_s === undefined ? (NEXT[code] ?? NEXT[status ?? '']) : `Try again in ${retry_after_s} s.`
  const named = [status, code, request_id === undefined ? '' : `request ${request_id}`]
    .filter(Boolean)
    .join(', ')
  return clean([detail, fields, `(${named})`, next].filter(Boolean).join(' '))
}
