/**
 * Secrets of agents (`agk_`) and administrators (`adk_`): prefix + 43 base62 characters (256 random bits)
 * + 6 base62 characters of CRC-32 over everything before (design 8). The checksum lets a typo or a scanner's
 * false hit be refused without a query; it is no protection, the randomness is.
 */
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const BODY_LENGTH = 43
const CHECKSUM_LENGTH = 6

export const KEY_BYTES = 32

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1
  return c >>> 0
})

/** CRC-32 (ISO-HDLC, as in zlib) of ASCII text. */
export function crc32(text: string, length = text.length): number {
  let c = 0xffffffff
  for (let i = 0; i < length; i++) c = (CRC_TABLE[(c ^ text.charCodeAt(i)) & 0xff] ?? 0) ^ (c >>> 8)
  return (c ^ 0xffffffff) >>> 0
}

function base62(value: bigint, width: number): string {
  let text = ''
  for (let i = 0; i < width; i++) {
    text = BASE62.charAt(Number(value % 62n)) + text
    value /= 62n
  }
  return text
}

/** Makes a key from 32 random bytes. 62^43 > 2^256, so no bit is lost. */
export function makeKey(prefix: string, random: Uint8Array): string {
  if (random.length !== KEY_BYTES) throw new RangeError(`a key needs ${KEY_BYTES} random bytes`)
  let value = 0n
  for (const byte of random) value = (value << 8n) | BigInt(byte)
  const body = prefix + base62(value, BODY_LENGTH)
  return body + base62(BigInt(crc32(body)), CHECKSUM_LENGTH)
}

/** True for a well-formed key with a right checksum; says nothing about whether it exists. */
export function isWellFormedKey(prefix: string, key: string): boolean {
  const bodyEnd = prefix.length + BODY_LENGTH
  if (key.length !== bodyEnd + CHECKSUM_LENGTH || !key.startsWith(prefix)) return false
  let checksum = 0
  for (let i = prefix.length; i < key.length; i++) {
    const digit = base62Digit(key.charCodeAt(i))
    if (digit < 0) return false
    if (i >= bodyEnd) checksum = checksum * 62 + digit
  }
  return checksum === crc32(key, bodyEnd)
}

function base62Digit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48
  if (code >= 65 && code <= 90) return code - 55
  if (code >= 97 && code <= 122) return code - 61
  return -1
}

/** What may be shown of a key: the marker and 8 characters (C3). Never part of authentication. */
export const keyPrefix = (prefix: string, key: string): string => key.slice(0, prefix.length + 8)
