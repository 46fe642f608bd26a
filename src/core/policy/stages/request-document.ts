import { foldName, type Scalar, type ScalarType } from './request-view.js'
import {
  isScalar,
  listOf,
  partsOf,
  readPointer,
  type RequestConditions,
  typeOf,
} from './request-conditions.js'

/** Places that the `request` of one rule may name. */
export const MAX_REQUEST_TESTS = 16
/** Values in one list. */
export const MAX_REQUEST_VALUES = 100
/** Values that all rules of a policy compare together: every decision may have to go through them. */
export const MAX_POLICY_VALUES = 10_000
/** Characters of a text that is compared, and of a place. */
export const MAX_REQUEST_TEXT = 1_024
export const MAX_POINTER = 256
/** Characters of the whole `request` of one rule as JSON: an entry of the log repeats it where people are asked. */
export const MAX_REQUEST_JSON = 4_096

const PARTS = ['in', 'not_in', 'min', 'max'] as const
const EXAMPLE = 'such as "/arguments/amount" or "/context/tenant" (RFC 6901, members of objects only)'
const SURROGATE = /\p{Surrogate}/u
const MAX_SHOWN = 64

type Report = (path: string, message: string) => void
type Members = { readonly [key: string]: unknown }

/** Reads the `request` of a rule's conditions; every mistake is reported with its path. */
export function readRequestConditions(value: unknown, path: string, report: Report): RequestConditions {
  if (!isObject(value)) {
    report(path, `must be an object of places and what must be true there, ${EXAMPLE}`)
    return {}
  }
  const tests = Object.entries(value).filter(([, test]) => test !== undefined)
  if (tests.length === 0 || tests.length > MAX_REQUEST_TESTS) {
    report(path, `must name 1 to ${MAX_REQUEST_TESTS} places, ${EXAMPLE}`)
    return {}
  }
  const read: Record<string, RequestConditions[string]> = {}
  for (const [pointer, test] of tests) {
    const where = `${path}.${pointer.slice(0, MAX_SHOWN)}`
    const flaw = pointerFlaw(pointer)
    const value = readTest(test, where, report)
    if (flaw === null) read[pointer] = value
    else report(where, flaw)
  }
  if (JSON.stringify(read).length > MAX_REQUEST_JSON)
    report(path, `must be at most ${MAX_REQUEST_JSON} characters of JSON: write several rules`)
  return read
}

/** How many values conditions compare; a place is one at least. */
export function countValues(conditions: RequestConditions): number {
  let count = 0
  for (const test of Object.values(conditions)) {
    const { in: within = [], not_in = [] } = partsOf(test)
    count += Math.max(1, listOf(within).length + listOf(not_in).length)
  }
  return count
}

function pointerFlaw(pointer: string): string | null {
  if (pointer.length > MAX_POINTER) return `must be at most ${MAX_POINTER} characters`
  const place = SURROGATE.test(pointer) ? null : readPointer(pointer)
  if (!place) return `must be a JSON Pointer to a member of arguments or context, ${EXAMPLE}`
  // What an approval does not bind must not decide (docs/approvals.md).
  if (place.part === 'context' && foldName(place.names[0] ?? '') === 'trace')
    return 'must not be in context.trace, which no approval is bound to'
  return null
}

function readTest(value: unknown, path: string, report: Report): RequestConditions[string] {
  if (!isObject(value)) return readValues(value, path, report, typeSeen(path, report))
  const given = PARTS.filter((part) => value[part] !== undefined && Object.hasOwn(value, part))
  for (const key of Object.keys(value))
    if (!PARTS.some((part) => part === key))
      report(`${path}.${key.slice(0, MAX_SHOWN)}`, `is not known here; known are ${PARTS.join(', ')}`)
  if (given.length === 0) report(path, `must have at least one of ${PARTS.join(', ')}`)
  const seen = typeSeen(path, report)
  const test: { in?: Scalar | Scalar[]; not_in?: Scalar | Scalar[]; min?: number; max?: number } = {}
  for (const part of given) {
    if (part === 'in' || part === 'not_in')
      test[part] = readValues(value[part], `${path}.${part}`, report, seen)
    else test[part] = readNumber(value[part], `${path}.${part}`, report, seen)
  }
  if (test.min !== undefined && test.max !== undefined && test.min > test.max)
    report(`${path}.max`, 'must not be less than min')
  return test
}

/** Reports the first value that is of another type than one before: what matches text and numbers matches neither. */
function typeSeen(path: string, report: Report): (value: Scalar) => void {
  let type: ScalarType | null = null
  let isReported = false
  return (value) => {
    const here = typeOf(value)
    if (here === null) return
    if (type !== null && type !== here && !isReported) {
      report(path, 'must compare values of one type (text, numbers, or true and false), and null')
      isReported = true
    }
    type ??= here
  }
}

function readValues(
  value: unknown,
  path: string,
  report: Report,
  seen: (value: Scalar) => void,
): Scalar | Scalar[] {
  if (!Array.isArray(value)) return readScalar(value, path, report, seen)
  if (value.length === 0 || value.length > MAX_REQUEST_VALUES) {
    report(path, `must have 1 to ${MAX_REQUEST_VALUES} values`)
    return []
  }
  return Array.from(value, (one: unknown, index) => readScalar(one, `${path}[${index}]`, report, seen))
}

function readScalar(value: unknown, path: string, report: Report, seen: (value: Scalar) => void): Scalar {
  const flaw = scalarFlaw(value)
  if (flaw === null && isScalar(value)) {
    seen(value)
    return value
  }
  report(path, flaw ?? 'must be a value')
  return null
}

function scalarFlaw(value: unknown): string | null {
  if (!isScalar(value)) return 'must be text, a number, true, false or null'
  if (typeof value === 'number') return numberFlaw(value)
  if (typeof value !== 'string') return null
  if (value.length > MAX_REQUEST_TEXT) return `must be at most ${MAX_REQUEST_TEXT} characters`
  return SURROGATE.test(value) ? 'must be well-formed Unicode text' : null
}

/** Beyond 2⁵³ two numbers that are written differently are read as one (RFC 7493), and an allow must not take both. */
const numberFlaw = (value: number): string | null =>
  Math.abs(value) <= Number.MAX_SAFE_INTEGER
    ? null
    : 'must be from -(2^53-1) to 2^53-1: compare longer ones as text'

function readNumber(value: unknown, path: string, report: Report, seen: (value: Scalar) => void): number {
  const flaw = typeof value === 'number' ? numberFlaw(value) : 'must be a number'
  if (flaw === null && typeof value === 'number') {
    seen(value)
    return value
  }
  report(path, flaw ?? 'must be a number')
  return 0
}

const isObject = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
