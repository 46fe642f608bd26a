import type { ActionReading } from '../action.js'
import type { Hint } from '../pattern.js'

/** Anything that an index can hold: its position in its list and the hint of its action matcher. */
export interface Indexed {
  readonly index: number
  readonly hint: Hint
}

/**
 * The rules of one list, found by what an action matcher's hint promises, so that a request meets few of them.
 * `candidates` gives a superset of the rules that match, in list order.
 */
export interface RuleIndex<R extends Indexed> {
  readonly rules: readonly R[]
  readonly byKey: ReadonlyMap<string, readonly R[]>
  readonly byVerb: ReadonlyMap<string, readonly R[]>
  /** By a hash of the prefix; a collision only adds candidates, for the matcher has the last word. */
  readonly byPrefix: ReadonlyMap<number, readonly R[]>
  /** `prefixLengths[n]` is 1 when some prefix has n letters. */
  readonly prefixLengths: Uint8Array
  /** By the verb that matches alone, where the prefix is longer than it. */
  readonly byBareVerb: ReadonlyMap<string, readonly R[]>
  readonly rest: readonly R[]
}

const NONE: readonly never[] = []
const NO_PREFIXES = new Uint8Array(1)
const NOTHING: ReadonlyMap<never, never> = new Map<never, never>()

// An agent's few rules are of few kinds, and there are thousands of agents: what is empty is the same for all.
const filled = <K, R>(map: ReadonlyMap<K, readonly R[]>): ReadonlyMap<K, readonly R[]> =>
  map.size > 0 ? map : NOTHING
/** Without the room that an array makes for more. */
const exact = <R>(list: readonly R[]): readonly R[] => (list.length > 0 ? list.slice() : NONE)

/** Sorts `rules`, which are in list order, by their hints. */
export function indexRules<R extends Indexed>(rules: readonly R[]): RuleIndex<R> {
  const byKey = new Map<string, R[]>()
  const byVerb = new Map<string, R[]>()
  const byPrefix = new Map<number, R[]>()
  const byBareVerb = new Map<string, R[]>()
  const rest: R[] = []
  let longest = -1
  for (const { hint } of rules) if (hint.kind === 'prefix') longest = Math.max(longest, hint.prefix.length)
  const prefixLengths = longest < 0 ? NO_PREFIXES : new Uint8Array(longest + 1)
  for (const rule of rules) {
    const { hint } = rule
    switch (hint.kind) {
      case 'key':
        add(byKey, hint.key, rule)
        break
      case 'verb':
        add(byVerb, hint.verb, rule)
        break
      case 'prefix':
        prefixLengths[hint.prefix.length] = 1
        add(byPrefix, prefixHash(hint.prefix), rule)
        if (hint.verb !== null) add(byBareVerb, hint.verb, rule)
        break
      case 'any':
        rest.push(rule)
        break
      default:
        hint satisfies never
    }
  }
  return {
    rules: exact(rules),
    byKey: filled(byKey),
    byVerb: filled(byVerb),
    byPrefix: filled(byPrefix),
    prefixLengths,
    byBareVerb: filled(byBareVerb),
    rest: exact(rest),
  }
}

/** The rules that may match `action`, in list order: all that do are among them. */
export function candidates<R extends Indexed>(index: RuleIndex<R>, action: ActionReading): readonly R[] {
  if (index.rules.length === 0) return NONE
  let found: readonly R[] = index.rest
  if (index.byKey.size > 0) found = merge(found, index.byKey.get(action.key))
  if (index.byVerb.size > 0) found = merge(found, index.byVerb.get(action.words[0] ?? ''))
  if (index.byBareVerb.size > 0) found = merge(found, index.byBareVerb.get(action.letters))
  return index.byPrefix.size > 0 ? withPrefixes(index, action.letters, found) : found
}

function withPrefixes<R extends Indexed>(
  index: RuleIndex<R>,
  letters: string,
  start: readonly R[],
): readonly R[] {
  let found = start
  let hash = HASH_START
  const last = Math.min(letters.length, index.prefixLengths.length - 1)
  // An empty prefix promises nothing: length 0 is looked up like any other.
  for (let length = 0; length <= last; length++) {
    if (length > 0) hash = hashStep(hash, letters.charCodeAt(length - 1))
    if (index.prefixLengths[length] === 1) found = merge(found, index.byPrefix.get(hash & SMALL))
  }
  return found
}

/** Two lists in list order, as one in list order. Rarely more than one has anything in it. */
function merge<R extends Indexed>(a: readonly R[], b: readonly R[] | undefined): readonly R[] {
  if (b === undefined || b.length === 0) return a
  if (a.length === 0) return b
  const merged: R[] = []
  let i = 0
  for (const rule of b) {
    for (let next = a[i]; next !== undefined && next.index < rule.index; next = a[i]) {
      merged.push(next)
      i++
    }
    merged.push(rule)
  }
  for (; i < a.length; i++) {
    const next = a[i]
    if (next) merged.push(next)
  }
  return merged
}

function add<K, R>(map: Map<K, R[]>, key: K, rule: R): void {
  const bucket = map.get(key)
  if (bucket) bucket.push(rule)
  else map.set(key, [rule])
}

// FNV-1a, kept within 30 bits where V8 holds integers without allocating.
const HASH_START = 0x811c9dc5 | 0
const SMALL = 0x3fffffff
const hashStep = (hash: number, code: number): number => Math.imul(hash ^ code, 0x01000193)

function prefixHash(prefix: string): number {
  let hash = HASH_START
  for (let i = 0; i < prefix.length; i++) hash = hashStep(hash, prefix.charCodeAt(i))
  return hash & SMALL
}
