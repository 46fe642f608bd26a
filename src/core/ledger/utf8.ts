/**
 * Strict UTF-8 (RFC 3629) without TextEncoder, which the core cannot assume. Unlike a TextDecoder it keeps a byte
 * order mark, so that equal text always means equal bytes: a signature covers the bytes.
 */

/** The bytes of a text, or undefined when it has a lone surrogate and so no UTF-8 form. */
export function encodeUtf8(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length * 3)
  let at = 0
  for (let i = 0; i < text.length; i++) {
    let code = text.charCodeAt(i)
    if (code < 0x80) {
      bytes[at++] = code
      continue
    }
    if (code >= 0xd800 && code <= 0xdfff) {
      const low = text.charCodeAt(++i) // NaN past the end
      if (code > 0xdbff || !(low >= 0xdc00 && low <= 0xdfff)) return undefined
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
      bytes[at++] = 0xf0 | (code >> 18)
      bytes[at++] = 0x80 | ((code >> 12) & 0x3f)
    } else if (code >= 0x800) {
      bytes[at++] = 0xe0 | (code >> 12)
    }
    if (code < 0x800) bytes[at++] = 0xc0 | (code >> 6)
    else bytes[at++] = 0x80 | ((code >> 6) & 0x3f)
    bytes[at++] = 0x80 | (code & 0x3f)
  }
  return bytes.slice(0, at)
}

// Lead bytes: how many bytes follow, and the smallest code point that needs that many (RFC 3629 3: no overlong forms).
const SMALLEST: readonly number[] = [0, 0x80, 0x800, 0x10000]

/** The text of bytes, or undefined when they are not UTF-8 (overlong, surrogates, cut off, beyond U+10FFFF). */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  const parts: string[] = []
  let units: number[] = []
  for (let i = 0; i < bytes.length;) {
    const lead = bytes[i++] ?? 0
    const following =
      lead < 0x80 ? 0 : lead < 0xc2 ? -1 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : lead < 0xf5 ? 3 : -1
    if (following < 0 || i + following > bytes.length) return undefined
    let code = following === 0 ? lead : lead & (0x3f >> following)
    for (const end = i + following; i < end; i++) {
      const byte = bytes[i] ?? 0
      if ((byte & 0xc0) !== 0x80) return undefined
      code = (code << 6) | (byte & 0x3f)
    }
    if (code < (SMALLEST[following] ?? 0) || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
      return undefined
    if (code > 0xffff) units.push(0xd800 + ((code - 0x10000) >> 10), 0xdc00 + ((code - 0x10000) & 0x3ff))
    else units.push(code)
    if (units.length >= 4096) {
      parts.push(String.fromCharCode(...units))
      units = []
    }
  }
  return parts.join('') + String.fromCharCode(...units)
}
