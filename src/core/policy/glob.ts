import { type Result, err, ok } from '../result.js'

/**
 * One element of a rule's pattern. A `gap` is a division between two words and occurs in actions only; `ranges`
 * holds pairs of first and last code point.
 */
export type Token =
  | { readonly kind: 'char'; readonly char: string }
  | { readonly kind: 'one' }
  | { readonly kind: 'class'; readonly negated: boolean; readonly ranges: readonly number[] }
  | { readonly kind: 'run' }
  | { readonly kind: 'gap' }
export type ClassToken = Extract<Token, { kind: 'class' }>
/** A token that stands for exactly one character. */
export type Single = Exclude<Token, { kind: 'run' | 'gap' }>

export const RUN: Token = { kind: 'run' }
export const ONE: Token = { kind: 'one' }
export const GAP: Token = { kind: 'gap' }

/** Longest piece between two `*` that holds `?` or `[…]`: what keeps matching linear in the text. */
export const PIECE_LIMIT = 64

/**
 * Reads `[abc]`, `[a-z]` or `[!abc]`, lower-cased already.
 *
 * @param text the pattern; `at` is the place of its `[`
 * @returns the class and the place after its `]`, or what is wrong with it
 */
export function readClass(text: string, at: number): Result<{ token: ClassToken; end: number }, string> {
  const close = text.indexOf(']', at)
  if (close < 0) return err('The "[" is never closed: end the list with "]"')
  const negated = text[at + 1] === '!'
  const members = Array.from(text.slice(at + (negated ? 2 : 1), close), (char) => char.codePointAt(0) ?? 0)
  if (members.length === 0)
    return err('The list "[]" is empty: put the characters it may be between "[" and "]"')
  const ranges: number[] = []
  for (let i = 0; i < members.length; i++) {
    const first = members[i] ?? 0
    const last = members[i + 2]
    if (members[i + 1] === HYPHEN && last !== undefined) {
      if (last < first) return err('A range in "[…]" runs backwards: write the smaller character first')
      ranges.push(first, last)
      i += 2
    } else ranges.push(first, first)
  }
  return ok({ token: { kind: 'class', negated, ranges }, end: close + 1 })
}
const HYPHEN = 0x2d

/** Does the class hold this code point? */
export function holds(token: ClassToken, code: number): boolean {
  for (let i = 0; i < token.ranges.length; i += 2) {
    if (code >= (token.ranges[i] ?? 0) && code <= (token.ranges[i + 1] ?? 0)) return !token.negated
  }
  return token.negated
}

/** The characters of tokens that are characters only, or null. */
export function literal(tokens: readonly Token[]): string | null {
  const chars: string[] = []
  for (const token of tokens) {
    if (token.kind !== 'char') return null
    chars.push(token.char)
  }
  return chars.join('') // what is added up with `+` stays a chain of its parts, 32 bytes a character
}

/** The pieces between runs: `a*b*` → `a`, `b`, nothing. Gaps must have become characters before. */
function pieces(tokens: readonly Token[]): Single[][] {
  let piece: Single[] = []
  const all = [piece]
  for (const token of tokens) {
    if (token.kind === 'run') all.push((piece = []))
    else if (token.kind !== 'gap') piece.push(token)
  }
  return all
}

/** A piece finds itself in a text; positions and results are UTF-16 offsets, -1 where it is not. */
interface Piece {
  /** the end, if it stands at `from` */
  at(text: string, from: number): number
  /** the end of its first occurrence from `from` on */
  find(text: string, from: number): number
  /** the start, if it ends the text */
  endsIn(text: string): number
}

const literalPiece = (word: string): Piece => ({
  at: (text, from) => (text.startsWith(word, from) ? from + word.length : -1),
  find: (text, from) => {
    const start = text.indexOf(word, from)
    return start < 0 ? -1 : start + word.length
  },
  endsIn: (text) => (text.endsWith(word) ? text.length - word.length : -1),
})

/** An operation of a piece with wildcards: a UTF-16 unit, `?`, or -2 - n for the n-th class. */
const ANY = -1
const FIRST_CLASS = -2

/** A class with its answers for ASCII made beforehand. */
interface Class {
  readonly ascii: Uint8Array
  readonly token: ClassToken
}

