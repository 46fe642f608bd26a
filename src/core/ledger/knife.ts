/**
 * Takes out of an entry's text what differs from one ordinary entry to the next: id, time, commitment, request,
 * resource. What is left, its form, is the same for many.
 *
 * What is taken out is the whole of a text value. When it is `PLAIN`, which has one spelling in JSON, another plain
 * text in its place gives an entry that parses to the same but for that text, whose members are sorted as before, and
 * which is as canonical. So all that was found of one entry holds of another of its form, but for what is said of
 * these texts themselves.
 */

/** What texts have to be, on both sides, for two entries of one form to differ in nothing else. */
export const PLAIN = /^[ !#-[\]-~]*$/

/** Stands for a text that was taken out. Control characters are escaped in JSON, so no entry that was read has it. */
export const HOLE = '\u0001'

/** An entry taken apart. */
export interface Cut {
  /** The text around what was taken out; one part more than `texts`. */
  readonly around: readonly string[]
  readonly texts: readonly string[]
  readonly id: string
  readonly ts: string
  readonly c: string | null
}

/** @param quote how a quote is written where the entry stands: `"` by itself, `\"` inside a JSON text */
export class Knife {
  private readonly id: string
  private readonly commitment: string
  private readonly request: string
  private readonly resource: string
  private readonly raw: string
  private readonly time: string

  constructor(private readonly quote: string) {
    // Quotes in a text of the entry have one more backslash: only a member begins so.
    const spelt = (text: string) => text.replaceAll('"', quote)
    this.id = spelt(',"id":"')
    this.commitment = spelt(',"payload":{"c":"')
    this.request = spelt(',"request_id":"')
    this.resource = spelt(',"resource":{"key":"')
    this.raw = spelt('","raw":"')
    this.time = spelt(',"ts":"')
  }

  /** Cuts the entry that stands in `line` from `at` to `end`; null when it has no id or no time. */
  cut(line: string, at: number, end: number): Cut | null {
    const cutting = new Cutting(line, at, end, this.quote)
    const id = cutting.after(this.id, 36)
    const c = cutting.after(this.commitment, 43)
    cutting.after(this.request)
    if (cutting.after(this.resource) !== null) cutting.next(this.raw)
    const ts = cutting.after(this.time, 24)
    if (id === null || ts === null) return null
    return { around: cutting.around(), texts: cutting.texts, id, ts, c }
  }
}

/** From the left to the right. */
class Cutting {
  readonly texts: string[] = []
  private readonly parts: string[] = []

  constructor(
    private readonly line: string,
    private at: number,
    private readonly end: number,
    private readonly quote: string,
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
    const upto = length === undefined ? this.line.indexOf(this.quote, from) : from + length
    if (upto < 0 || upto > this.end || !this.line.startsWith(this.quote, upto)) return null
    this.parts.push(this.line.slice(this.at, from))
    const text = this.line.slice(from, upto)
    this.texts.push(text)
    this.at = upto
    return text
  }
}

/** Whether a text stands in another once and no more: then what was found there is what was cut out. */
export const isOnce = (inside: string, text: string): boolean =>
  text.indexOf(inside) === text.lastIndexOf(inside)
