/** Conditions on what a request carries. Whoever asks wrote it, so an allow reads it narrowly, the others widely. */
import type { CanonicalRequest, Miss } from '../stage.js'
import {
  exactAt,
  fold,
  foldName,
  type Found,
  hasNumberIn,
  type Known,
  type Node,
  PARTS,
  type Place,
  type Scalar,
  type ScalarType,
  TYPES,
  valuesAt,
  widelyAt,
} from './request-view.js'

/** What must be true of the value at one place; all given parts. A scalar or a list alone is `in`. */
export type ValueTest = Scalar | readonly Scalar[] | TestParts

export interface TestParts {
  readonly in?: Scalar | readonly Scalar[]
  readonly not_in?: Scalar | readonly Scalar[]
  /** Inclusive, like `max`. */
  readonly min?: number
  readonly max?: number
}

/** JSON Pointers (RFC 6901) into `{arguments, context}` and what must be true there. All must. */
export type RequestConditions = { readonly [pointer: string]: ValueTest }

/** The values of a list, ready for both readings. */
interface Values {
  readonly exact: ReadonlySet<Scalar>
  readonly hasNull: boolean
  /** The one type of the others; null when there are none. */
  readonly type: ScalarType | null
  /** The others, text folded. */
  readonly wide: ReadonlySet<Known>
}

export interface CompiledTest extends Place {
  readonly pointer: string
  readonly in: Values | null
  readonly not_in: Values | null
  readonly range: { readonly min: number; readonly max: number } | null
}

/** Names of a pointer, or null for one that cannot be used. */
export function readPointer(pointer: string): Omit<Place, 'folded'> | null {
  const [root, first, ...names] = pointer.split('/')
  const part = PARTS.find((known) => known === first)
  if (root !== '' || part === undefined || names.length === 0) return null
  if (names.some((name) => name === '' || /~(?![01])/.test(name))) return null
  return { part, names: names.map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~')) }
}

/** Compiles tests that have been read already; null when there are none. */
export function compileRequest(conditions: RequestConditions | undefined): readonly CompiledTest[] | null {
  if (!conditions) return null
  return Object.entries(conditions).flatMap(([pointer, test]) => {
    const place = readPointer(pointer)
    return place ? [compileTest(pointer, place, partsOf(test))] : []
  })
}

/** A test in its long form. */
export const partsOf = (test: ValueTest): TestParts =>
  typeof test === 'object' && test !== null && !isList(test) ? test : { in: test }

export const listOf = (values: Scalar | readonly Scalar[]): readonly Scalar[] =>
  isList(values) ? values : [values]

const isList = (value: unknown): value is readonly Scalar[] => Array.isArray(value)

function compileTest(pointer: string, place: Omit<Place, 'folded'>, test: TestParts): CompiledTest {
  const { min = -Infinity, max = Infinity } = test
  return {
    ...place,
    folded: place.names.map(foldName),
    pointer,
    in: test.in === undefined ? null : valuesOf(listOf(test.in)),
    not_in: test.not_in === undefined ? null : valuesOf(listOf(test.not_in)),
    range: test.min === undefined && test.max === undefined ? null : { min, max },
  }
}

function valuesOf(values: readonly Scalar[]): Values {
  const others = values.filter((value) => value !== null)
  const [first] = others
  return {
    exact: new Set(values),
    hasNull: values.includes(null),
    type: first === undefined ? null : typeOf(first),
    wide: new Set(others.map(fold)),
  }
}

/**
 * Whether all tests hold.
 *
 * `wide` (deny and approval rules): unless it is sure that one does not. Everything that stands at the place in any
 * spelling counts, each element of a list, and what is of another type than the rule speaks of, because a program may
 * read `"false"`, `0` or `{"value": false}` as `false`.
 * Otherwise (allow rules): only if it is sure that all do. The value itself, in exactly this spelling, and no other
 * spelling beside it, because a program may take that one.
 *
 * Sure is sure: what holds narrowly holds widely. `not_in` is the opposite of `in` as the other reading has it.
 */
export function requestHolds(
  tests: readonly CompiledTest[],
  request: CanonicalRequest,
  wide: boolean,
): boolean {
  for (const test of tests) if (!testHolds(test, request, wide)) return false
  return true
}

/** The tests that do not hold, for `explain`. */
export const failedTests = (
  tests: readonly CompiledTest[],
  request: CanonicalRequest,
  wide: boolean,
): readonly Miss[] =>
  tests
    .filter((test) => !testHolds(test, request, wide))
    .map(({ pointer }): Miss => `conditions.request/${pointer.slice(1)}`)

function testHolds(test: CompiledTest, request: CanonicalRequest, wide: boolean): boolean {
  const found = widelyAt(request, test)
  const { in: within, not_in: without, range } = test
  if (within && !isIn(within, test, request, found, wide)) return false
  if (without && isIn(without, test, request, found, !wide)) return false
  if (!range) return true
  if (wide) return mayBeInRange(range, found)
  const value = found.isOnly ? exactAt(request, test) : undefined
  return typeof value === 'number' && isInRange(range, value)
}

function isIn(values: Values, place: Place, request: CanonicalRequest, found: Found, wide: boolean): boolean {
  if (wide) return (values.hasNull && mayBeNull(exactAt(request, place), found)) || mayBeIn(values, found)
  const value = found.isOnly ? exactAt(request, place) : undefined
  return isScalar(value) && values.exact.has(value)
}

/**
 * Whoever must not send null must not leave the member out either, nor send it where only some programs find it: under
 * another spelling of its name, beside another spelling of what it is in, or in the elements of a list.
 */
const mayBeNull = (exact: unknown, { node, isOnlyWay }: Found): boolean =>
  (exact ?? null) === null ||
  node === null ||
  !isOnlyWay ||
  node.isNull ||
  (node.scalars.length === 0 && !node.isObject)

function mayBeIn({ type, wide }: Values, { node, isUnclear }: Found): boolean {
  if (type === null) return false
  if (isUnclear) return true
  if (node === null) return false
  if (node.isObject || isOfAnotherType(node, type)) return true
  const there = valuesAt(node)
  const [fewer, more] = there.size < wide.size ? [there, wide] : [wide, there]
  for (const value of fewer) if (more.has(value)) return true
  return false
}

const isOfAnotherType = ({ types }: Node, type: ScalarType): boolean => (types & ~TYPES[type]) !== 0

type Range = NonNullable<CompiledTest['range']>

/** What is no number may be one to whoever acts on it; nothing at all is none. */
function mayBeInRange({ min, max }: Range, { node, isUnclear }: Found): boolean {
  if (isUnclear) return true
  if (node === null) return false
  return node.isObject || isOfAnotherType(node, 'number') || hasNumberIn(node, min, max)
}

const isInRange = ({ min, max }: Range, value: number): boolean => value >= min && value <= max

/** The type of a value that can be compared; null for null, and for what cannot be. */
export function typeOf(value: unknown): ScalarType | null {
  const type = typeof value
  return type === 'string' || type === 'number' || type === 'boolean' ? type : null
}

export const isScalar = (value: unknown): value is Scalar => value === null || typeOf(value) !== null
