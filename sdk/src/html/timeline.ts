import { payloadOf } from '../../../src/core/ledger/bundle.js'
import type { Finding } from '../../../src/core/ledger/findings.js'
import type { Checked } from '../../../src/core/ledger/verify.js'
import { element } from './element.js'

/** What the list shows of an entry, and what is searched. */
export interface Row {
  readonly index: number
  readonly ts: string
  readonly who: string
  readonly what: string
  readonly verdict: 'allow' | 'deny' | 'pending' | ''
  readonly reason: string
  readonly redacted: boolean
  /** The entry's text, and its payload where there is one. */
  readonly details: string
  readonly searched: string
}

type Members = Readonly<Record<string, unknown>>

/** The row of a line; null for what is no entry. */
export function rowOf(checked: Checked): Row | null {
  const { line } = checked
  if (line.kind !== 'entry' || !('entry' in checked)) return null
  const entry = (checked.entry.entry ?? {}) as Members
  const { actor, subject, action, resource, decision, change, report, event } = entry as Record<
    string,
    Members
  >
  const redacted = line.payload !== undefined && 'redacted' in line.payload
  const payload = payloadOf(line)
  const who = texts(actor?.kind, actor?.id, subject?.agent_id === actor?.id ? null : subject?.agent_id)
  const what = decision || report ? texts(action?.raw, resource?.raw) : texts(event, change?.kind, change?.id)
  const effect = decision?.effect
  const verdict = effect === 'allow' || effect === 'deny' || effect === 'pending' ? effect : ''
  const reason = decision ? texts(decision.reason) : report ? `reported: ${texts(report.result)}` : ''
  const details = `${line.entry}${payload ? `\n${JSON.stringify(payload, null, 2)}` : ''}`
  const searched = [line.columns.ts, who, what, verdict, reason, details].join('\n').toLowerCase()
  return { index: line.index, ts: line.columns.ts, who, what, verdict, reason, redacted, details, searched }
}

const texts = (...values: readonly unknown[]): string =>
  values.filter((value) => typeof value === 'string' && value !== '').join(' ')

const PAGE_ROWS = 200
const VERDICTS = ['', 'allow', 'deny', 'pending', 'other', 'redacted', 'found'] as const

/** The list of entries, with search, filter and pages. */
export class Timeline {
  readonly element = element('section', { class: 'timeline' })
  private readonly search = element('input', {
    type: 'search',
    placeholder: 'Search',
    'aria-label': 'Search',
  })
  private readonly filter = element('select', { 'aria-label': 'Show' })
  private readonly list = element('tbody', {})
  private readonly count = element('span', { class: 'count' })
  private from = 0
  private shown: readonly Row[]

  constructor(
    private readonly rows: readonly Row[],
    private readonly findings: ReadonlyMap<number, Finding>,
  ) {
    this.shown = rows
    for (const name of VERDICTS) {
      const label = name === '' ? 'everything' : name
      this.filter.append(element('option', { value: name }, label))
    }
    this.search.addEventListener('input', () => this.choose())
    this.filter.addEventListener('change', () => this.choose())
    const back = element('button', {}, '‹ newer')
    const on = element('button', {}, 'older ›')
    back.addEventListener('click', () => this.turn(-PAGE_ROWS))
    on.addEventListener('click', () => this.turn(PAGE_ROWS))
    const head = element('tr', {})
    for (const name of ['#', 'when', 'who', 'what', 'verdict', 'reason']) head.append(element('th', {}, name))
    const table = element('table', {})
    table.append(element('thead', {}, head), this.list)
    this.element.append(element('nav', {}, this.search, this.filter, back, on, this.count), table)
    this.choose()
  }

  private choose(): void {
    const words = this.search.value
      .toLowerCase()
      .split(/\s+/)
      .filter((word) => word !== '')
    const only = this.filter.value
    this.shown = this.rows
      .filter((row) => this.isWanted(row, only) && words.every((word) => row.searched.includes(word)))
      .toReversed()
    this.from = 0
    this.show()
  }

  private isWanted({ verdict, redacted, index }: Row, only: string): boolean {
    if (only === 'redacted') return redacted
    if (only === 'found') return this.findings.has(index)
    return only === '' || (only === 'other' ? verdict === '' : verdict === only)
  }

  private turn(by: number): void {
    this.from = Math.max(0, Math.min(this.from + by, Math.max(0, this.shown.length - 1)))
    this.from -= this.from % PAGE_ROWS
    this.show()
  }

  private show(): void {
    const to = Math.min(this.from + PAGE_ROWS, this.shown.length)
    this.list.replaceChildren(...this.shown.slice(this.from, to).map((row) => this.rowElement(row)))
    const which = this.shown.length === 0 ? 'none' : `${this.from + 1}–${to} of ${this.shown.length}`
    this.count.textContent = `${which} (${this.rows.length} entries)`
  }

  private rowElement({ index, ts, who, what, verdict, reason, redacted, details }: Row): HTMLElement {
    const finding = this.findings.get(index)
    const row = element('tr', { class: finding ? 'bad' : verdict, 'data-index': String(index) })
    const explained = element('td', {}, reason)
    if (redacted) explained.append(element('span', { class: 'mark' }, 'payload erased'))
    if (finding)
      explained.append(element('span', { class: 'mark bad' }, `${finding.kind}: ${finding.detail}`))
    const more = element('details', {}, element('summary', {}, what))
    more.addEventListener('toggle', () => more.append(element('pre', {}, details)), { once: true })
    row.append(
      element('td', {}, String(index)),
      element('td', {}, ts),
      element('td', {}, who),
      element('td', {}, more),
      element('td', { class: 'verdict' }, verdict),
      explained,
    )
    return row
  }
}
