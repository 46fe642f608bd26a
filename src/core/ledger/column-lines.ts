/**
 * Whether the columns beside many entries say what the entries say, as far as that can be told quickly: a column line
 * of each is made from its text and compared with the one that the database made from the columns. Forms of entries
 * that were read once are not parsed again (knife.ts). Where the lines differ, `differingColumn` says what is wrong.
 */
import { isUuid } from '../ids.js'
import { type Cut, HOLE, isOnce, Knife, PLAIN } from './knife.js'
import { type Stated, statedIn } from './projections.js'
import { TS } from './read-entry.js'

/**
 * Between the columns of a line, and in the place of one that is empty. No text that is stated has either: so a line
 * of columns is equal only column by column, because it has one separator more for each that a column holds.
 */
export const SEPARATOR = '\u001f'
export const EMPTY = '\u001e'

const CONTROL = /\p{Cc}/u
/** Under a kilobyte each. */
const MOST_FORMS = 1_000

const KNIFE = new Knife('"')

export class ColumnLines {
  /** The end of the line, which is the same for all entries of a form. */
  private readonly forms = new Map<string, string>()

  /** @param org_id whose entries these are: one of another organization has no line */
  constructor(private readonly org_id: string) {}

  /** `id | milliseconds | type | agent_id | action_key | allowed | decision_id`; null when no line says it. */
  of(text: string): string | null {
    const cut = cutOrdinary(text)
    const form = cut?.around.join(HOLE)
    const known = form === undefined ? undefined : this.forms.get(form)
    if (cut && known !== undefined) return `${cut.id}${SEPARATOR}${Date.parse(cut.ts)}${known}`
    const stated = statedIn(text)
    if (!stated || stated.org_id !== this.org_id) return null
    const { id, ts } = stated
    const ms = Date.parse(ts ?? '')
    const end = endOfLine(stated)
    if (id === null || !isUuid(id) || Number.isNaN(ms) || end === null) return null
    // What was cut out must be what the entry says, and not a member of the same name elsewhere in it.
    if (form !== undefined && cut?.id === id && cut.ts === ts && isOnce(id, text) && isOnce(cut.ts, text)) {
      if (this.forms.size >= MOST_FORMS) this.forms.clear()
      this.forms.set(form, end)
    }
    return `${id}${SEPARATOR}${ms}${end}`
  }
}

function cutOrdinary(text: string): Cut | null {
  const cut = KNIFE.cut(text, 0, text.length)
  if (!cut || !isUuid(cut.id) || !TS.test(cut.ts)) return null
  return cut.texts.every((inside) => PLAIN.test(inside)) ? cut : null
}

function endOfLine({ type, agent_id, action_key, allowed, decision_id }: Stated): string | null {
  if (type === null) return null
  const columns = [type, agent_id, action_key, allowed === null ? null : String(allowed), decision_id]
  if (columns.some((column) => column !== null && CONTROL.test(column))) return null
  return columns.map((column) => `${SEPARATOR}${column ?? EMPTY}`).join('')
}
