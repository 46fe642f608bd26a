import { type Result, ok } from '../result.js'
import type { ActionReading } from './action.js'
import { GAP, RUN, type Single, type Token, compileGlob, holds, literal } from './glob.js'

type Test = (action: ActionReading) => boolean

/**
 * Compiles a rule's action as deny and approval rules read it: over the letters of a request. Gaps between
 * characters fall out, those beside a `*` need a boundary, and the match ends at a boundary.
 */
export function compileDeny(tokens: readonly Token[]): Result<Test, string> {
  const gap = tokens.indexOf(GAP)
  const matches = compileWide(
    tokens.filter((token, i) => token !== GAP || tokens[i - 1] === RUN || tokens[i + 1] === RUN),
  )
  if (gap < 0) return ok(matches)
  const verb = tokens.slice(0, gap)
  const name = literal(verb)
  // Letters that spell the verb and nothing else name the verb, however they are divided: `dElete` is `delete`.
  if (name !== null) return ok((action) => matches(action) || action.letters === name)
  const glob = compileGlob(verb)
  if (!glob.ok) return glob
  const bare = glob.value
  return ok((action) => matches(action) || (action.words.length === 1 && bare(action.letters)))
}

function compileWide(tokens: readonly Token[]): Test {
  const word = literal(tokens)
  if (word !== null) return startingWith(word)
  if (tokens.length === 1 && tokens[0] === RUN) return () => true
  const pieces = literalPieces(tokens)
  return pieces === null ? compileAutomaton(tokens) : compilePieces(pieces)
}

const startingWith =
  (word: string): Test =>
  ({ letters, boundaries }) =>
    letters.startsWith(word) && boundaries[word.length] === 1

/** What stands between two runs. `gapBefore`, `gapAfter`: a boundary must stand there. */
interface Piece {
  word: string
  gapBefore: boolean
  gapAfter: boolean
}

/** The pieces of a pattern without `?` and `[…]`; null for others. */
function literalPieces(tokens: readonly Token[]): Piece[] | null {
  let piece: Piece = { word: '', gapBefore: false, gapAfter: false }
  const pieces = [piece]
  for (const [i, token] of tokens.entries()) {
    if (token.kind === 'char') piece.word += token.char
    else if (token.kind === 'run') pieces.push((piece = { word: '', gapBefore: false, gapAfter: false }))
    else if (token.kind !== 'gap') return null
    else if (tokens[i - 1] === RUN) piece.gapBefore = true
    else piece.gapAfter = true
  }
  return pieces
}

/** Pieces have one length each, so the first occurrence is always good enough: no backtracking. */
function compilePieces(pieces: readonly Piece[]): Test {
  const [{ word: start, gapAfter } = { word: '', gapAfter: false }, ...others] = pieces
  const last = others.at(-1)
  // A run at the end takes the rest of the letters, whose end is a boundary.
  const floating = last?.word === '' && !last.gapBefore ? others.slice(0, -1) : others.map(endingAtBoundary)
  if (floating.length === 0) {
    return gapAfter ? startingWith(start) : ({ letters }) => letters.startsWith(start)
  }
  return ({ letters, boundaries }) => {
    if (!letters.startsWith(start) || (gapAfter && boundaries[start.length] !== 1)) return false
    let place = start.length
    for (const piece of floating) {
      place = find(piece, letters, boundaries, place)
      if (place < 0) return false
    }
    return true
  }
}

const endingAtBoundary = (piece: Piece, i: number, all: readonly Piece[]): Piece =>
  i === all.length - 1 ? { ...piece, gapAfter: true } : piece

/** The end of the first occurrence of the piece from `from` on that has its boundaries, or -1. */
function find(piece: Piece, letters: string, boundaries: Uint8Array, from: number): number {
  const { word, gapBefore, gapAfter } = piece
  for (let start = letters.indexOf(word, from); start >= 0; start = letters.indexOf(word, start + 1)) {
    const end = start + word.length
    if ((!gapBefore || boundaries[start] === 1) && (!gapAfter || boundaries[end] === 1)) return end
    if (start === letters.length) break // an empty piece is found at the end again and again
  }
  return -1
}

/**
 * Patterns with `?` or `[…]`. In an allow rule these may stand for the separator of a key (`read?file`), so here
 * they may also stand for an inner boundary; then a piece has no fixed length, and all states are kept at once, one
 * bit each. Time: letters × (tokens / 32).
 *
 * State j: the first j tokens that are not runs are matched. `loops`: a run stands there. `gates`: the next token
 * is a gap. `seams`: the next token may stand for a separator.
 */
