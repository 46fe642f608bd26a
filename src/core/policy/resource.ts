import { type Result, err, ok } from '../result.js'

/** Longest resource, in UTF-16 units, before and after reading. */
export const RESOURCE_LIMIT = 2048

/** One resource in the two forms rules look at: an allow must match both, a deny or approval either. */
export interface ResourceReading {
  readonly raw: string
  /** NFKC and lower-case, otherwise as the agent wrote it */
  readonly sent: string
  /** percent-decoded, `\` as `/`, `.` and `..` resolved, repeated `/` collapsed */
  readonly canonical: string
}

const ROUNDS = 3
const TOO_LONG = `The resource is longer than ${RESOURCE_LIMIT} characters: send a shorter name`
const EMPTY = 'The resource is empty: leave it out, or name what the action works on'
const CONTROL = 'The resource holds a control character or half a character, also percent-encoded: remove it'
const UNSETTLED = `The resource is percent-encoded more than ${ROUNDS} times: send it decoded`
const NOT_UTF8 = 'The resource holds percent-encoded bytes that are not UTF-8: send the name as text'
const ABOVE_ROOT = 'The resource climbs above its root with "..": send the resolved path'

// eslint-disable-next-line no-control-regex -- the whole of ASCII is meant
const BEYOND_ASCII = /[^\u0000-\u007f]/

/** NFKC and lower-case; the second NFKC composes what lower-casing left apart, and Greek has one small sigma. */
export const fold = (text: string): string =>
  BEYOND_ASCII.test(text)
    ? text.normalize('NFKC').toLowerCase().replaceAll('ς', 'σ').normalize('NFKC')
    : text.toLowerCase()

// eslint-disable-next-line no-control-regex -- finding control characters is the purpose
export const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f]|\p{Cs}/u

/**
 * Reads the resource of a request.
 *
 * @param raw 1 to 2,048 characters, as the agent sent it; a missing resource is not read at all
 * @returns both forms, or a message that tells how to write the resource. Refused: control characters and lone
 *   surrogates (also encoded), encoded bytes that are not UTF-8 (overlong forms hide `..`), more than three
 *   layers of encoding, `..` above the root, more than 2,048 characters after NFKC. A `%` that no two hexadecimal
 *   digits follow is an ordinary character. The authority is the root: `s3://docs/../secret` is refused.
 *   Source: spec/normalisation.md, AG-53 to AG-55.
 */
export function readResource(raw: string): Result<ResourceReading, string> {
  if (raw.length === 0) return err(EMPTY)
  if (raw.length > RESOURCE_LIMIT) return err(TOO_LONG)
  const sent = fold(raw)
  if (sent.length > RESOURCE_LIMIT) return err(TOO_LONG)
  if (PLAIN.test(sent)) return ok({ raw, sent, canonical: sent })
  if (UNPRINTABLE.test(sent)) return err(CONTROL)
  const decoded = decode(sent)
  if (!decoded.ok) return decoded
  const canonical = resolve(decoded.value.replaceAll('\\', '/'))
  return canonical.ok ? ok({ raw, sent, canonical: canonical.value }) : canonical
}

/**
 * Nearly every resource is canonical already, and one look at it costs a tenth of resolving it: printable ASCII
 * without `%` and `\`, at most one scheme or leading slash, no segment that is empty or begins with a dot.
 */
const PLAIN =
  /^(?!(?:https?|wss?|ftp|file):(?!\/\/))(?:[a-z][a-z0-9+.-]+:\/\/|\/)?(?:[ -$&--0-[\]-~][ -$&-.0-[\]-~]*(?:\/|$))+$/

function decode(sent: string): Result<string, string> {
  let text = sent
  for (let round = 0; ; round++) {
    const next = decodeOnce(text)
    if (next === null) return err(NOT_UTF8)
    if (next === text) return ok(text)
    if (round === ROUNDS) return err(UNSETTLED)
    if (UNPRINTABLE.test(next)) return err(CONTROL)
    text = next
  }
}

/** One round, folded again because encoded text may hide capitals and full-width forms; null if not UTF-8. */
function decodeOnce(text: string): string | null {
  if (!text.includes('%')) return text
  try {
    return fold(text.replace(/(?:%[0-9a-f]{2})+/g, (bytes) => decodeURIComponent(bytes)))
  } catch {
    return null // decodeURIComponent throws on exactly one thing: bytes that are not UTF-8
  }
}

/** Two letters at least, so that the drive of `c:/users` is a path segment. */
const SCHEME = /^([a-z][a-z0-9+.-]+:)\/\/(?:\.?\/|\.$)*/
/** URL parsers read any number of slashes after these as two. */
const WEB = /^(https?:|wss?:|ftp:)(?:\.?\/|\.$)*/
/** One slash, or three and more: no host. Two begin a host, as in any other scheme. */
const FILE = /^file:(?:\/|\/{3,})(?!\/)/

function resolve(path: string): Result<string, string> {
  const { root, rest } = splitRoot(path)
  if (root.endsWith('//../') || root.endsWith('//..')) return err(ABOVE_ROOT)
  const kept: string[] = []
  const segments = rest.split('/')
  const last = segments.length - 1
  for (const [index, segment] of segments.entries()) {
    const dots = segment === '.' || segment === '..'
    if (segment === '..' && kept.pop() === undefined) return err(ABOVE_ROOT)
    if (segment !== '' && !dots) kept.push(segment)
    // A path that ends in a directory keeps its slash, as RFC 3986, section 5.2.4, has it.
    else if (index === last && kept.length > 0) kept.push('')
  }
  const resolved = root + kept.join('/')
  return ok(resolved === '' ? '.' : resolved)
}

/** What `..` may not climb above (scheme and authority, or the leading slash), and what follows it. */
function splitRoot(path: string): { root: string; rest: string } {
  const file = FILE.exec(path)
  if (file) return { root: 'file:///', rest: path.slice(file[0].length) }
  const scheme = WEB.exec(path) ?? SCHEME.exec(path)
  if (scheme) {
    const rest = path.slice(scheme[0].length)
    const slash = rest.indexOf('/')
    const authority = slash < 0 ? rest : rest.slice(0, slash)
    const root = `${scheme[1] ?? ''}//${authority}`
    return slash < 0 ? { root, rest: '' } : { root: `${root}/`, rest: rest.slice(slash + 1) }
  }
  return path.startsWith('/') ? { root: '/', rest: path.slice(1) } : { root: '', rest: path }
}
