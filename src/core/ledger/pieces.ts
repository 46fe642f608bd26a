/**
 * A bundle read piece by piece, each without the lines around it, so that several can be read at once. Nearly all work
 * on an entry concerns it alone: spelling, hash, canonical form, columns, commitment. What is left for whoever sees all
 * pieces in order (`BundleVerifier.piece`) is small, and much the same for many entries.
 */
import type { Json } from './canonical.js'
import { decodeBase64 } from './base64.js'
import { ENTRY_BEGINS, type EntryLine, parseLine } from './bundle.js'
import { checkEntry, type HashTools } from './check-entry.js'
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
 */
export function readPiece(lines: readonly string[], origin: string, tools: HashTools): Piece {
  const piece: (string | Run)[] = []
  let run = new Gathered()
  for (const text of lines) {
    const line = entryIn(text, origin, tools)
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

interface Sound {
  readonly index: number
  readonly leaf: Uint8Array
  readonly followed: Followed
}

/** The entry of a line; null when it is another line, or one with a fault. */
function entryIn(text: string, origin: string, tools: HashTools): Sound | null {
  if (!text.startsWith(ENTRY_BEGINS)) return null
  const parsed = parseLine(text)
  if (!parsed.ok || parsed.value.kind !== 'entry') return null
  const line: EntryLine = parsed.value
  const { entry, payload, faults } = checkEntry(line, origin, null, tools)
  const leaf = decodeBase64(line.leaf)
  if (!entry || faults.length > 0 || !leaf) return null
  const redacted = line.payload !== undefined && 'redacted' in line.payload
  const followed = {
    entry: ruledPart(entry),
    payload: entry.type === 'config' ? payload : null,
    redacted,
  }
  return { index: line.index, leaf, followed }
}

/**
 * What rules read of an entry. Of an ordinary decision or report no rule reads the time, the resource or the reason:
 * without these, all of an agent from one policy about one action are alike.
 */
function ruledPart(entry: ReadEntry): RuledEntry {
  const { type, event, actor, config, subject, action, decision, policies } = entry
  if (type === 'action')
    return { ts: '', type, event, actor: { kind: 'agent', id: '' }, config, ...(subject && { subject }) }
  if (type !== 'decision' || !decision || !isOrdinary(entry)) {
    const { log: _log, id: _id, payload: _payload, ...rest } = entry
    return rest
  }
  return {
    ts: '',
    type,
    event,
    actor,
    config,
    ...(subject && { subject }),
    ...(action && { action }),
    decision: { effect: decision.effect },
    ...(policies && { policies }),
  }
}

/** Decided online, and by no approval. */
const isOrdinary = ({ local, approval, decision }: ReadEntry): boolean =>
  !local && !approval && !decision?.findings?.some(({ code }) => code === 'approval_granted')

class Gathered {
  private first = 0
  private readonly places = new Map<string, number>()
  private readonly which: number[] = []
  private readonly leaves: Uint8Array[] = []

  continues(index: number): boolean {
    return this.which.length === 0 || index === this.first + this.which.length
  }

  add({ index, leaf, followed }: Sound): void {
    if (this.which.length === 0) this.first = index
    const text = JSON.stringify(followed)
    let place = this.places.get(text)
    if (place === undefined) {
      place = this.places.size
      this.places.set(text, place)
    }
    this.which.push(place)
    this.leaves.push(leaf)
  }

  /** The run, or nothing when there is none. */
  ended(): Run[] {
    if (this.which.length === 0) return []
    const leaves = new Uint8Array(this.leaves.length * HASH_BYTES)
    for (const [i, leaf] of this.leaves.entries()) leaves.set(leaf, i * HASH_BYTES)
    const distinct = `[${[...this.places.keys()].join(',')}]`
    return [{ first: this.first, distinct, which: Uint32Array.from(this.which), leaves }]
  }
}
