/**
 * Most entries of a log differ from one before only in a few texts: id, time, commitment, request, resource. An ordinary
 * entry that was read and found right is kept as a form with these texts taken out; a line that is the same form around
 * other such texts needs no parsing.
 *
 * Why that is enough: what is taken out is the whole of a text value, of printable ASCII without quote and backslash,
 * which has one spelling. With another such text in its place the line parses to the same but for that text, its members
 * are sorted as before, and it is as canonical. So all that was found of the one holds of the other, but for what is
 * said of the texts themselves: id, time and commitment, which are looked at in every line, and the hash.
 */
import { isUuid, uuidTime } from '../ids.js'
import { ENTRY_HEAD, ENTRY_TAIL, type EntryLine } from './bundle.js'
import { type HashTools, isTooLarge, leafOf, openingFault } from './check-entry.js'
import type { ReadEntry } from './read-entry.js'

/** Stands for a text that was taken out. Control characters are escaped in JSON, so no line that was read has it. */
const HOLE = '\u0001'
/** Some kilobytes each. */
const MOST_FORMS = 1_000

/** Quotes of the entry are escaped in its line, and those inside its texts twice: only a member begins so. */
const ID = ',\\"id\\":\\"'
const COMMITMENT = ',\\"payload\\":{\\"c\\":\\"'
const REQUEST = ',\\"request_id\\":\\"'
const RESOURCE = ',\\"resource\\":{\\"key\\":\\"'
const RAW = '\\",\\"raw\\":\\"'
const TIME = ',\\"ts\\":\\"'
const QUOTE = '\\"'
const PAYLOAD = ',"payload":'

const PLAIN = /^[ !#-[\]-~]*$/
const TS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const C = /^[\w-]{43}$/

interface Form {
  /** The entry's text around what was taken out. */
  readonly parts: readonly string[]
  readonly followed: string
}

/** A line taken apart. */
interface Cut {
  readonly index: number
  readonly leaf: string
  /** The line without what was taken out, index and leaf. */
  readonly form: string
  /** That, of the entry's text alone. */
  readonly around: readonly string[]
  readonly texts: readonly string[]
  readonly id: string
  readonly ts: string
  readonly c: string | null
  /** The payload as it stands in the line; null when there is none to open. */
  readonly payload: string | null
}

export class EntryForms {
  private readonly forms = new Map<string, Form>()
  private met = 0
  /** False in a log whose entries are all of their own kind: keeping them would cost more than parsing. */
  private worthwhile = true

  constructor(private readonly tools: HashTools) {}

  /** What an entry's line says, when it is a known form; null otherwise, and when anything is wrong with it. */
  read(line: string): { readonly index: number; readonly leaf: string; readonly followed: string } | null {
    const cut = this.worthwhile ? cutLine(line) : null
    const known = cut && this.forms.get(cut.form)
    if (!known || cut.texts.length !== known.parts.length - 1) return null
    const { index, leaf, texts, id, ts, c, payload } = cut
    if (!isUuid(id) || !TS.test(ts) || uuidTime(id) !== Date.parse(ts)) return null
    let text = known.parts[0] ?? ''
    for (const [i, inside] of texts.entries()) {
      if (!PLAIN.test(inside)) return null
      text += inside + (known.parts[i + 1] ?? '')
    }
    if (leafOf(text, this.tools) !== leaf || isTooLarge(text, this.tools)) return null
    if (payload !== null && !this.opens(payload, c)) return null
    this.met++
    return { index, leaf, followed: known.followed }
  }

  /**
   * Keeps the form of a line with nothing wrong in it.
   * @param entry of which rules read no text that is taken out
   * @param followed what rules read of it
   */
  keep(line: string, { id, ts, payload }: ReadEntry, text: string, followed: string): void {
    const cut = this.worthwhile ? cutLine(line) : null
    if (!cut || !cut.texts.every((inside) => PLAIN.test(inside))) return
    // What is looked at must be what the entry says, and not a member of the same name elsewhere in it.
    if (cut.id !== id || cut.ts !== ts || cut.c !== (payload?.c ?? null)) return
    if ([cut.id, cut.ts, cut.c].some((inside) => inside !== null && !isOnce(inside, text))) return
    if (cut.c !== null && !C.test(cut.c)) return
    const parts = cut.around.map((part) => JSON.parse(`"${part}"`) as string)
    if (this.forms.size >= MOST_FORMS) {
      this.worthwhile = this.met >= MOST_FORMS
      this.met = 0
      this.forms.clear()
    }
    this.forms.set(cut.form, { parts, followed })
  }

  private opens(spelt: string, c: string | null): boolean {
    let part: NonNullable<EntryLine['payload']>
    try {
      part = JSON.parse(spelt) as NonNullable<EntryLine['payload']>
    } catch {
      return false
    }
    if (!('salt' in part) || typeof part.salt !== 'string' || typeof part.text !== 'string') return false
    if (c === null || JSON.stringify({ salt: part.salt, text: part.text }) !== spelt) return false
    return openingFault(part, { c }, this.tools) === null
  }
}

const isOnce = (inside: string, text: string): boolean => text.indexOf(inside) === text.lastIndexOf(inside)

function cutLine(line: string): Cut | null {
  const [head, index, leaf] = ENTRY_HEAD.exec(line) ?? []
  if (head === undefined || index === undefined || leaf === undefined) return null
  const end = line.indexOf(ENTRY_TAIL, head.length)
  const knife = new Knife(line, head.length, end)
  const id = knife.after(ID, 36)
  const c = knife.after(COMMITMENT, 43)
  knife.after(REQUEST)
  if (knife.after(RESOURCE) !== null) knife.next(RAW)
  const ts = knife.after(TIME, 24)
  const beside = `${ENTRY_TAIL}"id":"${id}","ts":"${ts}",`
  if (end < 0 || id === null || ts === null || !line.startsWith(beside, end)) return null
  const columns_at = end + beside.length
  const payload_at = line.indexOf(PAYLOAD, columns_at)
  const opened = payload_at >= 0 && line.startsWith('{"salt":', payload_at + PAYLOAD.length)
  const around = knife.around()
  const form = `${around.join(HOLE)}\n${line.slice(columns_at, opened ? payload_at + PAYLOAD.length : undefined)}`
  const payload = opened ? line.slice(payload_at + PAYLOAD.length, -1) : null
  if (opened && !line.endsWith('}')) return null
  return { index: Number(index), leaf, form, around, texts: knife.texts, id, ts, c, payload }
}

/** Takes texts out of a part of a line, from the left to the right. */
class Knife {
  readonly texts: string[] = []
  private readonly parts: string[] = []

  constructor(
    private readonly line: string,
    private at: number,
    private readonly end: number,
  ) {}

  /** The text after the next such beginning, which stays; null when there is none. */
  after(beginning: string, length?: number): string | null {
    const at = this.line.indexOf(beginning, this.at)
    return at < 0 || at >= this.end ? null : this.take(at + beginning.length, length)
  }

  /** The text after this beginning, which has to be what comes next. */
  next(beginning: string): void {
    if (this.line.startsWith(beginning, this.at)) this.take(this.at + beginning.length)
  }

  around(): string[] {
    return [...this.parts, this.line.slice(this.at, this.end)]
  }

  private take(from: number, length?: number): string | null {
    const upto = length === undefined ? this.line.indexOf(QUOTE, from) : from + length
    if (upto < 0 || upto > this.end || !this.line.startsWith(QUOTE, upto)) return null
    this.parts.push(this.line.slice(this.at, from))
    const text = this.line.slice(from, upto)
    this.texts.push(text)
    this.at = upto
    return text
  }
}
