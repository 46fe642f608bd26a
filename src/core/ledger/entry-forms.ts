/**
 * Most entries of a log differ from one before only in a few texts. An ordinary entry that was read and found right is
 * kept as a form with these texts taken out; a line that is the same form around other such texts needs no parsing.
 * knife.ts says why that is enough; what is said of the texts themselves, id, time and commitment, is looked at in
 * every line, and so is the hash.
 */
import { isUuid, uuidTime } from '../ids.js'
import { ENTRY_HEAD, ENTRY_TAIL, type EntryLine } from './bundle.js'
import { type HashTools, isTooLarge, leafOf, openingFault } from './check-entry.js'
import { type Cut, HOLE, isOnce, Knife, PLAIN } from './knife.js'
import { type ReadEntry, TS } from './read-entry.js'

/** Some kilobytes each. */
const MOST_FORMS = 1_000

const PAYLOAD = ',"payload":'

const C = /^[\w-]{43}$/
/** Quotes of the entry are escaped in its line. */
const KNIFE = new Knife('\\"')

interface Form {
  /** The entry's text around what was taken out. */
  readonly parts: readonly string[]
  readonly followed: string
}

/** A line taken apart. */
interface LineCut extends Cut {
  readonly index: number
  readonly leaf: string
  /** The line without what was taken out, index and leaf. */
  readonly form: string
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

function cutLine(line: string): LineCut | null {
  const [head, index, leaf] = ENTRY_HEAD.exec(line) ?? []
  if (head === undefined || index === undefined || leaf === undefined) return null
  const end = line.indexOf(ENTRY_TAIL, head.length)
  const cut = end < 0 ? null : KNIFE.cut(line, head.length, end)
  if (!cut) return null
  const beside = `${ENTRY_TAIL}"id":"${cut.id}","ts":"${cut.ts}",`
  if (!line.startsWith(beside, end)) return null
  const columns_at = end + beside.length
  const payload_at = line.indexOf(PAYLOAD, columns_at)
  const opened = payload_at >= 0 && line.startsWith('{"salt":', payload_at + PAYLOAD.length)
  const form = `${cut.around.join(HOLE)}\n${line.slice(columns_at, opened ? payload_at + PAYLOAD.length : undefined)}`
  const payload = opened ? line.slice(payload_at + PAYLOAD.length, -1) : null
  if (opened && !line.endsWith('}')) return null
  return { ...cut, index: Number(index), leaf, form, payload }
}
