/**
 * Arrays in PostgreSQL's binary format, for what is sent with every batch: to read them from text took PostgreSQL a
 * tenth of what an entry costs it. `pg` sends a Buffer as a binary parameter, whatever its type.
 */

/** Number of the element's type (catalog `pg_type`), and how many bytes each has where all have as many. */
const BOOL = { oid: 16, bytes: 1 }
const INT8 = { oid: 20, bytes: 8 }
const INT4 = { oid: 23, bytes: 4 }
const UUID = { oid: 2950, bytes: 16 }
const TEXT = 25

const HEAD_BYTES = 20
const LENGTH_BYTES = 4
const NULL_LENGTH = -1
const TWO_TO_32 = 2 ** 32
const INVALID_TEXT = '22P02'

type Elements<T> = readonly (T | null)[]

/** One dimension, counted from 1; whether there is a null; then each element after its length. */
function head(buffer: Buffer, oid: number, elements: Elements<unknown>): number {
  buffer.writeInt32BE(1, 0)
  buffer.writeInt32BE(elements.includes(null) ? 1 : 0, 4)
  buffer.writeInt32BE(oid, 8)
  buffer.writeInt32BE(elements.length, 12)
  buffer.writeInt32BE(1, 16)
  return HEAD_BYTES
}

function fixed<T>(
  { oid, bytes }: { readonly oid: number; readonly bytes: number },
  elements: Elements<T>,
  write: (buffer: Buffer, element: T, at: number) => void,
): Buffer {
  const buffer = Buffer.allocUnsafe(HEAD_BYTES + elements.length * (LENGTH_BYTES + bytes))
  let at = head(buffer, oid, elements)
  for (const element of elements) {
    at = buffer.writeInt32BE(element === null ? NULL_LENGTH : bytes, at)
    if (element === null) continue
    write(buffer, element, at)
    at += bytes
  }
  return buffer.subarray(0, at)
}

export const booleans = (elements: Elements<boolean>): Buffer =>
  fixed(BOOL, elements, (buffer, element, at) => buffer.writeUInt8(element ? 1 : 0, at))

export const integers = (elements: Elements<number>): Buffer =>
  fixed(INT4, elements, (buffer, element, at) => buffer.writeInt32BE(element, at))

/** Of integers that a double has exactly. */
export const bigints = (elements: Elements<number>): Buffer =>
  fixed(INT8, elements, (buffer, element, at) => {
    buffer.writeInt32BE(Math.floor(element / TWO_TO_32), at)
    buffer.writeUInt32BE(element >>> 0, at + 4)
  })

/** @throws RangeError, with the code that PostgreSQL has for it, for what is no UUID */
export const uuids = (elements: Elements<string>): Buffer =>
  fixed(UUID, elements, (buffer, element, at) => {
    const digits = element.replaceAll('-', '')
    if (digits.length !== 2 * UUID.bytes || buffer.write(digits, at, UUID.bytes, 'hex') !== UUID.bytes)
      throw Object.assign(new RangeError('not a UUID'), { code: INVALID_TEXT })
  })

export function texts(elements: Elements<string>): Buffer {
  const lengths = elements.map((element) => (element === null ? 0 : Buffer.byteLength(element)))
  const bytes = lengths.reduce((sum, length) => sum + length, 0)
  const buffer = Buffer.allocUnsafe(HEAD_BYTES + elements.length * LENGTH_BYTES + bytes)
  let at = head(buffer, TEXT, elements)
  elements.forEach((element, i) => {
    at = buffer.writeInt32BE(element === null ? NULL_LENGTH : (lengths[i] ?? 0), at)
    if (element !== null) at += buffer.write(element, at)
  })
  return buffer
}
