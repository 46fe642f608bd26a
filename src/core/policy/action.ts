import { type Result, err, ok } from '../result.js'

/** Longest action, in UTF-16 units, before and after reading. */
export const ACTION_LIMIT = 256

/**
 * One action as the rules see it. Spaces, punctuation and capitals only divide words, so every spelling of an
 * action has one `key`; `letters` and `boundaries` are the wide reading that deny and approval rules use.
 */
export interface ActionReading {
  readonly raw: string
  /** `w1:w2_w3`; a single word is itself */
  readonly key: string
  readonly words: readonly string[]
  /** letters and digits without separators, lower-case */
  readonly letters: string
  /** length `letters.length + 1`; 1 = a boundary stands before that position */
  readonly boundaries: Uint8Array
}

/** What a character of an action is. Everything that is none of the first three divides words or is refused. */
export const enum Kind {
  Separator = 0,
  Lower = 1,
  Upper = 2,
  Digit = 3,
  Refused = 4,
  Wildcard = 5,
}

const KINDS = Uint8Array.from({ length: 128 }, (_, code): Kind => {
  const char = String.fromCharCode(code)
  if (char >= 'a' && char <= 'z') return Kind.Lower
  if (char >= 'A' && char <= 'Z') return Kind.Upper
  if (char >= '0' && char <= '9') return Kind.Digit
  if ('*?[]'.includes(char)) return Kind.Wildcard
  // Tab, line feed, vertical tab, form feed and carriage return are white space; other controls are not text.
  if ((code < 32 && !(code >= 9 && code <= 13)) || code === 127) return Kind.Refused
  return Kind.Separator
})

/** The kind of one UTF-16 unit of an NFKC-normalised action; anything outside ASCII is refused. */
export const kindOf = (code: number): Kind => KINDS[code] ?? Kind.Refused

/** Does a new word start at a character, given its neighbours? `readPDFFile` → `read`, `pdf`, `file`. */
export const divides = (before: Kind, here: Kind, after: Kind): boolean =>
  here === Kind.Upper && (before === Kind.Lower || (before === Kind.Upper && after === Kind.Lower))

export const NOT_TEXT =
  'holds a character that is not plain text: write actions with ASCII letters, digits, spaces and punctuation'
const TOO_LONG = `The action is longer than ${ACTION_LIMIT} characters: name the operation and put details in arguments`
const EMPTY = 'The action has no letters or digits: write a verb and a noun, such as read:file'
const WILDCARD =
  'The action holds one of * ? [ ], which only rules may use: name the one operation you ask for'

/**
 * Reads the action of a request.
 *
 * @param raw at most 256 characters, as the agent sent it
 * @returns the reading, or a message that tells how to write the action. Refused: non-ASCII after NFKC, control
 *   characters other than white space, `* ? [ ]`, nothing left, and more than 256 characters, also once divided
 *   (so that reading a key again always gives the same key). Source: spec/normalisation.md, AG-34.
 */
export function readAction(raw: string): Result<ActionReading, string> {
  if (raw.length > ACTION_LIMIT) return err(TOO_LONG)
  const text = toText(raw)
  let cases = 0
  for (let i = 0; i < text.length; i++) {
    const kind = kindOf(text.charCodeAt(i))
    if (kind === Kind.Refused) return err(`The action ${NOT_TEXT}`)
    if (kind === Kind.Wildcard) return err(WILDCARD)
    if (kind === Kind.Lower || kind === Kind.Upper) cases |= kind
  }
  const words = wordsOf(text)
  const verb = words[0]
  if (verb === undefined) return err(EMPTY)
  let key = verb
  let letters = verb
  for (let i = 1; i < words.length; i++) {
    const word = words[i] ?? ''
    key += (i === 1 ? ':' : '_') + word
    letters += word
  }
  if (key.length > ACTION_LIMIT) return err(TOO_LONG)
  const boundaries = new Uint8Array(letters.length + 1)
  if (words.length === 1) boundaries.fill(1)
  else markBoundaries(boundaries, text, cases === (Kind.Lower | Kind.Upper))
  return ok({ raw, key, words, letters, boundaries })
}

/** NFKC, which changes nothing in ASCII and costs more than the rest of the reading. */
export function toText(raw: string): string {
  for (let i = 0; i < raw.length; i++) if (raw.charCodeAt(i) > 127) return raw.normalize('NFKC')
  return raw
}

function wordsOf(text: string): string[] {
  const lower = text.toLowerCase()
  const words: string[] = []
  let start = -1
  let before: Kind = Kind.Separator
  let here: Kind = kindAt(text, 0)
  for (let i = 0; i <= text.length; i++) {
    const after = kindAt(text, i + 1)
    if (start >= 0 && (here === Kind.Separator || divides(before, here, after))) {
      words.push(lower.slice(start, i))
      start = -1
    }
    if (start < 0 && here !== Kind.Separator) start = i
    before = here
    here = after
  }
  return words
}

/** The end of a text divides like a separator. */
const kindAt = (text: string, i: number): Kind =>
  i < text.length ? kindOf(text.charCodeAt(i)) : Kind.Separator

/** Boundaries of a divided action: at separators, at the ends and, in mixed-case text, on both sides of a capital. */
function markBoundaries(boundaries: Uint8Array, text: string, mixed: boolean): void {
  let position = 0
  boundaries[0] = 1
  for (let i = 0; i < text.length; i++) {
    const kind = kindAt(text, i)
    if (kind === Kind.Separator) boundaries[position] = 1
    else {
      position++
      if (mixed && kind === Kind.Upper) {
        boundaries[position - 1] = 1
        boundaries[position] = 1
      }
    }
  }
  boundaries[position] = 1
}
