/**
 * Standard base64 (RFC 4648 section 4) without atob or Buffer, which the core cannot assume, and which read
 * leniently: here one sequence of bytes has exactly one text, so that a proof or a note cannot be respelled.
 */
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
const VALUE = new Int8Array(128).fill(-1)
for (let i = 0; i < ALPHABET.length; i++) VALUE[ALPHABET.charCodeAt(i)] = i

/** The padded base64 of any bytes. */
export function encodeBase64(bytes: Uint8Array): string {
  let text = ''
  for (let i = 0; i < bytes.length; i += 3) {
    const have = bytes.length - i
    const group = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0)
    text += ALPHABET.charAt(group >> 18) + ALPHABET.charAt((group >> 12) & 0x3f)
    text += have > 1 ? ALPHABET.charAt((group >> 6) & 0x3f) : '='
    text += have > 2 ? ALPHABET.charAt(group & 0x3f) : '='
  }
  return text
}

/**
 * The bytes of canonical base64, or undefined for anything else: other characters (also white space and the URL
 * alphabet), missing or extra padding, and bits set beyond the last byte (RFC 4648 3.5).
 */
export function decodeBase64(text: string): Uint8Array | undefined {
  if (text.length % 4 !== 0) return undefined
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  const characters = text.length - padding
  const bytes = new Uint8Array((text.length / 4) * 3 - padding)
  let at = 0
  let group = 0
  for (let i = 0; i < text.length; i++) {
    const value = i < characters ? (VALUE[text.charCodeAt(i)] ?? -1) : 0
    if (value < 0) return undefined
    group = (group << 6) | value
    if (i % 4 !== 3) continue
    if (i + 1 === text.length && padding > 0 && group & ((1 << (8 * padding)) - 1)) return undefined
    bytes[at] = group >> 16 // writes past the end of a typed array are dropped: the padding bytes
    bytes[at + 1] = (group >> 8) & 0xff
    bytes[at + 2] = group & 0xff
    at += 3
    group = 0
  }
  return bytes
}
