/** JSON as a value: what can be canonicalised. `undefined` members are left out, as JSON.stringify does. */
export type Json =
  null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

/** Printable ASCII without quote and backslash, which is nearly every string of an entry, stands for itself. */
const PLAIN = /^[ !#-[\]-~]*$/
const LONE_SURROGATE = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/

/**
 * JSON Canonicalization Scheme (RFC 8785): members sorted by UTF-16 code units, no white space, ECMAScript's own
 * number and string forms.
 * @throws RangeError for what JCS cannot express: NaN, infinities, lone surrogates.
 */
export function canonicalize(value: Json): string {
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new RangeError('canonical JSON has no NaN or infinity')
    return JSON.stringify(value)
  }
  if (typeof value === 'string') return canonicalString(value)
  if (isArray(value)) return `[${value.map(canonicalize).join(',')}]`
  const members: string[] = []
  for (const key of Object.keys(value).sort()) {
    const member = value[key]
    if (member !== undefined) members.push(`${canonicalString(key)}:${canonicalize(member)}`)
  }
  return `{${members.join(',')}}`
}

/** A string as RFC 8785 3.2.2.2 writes it, which is JSON.stringify for well-formed text. */
export function canonicalString(text: string): string {
  if (PLAIN.test(text)) return `"${text}"`
  if (LONE_SURROGATE.test(text)) throw new RangeError('canonical JSON has no lone surrogates')
  return JSON.stringify(text)
}

// Array.isArray does not narrow a readonly array out of a union.
const isArray = (value: Json): value is readonly Json[] => Array.isArray(value)