function mixedPiece(tokens: readonly Single[]): Piece {
  const classes: Class[] = []
  const ops: number[] = []
  for (const token of tokens) {
    if (token.kind === 'char') for (let i = 0; i < token.char.length; i++) ops.push(token.char.charCodeAt(i))
    else if (token.kind === 'one') ops.push(ANY)
    else {
      ops.push(FIRST_CLASS - classes.length)
      classes.push({
        token,
        ascii: Uint8Array.from({ length: 128 }, (_, code) => (holds(token, code) ? 1 : 0)),
      })
    }
  }
  const at = (text: string, from: number): number => endOf(text, from, ops, classes)
  const find = (text: string, from: number): number => {
    for (let start = from; start < text.length; start++) {
      if (isSecondHalf(text, start)) continue
      const end = endOf(text, start, ops, classes)
      if (end >= 0) return end
    }
    return -1
  }
  /** Each token takes one character, so there is one place where the piece could start. */
  const endsIn = (text: string): number => {
    let start = text.length
    for (let i = 0; i < tokens.length; i++) {
      start -= isSecondHalf(text, start - 1) ? 2 : 1
      if (start < 0) return -1
    }
    return endOf(text, start, ops, classes) < 0 ? -1 : start
  }
  return { at, find, endsIn }
}

function endOf(text: string, from: number, ops: readonly number[], classes: readonly Class[]): number {
  let place = from
  for (let i = 0; i < ops.length; i++) {
    const op = ops[i] ?? 0
    if (place >= text.length) return -1
    const unit = text.charCodeAt(place++)
    if (op >= 0) {
      if (op !== unit) return -1
      continue
    }
    const code = unit >= 0xd800 && unit <= 0xdbff ? (text.codePointAt(place - 1) ?? unit) : unit
    if (code > 0xffff) place++
    if (op === ANY) continue
    const list = classes[FIRST_CLASS - op]
    if (list === undefined || !(code < 128 ? list.ascii[code] === 1 : holds(list.token, code))) return -1
  }
  return place
}

/** `?` and `[…]` take whole characters, also those beyond U+FFFF, which are two units. */
function isSecondHalf(text: string, at: number): boolean {
  const unit = text.charCodeAt(at)
  return unit >= 0xdc00 && unit <= 0xdfff && (text.codePointAt(at - 1) ?? 0) > 0xffff
}

/**
 * Compiles a shell glob over whole texts. No backtracking: the first and last piece have one place each, and for
 * those between two runs the first occurrence is always good enough, so the time is linear in the text.
 *
 * @returns the test, or an error when a piece between two `*` that holds `?` or `[…]` is longer than 64 characters
 */
export function compileGlob(tokens: readonly Token[]): Result<(text: string) => boolean, string> {
  const [head = [], ...others] = pieces(tokens)
  const last = others.pop()
  if (last === undefined) return ok(whole(head))
  const inner = others.filter((piece) => piece.length > 0)
  const long = inner.some((piece) => piece.length > PIECE_LIMIT && literal(piece) === null)
  if (long)
    return err(`Between two "*", at most ${PIECE_LIMIT} characters may stand with "?" or "[…]": shorten it`)
  const start = literal(head)
  const end = literal(last)
  if (inner.length === 0 && start !== null && end !== null) return ok(around(start, end))
  const first = compilePiece(head)
  const middle = inner.map(compilePiece)
  const tail = compilePiece(last)
  return ok((text) => {
    let place = first.at(text, 0)
    for (let i = 0; place >= 0 && i < middle.length; i++) place = middle[i]?.find(text, place) ?? -1
    return place >= 0 && tail.endsIn(text) >= place
  })
}

function compilePiece(tokens: readonly Single[]): Piece {
  const word = literal(tokens)
  return word === null ? mixedPiece(tokens) : literalPiece(word)
}

function whole(tokens: readonly Single[]): (text: string) => boolean {
  const word = literal(tokens)
  if (word !== null) return (text) => text === word
  const piece = mixedPiece(tokens)
  return (text) => piece.at(text, 0) === text.length
}

function around(start: string, end: string): (text: string) => boolean {
  if (end === '') return start === '' ? () => true : (text) => text.startsWith(start)
  if (start === '') return (text) => text.endsWith(end)
  const least = start.length + end.length
  return (text) => text.length >= least && text.startsWith(start) && text.endsWith(end)
}
