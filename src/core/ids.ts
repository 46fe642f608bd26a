/**
 * Names of things. Ids are prefixed and an id and a secret never share a prefix.
 * Randomness comes in as bytes: this folder is pure.
 */
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
const HEX = '0123456789abcdef'

export const ID_BYTES = 12

/** `org_` / `agt_` / `key_` / `adm_` … + 16 base64url characters of 12 random bytes (row AG-4). */
export function makeId(prefix: string, random: Uint8Array): string {
  if (random.length !== ID_BYTES) throw new RangeError(`an id needs ${ID_BYTES} random bytes`)
  let id = prefix
  for (let i = 0; i < ID_BYTES; i += 3) {
    const bits = ((random[i] ?? 0) << 16) | ((random[i + 1] ?? 0) << 8) | (random[i + 2] ?? 0)
    id +=
      BASE64URL.charAt(bits >>> 18) +
      BASE64URL.charAt((bits >>> 12) & 63) +
      BASE64URL.charAt((bits >>> 6) & 63) +
      BASE64URL.charAt(bits & 63)
  }
  return id
}

/**
 * UUID version 7 (RFC 9562 5.7): 48 bits of Unix milliseconds, then randomness.
 * `random` holds 10 bytes; the six version and variant bits overwrite theirs.
 */
export function uuidv7(ms: number, random: Uint8Array): string {
  let hex = Math.trunc(ms).toString(16).padStart(12, '0')
  hex = `${hex.slice(0, 8)}-${hex.slice(8)}-7`
  for (let i = 0; i < 10; i++) {
    let byte = random[i] ?? 0
    if (i === 0) {
      hex += HEX.charAt(byte & 15)
      continue
    }
    if (i === 2) {
      byte = (byte & 0x3f) | 0x80
      hex += '-'
    }
    if (i === 4) hex += '-'
    hex += HEX.charAt(byte >>> 4) + HEX.charAt(byte & 15)
  }
  // Byte 0 gives the four low bits of the third group, so byte 1 completes it.
  return hex
}

/** The smallest UUIDv7 of a millisecond: the bound for time ranges over ids. */
export function uuidv7Floor(ms: number): string {
  const hex = Math.max(0, Math.trunc(ms)).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`
}

/** The Unix milliseconds of a UUIDv7. */
export const uuidTime = (uuid: string): number => parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16)

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

export const isUuid = (text: string): boolean => UUID.test(text)

/** The organization that single-tenant use never has to name. */
export const DEFAULT_ORG_ID = 'org_default'
