const LOCAL = /^[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/

/** What `normalizeEmail` takes, for messages. */
export const EMAIL_RULE = 'must be an email address such as ada@example.com'

/**
 * One spelling of an email address: without white space around it, in small letters. ASCII only (a domain of another
 * script in its `xn--` form), so that no two addresses look alike and differ.
 * @returns null when it is none (RFC 5321 4.5.3.1: at most 64 characters before and 254 in all).
 */
export function normalizeEmail(text: string): string | null {
  // Before lower-casing: there are letters beyond ASCII whose small form is in it.
  const trimmed = text.trim()
  if (trimmed.length > 254 || !/^[\x21-\x7e]+$/.test(trimmed)) return null
  const email = trimmed.toLowerCase()
  const at = email.indexOf('@')
  if (at < 1 || at > 64 || !LOCAL.test(email.slice(0, at))) return null
  const labels = email.slice(at + 1).split('.')
  return labels.every((label) => LABEL.test(label)) ? email : null
}
