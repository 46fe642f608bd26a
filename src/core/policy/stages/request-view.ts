/**
 * What a request carries (`arguments`, `context`), as conditions of rules see it: exactly, as JSON Pointer (RFC 6901)
 * has it, and widely, in every spelling that some program might take for the same (docs/policies.md).
 */
import type { Json } from '../../ledger/canonical.js'
import { MAX_DEPTH } from '../request.js'
import type { CanonicalRequest, JsonObject } from '../stage.js'

/** What can be compared. */
export type Scalar = Known | null
export type Known = string | number | boolean
export type ScalarType = 'string' | 'number' | 'boolean'

export const PARTS = ['arguments', 'context'] as const
export type Part = (typeof PARTS)[number]

/** A place in a request. Its names are those of members; the elements of a list have none. */
export interface Place {
  readonly part: Part
  readonly names: readonly string[]
  /** The same, folded: made once, when the rule is compiled. */
  readonly folded: readonly string[]
}

/** All that stands at one place in any spelling; the elements of a list stand where the list stands. */
export class Node {
  /** Values put here, also null, objects and lists: more than one leaves open which one is meant. */
  count = 0
  readonly scalars: Known[] = []
  /** Bits of the types among `scalars`. */
  types = 0
  isNull = false
  isObject = false
  /** Something here lies too deep to be looked at; `readRequest` lets nothing like it through. */
  isHidden = false
  children: Map<string, Node> | null = null
  /** `scalars` once each, text folded; made when a condition first asks, like `numbers`. */
  values: Set<Known> | null = null
  /** The numbers among `scalars`, smallest first. */
  numbers: Float64Array | null = null
}

/** A bit for each type. */
export const TYPES: Readonly<Record<ScalarType, number>> = { string: 1, number: 2, boolean: 4 }

/** What is found widely. `isUnclear`: a value stands where members are looked for, such as JSON within text. */
export interface Found {
  readonly node: Node | null
  readonly isUnclear: boolean
  /** Nothing on the way, the place left out, has a second spelling or is an element of a list. */
  readonly isOnlyWay: boolean
  /** Nor has the place itself. */
  readonly isOnly: boolean
}

const NOTHING: Found = { node: null, isUnclear: false, isOnlyWay: true, isOnly: true }
const UNCLEAR: Found = { node: null, isUnclear: true, isOnlyWay: false, isOnly: false }

/** One request is looked at by the rules of several policies: it is read once. The request is never changed. */
const views = new WeakMap<CanonicalRequest, Partial<Record<Part, Node>>>()

/** The value at a place; undefined when there is none. Own members only, spelled as the rule spells them. */
export function exactAt(request: CanonicalRequest, { part, names }: Place): Json | undefined {
  let value: Json | undefined = request[part] ?? undefined
  for (const name of names) {
    if (!isObject(value) || !Object.hasOwn(value, name)) return undefined
    value = value[name]
  }
  return value
}

/** Everything at a place, in every spelling. Linear in the size of the request, once; then one step a name. */
export function widelyAt(request: CanonicalRequest, { part, folded }: Place): Found {
  const value = request[part]
  if (value === null || value === undefined) return NOTHING
  let view = views.get(request)
  if (!view) views.set(request, (view = {}))
  let node: Node | undefined = (view[part] ??= nodeOf(value))
  let isOnlyWay = true
  for (const name of folded) {
    if (node.isHidden || node.scalars.length > 0) return UNCLEAR
    isOnlyWay &&= node.count === 1
    node = node.children?.get(name)
    if (!node) return NOTHING
  }
  return { node, isUnclear: node.isHidden, isOnlyWay, isOnly: isOnlyWay && node.count === 1 }
}

/** The values at a place, once each, text folded. */
export const valuesAt = (node: Node): ReadonlySet<Known> => (node.values ??= new Set(node.scalars.map(fold)))

/** Whether a number at a place is at least `min` and at most `max`. One list of numbers may meet many rules. */
export function hasNumberIn(node: Node, min: number, max: number): boolean {
  const numbers = (node.numbers ??= Float64Array.from(
    node.scalars.filter((value) => typeof value === 'number'),
  ).sort())
  let [from, to] = [0, numbers.length]
  while (from < to) {
    const middle = (from + to) >> 1
    if ((numbers[middle] ?? 0) < min) from = middle + 1
    else to = middle
  }
  const smallest = numbers[from]
  return smallest !== undefined && smallest <= max
}

function nodeOf(value: JsonObject): Node {
  const node = new Node()
  put(node, value, 1)
  return node
}

function put(node: Node, value: unknown, depth: number): void {
  if (value === undefined) return
  node.count++
  if (value === null) node.isNull = true
  else if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
    node.scalars.push(value)
    node.types |= TYPES[typeof value as ScalarType]
  } else if (typeof value !== 'object' || depth > MAX_DEPTH) node.isHidden = true
  else if (Array.isArray(value)) for (const element of value) put(node, element, depth + 1)
  else putMembers(node, value, depth)
}

function putMembers(node: Node, value: object, depth: number): void {
  node.isObject = true
  const children = (node.children ??= new Map<string, Node>())
  for (const [name, member] of Object.entries(value)) {
    const folded = foldName(name)
    let child = children.get(folded)
    if (!child) children.set(folded, (child = new Node()))
    put(child, member, depth + 1)
  }
}

const isObject = (value: unknown): value is { readonly [name: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const PLAIN = /^[a-z0-9]*$/
/** What nobody sees, and marks that stand on a letter. */
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\p{Cf}\p{M}]+/gu
const BETWEEN_DIGITS = /(?<=\p{N})[^\p{L}\p{N}]+(?=\p{N})/gu
const DIVIDERS = /[^\p{L}\p{N}\0]+/gu
const INNER_DIVIDERS = /(?<=[\p{L}\p{N}])[^\p{L}\p{N}]+(?=[\p{L}\p{N}])/gu

export const fold = (value: Known): Known => (typeof value === 'string' ? foldText(value) : value)

/**
 * Text as deny and approval rules compare it (normalisation.md): NFKC, letters of one case, no separators. Those
 * between digits stay, as one: `1.10.0.1` is not `11.0.0.1`. Text of punctuation alone is compared without white space.
 */
export function foldText(text: string): string {
  if (PLAIN.test(text)) return text
  const visible = text.normalize('NFKC').replace(INVISIBLE, '').replaceAll('\0', ' ')
  const folded = oneCase(visible.replace(BETWEEN_DIGITS, '\0').replace(DIVIDERS, ''))
  return folded === '' ? visible.replace(/\s+/gu, '') : folded
}

/** A member's name, so that `user_id`, `userId` and `User-ID` are one; `_id` and `@id` are others than `id`. */
export function foldName(name: string): string {
  if (PLAIN.test(name)) return name
  return oneCase(name.normalize('NFKC').replace(INVISIBLE, '').trim().replace(INNER_DIVIDERS, ''))
}

/** Through capitals, because some letters are one only there: `ß` and `ss`. */
const oneCase = (text: string): string => text.toUpperCase().toLowerCase()
