/**
 * A bundle read piece by piece, each without the lines around it, so that several can be read at once. Nearly all work
 * on an entry concerns it alone: spelling, hash, canonical form, columns, commitment. What is left for whoever sees all
 * pieces in order (`BundleVerifier.piece`) is small, and much the same for many entries.
 */
import type { Json } from './canonical.js'
import { decodeBase64 } from './base64.js'
import { ENTRY_BEGINS, parseLine } from './bundle.js'
import { checkEntry, type HashTools } from './check-entry.js'
import { EntryForms } from './entry-forms.js'
import { HASH_BYTES } from './merkle.js'
import type { ReadEntry, RuledEntry } from './read-entry.js'

/** What an entry says to those after it. */
export interface Followed {
  readonly entry: RuledEntry
  /** Of a change of configuration, when there is one to see. */
  readonly payload: Readonly<Record<string, Json>> | null
  /** Whether its payload has been erased. */
  readonly redacted: boolean
}

/** Entries in a row with nothing wrong in any of them. */
export interface Run {
  /** Index of the first; the others follow without a gap. */
  readonly first: number
  /** JSON of `Followed[]`, in which nothing is there twice. As text, which is faster than values to hand over. */
  readonly distinct: string
  /** For every entry, which of these it is. */
  readonly which: Uint32Array
  /** The entries' leaf hashes, 32 bytes each. */
  readonly leaves: Uint8Array
}

/** Lines as they were, which somebody who sees all lines has to look at, and runs of entries. */
export type Piece = readonly (string | Run)[]

/**
 * Checks all that can be checked of lines by themselves. A line that is no entry, and one with any fault, comes back as
 * it is: what is wrong with it is said where all is known.
 * @param origin of the manifest
 * @param forms that pieces of the same bundle have had so far
 */
export function readPiece(
  lines: readonly string[],
  origin: string,
  tools: HashTools,
  forms = new EntryForms(tools),
): Piece {
  const piece: (string | Run)[] = []
  let run = new Gathered()
  for (const text of lines) {
    const line = forms.read(text) ?? entryIn(text, origin, tools, forms)
    if (line && !run.continues(line.index)) {
      piece.push(...run.ended())
      run = new Gathered()
    }
    if (line) run.add(line)
    else {
      piece.push(...run.ended(), text)
      run = new Gathered()
    }
  }
  return [...piece, ...run.ended()]
}

/** What is handed over of an entry with nothing wrong in it. */
interface Sound {
  readonly index: number
  /** Base64. */
  readonly leaf: string
  /** JSON of `Followed`. */
  readonly followed: string
}

/** The entry of a line; null when it is another line, or one with a fault. */
function entryIn(text: string, origin: string, tools: HashTools, forms: EntryForms): Sound | null {
  if (!text.startsWith(ENTRY_BEGINS)) return null
  const parsed = parseLine(text)
  if (!parsed.ok || parsed.value.kind !== 'entry') return null
  const { index, leaf, payload: part, entry: bytes } = parsed.value
  const { entry, payload, faults } = checkEntry(parsed.value, origin, null, tools)
  if (!entry || faults.length > 0) return null
  const followed = JSON.stringify({
    entry: ruledPart(entry),
    payload: entry.type === 'config' ? payload : null,
    redacted: part !== undefined && 'redacted' in part,
  } satisfies Followed)
  if (isOrdinary(entry)) forms.keep(text, entry, bytes, followed)
  return { index, leaf, followed }
}

/**
 * What rules read of an entry. Of an ordinary decision or report no rule reads the time, the resource or the reason:
 * without these, all of an agent from one policy about one action are alike.
 */
function ruledPart(entry: ReadEntry): RuledEntry {
  const { type, event, actor, config, subject, action, decision, policies } = entry
  if (!isOrdinary(entry)) {
    const { log: _log, id: _id, payload: _payload, ...rest } = entry
    return rest
  }
  const common = { ts: '', type, event, config, ...(subject && { subject }) }
  if (!decision) return { ...common, actor: { kind: 'agent', id: '' } }
  return {
    ...common,
    actor,
    decision: { effect: decision.effect },
    ...(action && { action }),
    ...(policies && { policies }),
  }
}

/** A report, or a decision that was made online and by no approval. */
const isOrdinary = ({ type, local, approval, decision }: ReadEntry): boolean =>
  type === 'action' ||
  (type === 'decision' &&
    !local &&
    !approval &&
    !decision?.findings?.some(({ code }) => code === 'approval_granted'))

class Gathered {
  private first = 0
  private readonly places = new Map<string, number>()
  private readonly which: number[] = []
  private readonly leaves: string[] = []

  continues(index: number): boolean {
    return this.which.length === 0 || index === this.first + this.which.length
  }

  add({ index, leaf, followed }: Sound): void {
    if (this.which.length === 0) this.first = index
    let place = this.places.get(followed)
    if (place === undefined) {
      place = this.places.size
      this.places.set(followed, place)
    }
    this.which.push(place)
    this.leaves.push(leaf)
  }

  /** The run, or nothing when there is none. */
  ended(): Run[] {
    if (this.which.length === 0) return []
    const leaves = new Uint8Array(this.leaves.length * HASH_BYTES)
    // Each was compared with the hash that we took, so it is base64 of 32 bytes.
    for (const [i, leaf] of this.leaves.entries()) leaves.set(decodeBase64(leaf) ?? [], i * HASH_BYTES)
    const distinct = `[${[...this.places.keys()].join(',')}]`
    return [{ first: this.first, distinct, which: Uint32Array.from(this.which), leaves }]
  }
}