function compileAutomaton(tokens: readonly Token[]): Test {
  const steps = tokens.filter((token) => token !== RUN)
  const size = (steps.length >> 5) + 1
  const loops = new Uint32Array(size)
  const gates = new Uint32Array(size)
  const seams = new Uint32Array(size)
  let state = 0
  for (const token of tokens) {
    if (token.kind === 'run') set(loops, state)
    else {
      if (token.kind === 'gap') set(gates, state)
      else if (standsForSeparator(token)) set(seams, state)
      state++
    }
  }
  const rows = Array.from(ALPHABET, (char) => rowOf(steps, char, size))
  const automaton: Automaton = { size, last: steps.length, loops, gates, seams, rows }
  return size === 1 ? narrow(automaton) : (action) => runWide(automaton, action)
}

interface Automaton {
  /** words of 32 states */
  readonly size: number
  readonly last: number
  readonly loops: Uint32Array
  readonly gates: Uint32Array
  readonly seams: Uint32Array
  readonly rows: readonly Uint32Array[]
}

/** Up to 31 tokens: `runWide` with its states in one number. */
function narrow(automaton: Automaton): Test {
  const [loops = 0] = automaton.loops
  const [gates = 0] = automaton.gates
  const [seams = 0] = automaton.seams
  const rows = Uint32Array.from(automaton.rows, ([row = 0]) => row)
  const accept = 1 << automaton.last
  return ({ letters, boundaries }) => {
    let now = 1
    for (let i = 0; ; i++) {
      if (boundaries[i] === 1) {
        const across = i > 0 ? (now & seams) << 1 : 0
        for (let before = 0; before !== now;) {
          before = now
          now |= (now & gates) << 1
        }
        if ((now & accept) !== 0) return true
        now |= across
      }
      if (i === letters.length || now === 0) return false
      now = ((now & (rows[rowIndex(letters.charCodeAt(i))] ?? 0)) << 1) | (now & loops)
    }
  }
}

function runWide({ size, last, loops, gates, seams, rows }: Automaton, action: ActionReading): boolean {
  const { letters, boundaries } = action
  let now = new Uint32Array(size)
  let next = new Uint32Array(size)
  set(now, 0)
  for (let i = 0; ; i++) {
    if (boundaries[i] === 1) {
      next.fill(0)
      advance(now, seams, next) // from the states before the gaps open: two separators never stand together
      openGates(now, gates)
      if (has(now, last)) return true
      if (i > 0) for (let w = 0; w < size; w++) now[w] = (now[w] ?? 0) | (next[w] ?? 0)
    }
    if (i === letters.length) return false
    const row = rows[rowIndex(letters.charCodeAt(i))] ?? EMPTY
    for (let w = 0; w < size; w++) next[w] = (now[w] ?? 0) & (loops[w] ?? 0)
    advance(now, row, next)
    ;[now, next] = [next, now]
  }
}

const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyz'
const EMPTY = new Uint32Array(0)
const rowIndex = (code: number): number => (code < 0x61 ? code - 0x30 : code - 0x57)

/** The tokens that accept the character, one bit each. */
function rowOf(steps: readonly Token[], char: string, size: number): Uint32Array {
  const row = new Uint32Array(size)
  for (const [state, token] of steps.entries()) {
    if (token.kind === 'one' || (token.kind === 'char' && token.char === char)) set(row, state)
    if (token.kind === 'class' && holds(token, char.charCodeAt(0))) set(row, state)
  }
  return row
}

const standsForSeparator = (token: Single): boolean =>
  token.kind === 'one' || (token.kind === 'class' && (holds(token, 0x3a) || holds(token, 0x5f)))

const set = (bits: Uint32Array, bit: number): void => {
  bits[bit >> 5] = (bits[bit >> 5] ?? 0) | (1 << (bit & 31))
}
const has = (bits: Uint32Array, bit: number): boolean => (((bits[bit >> 5] ?? 0) >>> (bit & 31)) & 1) === 1

/** Adds to `to` the states after those of `from` that `mask` lets go on. */
function advance(from: Uint32Array, mask: Uint32Array, to: Uint32Array): void {
  let carry = 0
  for (let w = 0; w < from.length; w++) {
    const moved = (from[w] ?? 0) & (mask[w] ?? 0)
    to[w] = (to[w] ?? 0) | (moved << 1) | carry
    carry = moved >>> 31
  }
}

/** Lets states through their gaps, also through several that only runs divide (`*:*_*`). */
function openGates(states: Uint32Array, gates: Uint32Array): void {
  let carry = 0
  for (let w = 0; w < states.length; w++) {
    let open = (states[w] ?? 0) | carry
    for (let more = open & (gates[w] ?? 0); more !== 0;) {
      const opened = open | (more << 1)
      more = opened === open ? 0 : opened & (gates[w] ?? 0)
      open = opened
    }
    states[w] = open
    carry = (open & (gates[w] ?? 0)) >>> 31
  }
}
