import { type Result, err, ok } from '../result.js'
import { ACTION_LIMIT, type ActionReading, Kind, NOT_TEXT, divides, kindOf, toText } from './action.js'
import { compileDeny } from './deny.js'
import { type ClassToken, GAP, ONE, RUN, type Token, compileGlob, literal, readClass } from './glob.js'
import { RESOURCE_LIMIT, UNPRINTABLE, fold } from './resource.js'

/** What a request must look like for a rule to have a chance, so that an index can leave the rule out. */
export type Hint =
  /** allow: only this key can match */
  | { readonly kind: 'key'; readonly key: string }
  /** allow: `words[0]` must equal this */
  | { readonly kind: 'verb'; readonly verb: string }
  /** deny: `letters` must start with `prefix`, or be `verb` (null: there is no such other way to match) */
  | { readonly kind: 'prefix'; readonly prefix: string; readonly verb: string | null }
  | { readonly kind: 'any' }

export interface ActionMatcher {
  readonly hint: Hint
  matches(action: ActionReading): boolean
}

export interface ResourceMatcher {
  matches(text: string): boolean
}

const TOO_LONG_ACTION = `The action of a rule is longer than ${ACTION_LIMIT} characters: shorten it, or use "*"`
const TOO_LONG_RESOURCE = `The resource of a rule is longer than ${RESOURCE_LIMIT} characters: shorten it, or use "*"`
const EMPTY_ACTION =
  'The action of a rule is empty: write a verb and a noun, such as read:file, or "*" for any'
const EMPTY_RESOURCE = 'The resource of a rule is empty: leave it out, or write "*" for any'
const STRAY = 'A "]" closes nothing: put a "[" before the characters it may be'
const NOT_PRINTABLE = 'The resource of a rule holds a control character or half a character: remove it'

/**
 * Compiles the action of an allow rule: a shell glob of the rule's key over the request's key, whole string. A
 * bare verb in a request is also allowed by `verb:*`, by nothing narrower.
 *
 * @param source at most 256 characters, in any spelling of AG-34, with `*`, `?`, `[abc]`, `[!abc]`
 * @returns the matcher, or what is wrong and how to write it. Source: spec/normalisation.md.
 */
export function compileAllowAction(source: string): Result<ActionMatcher, string> {
  const read = readRule(source)
  if (!read.ok) return read
  const tokens = read.value
  const keyed = toKey(tokens)
  const key = literal(keyed)
  if (key !== null) return ok({ hint: { kind: 'key', key }, matches: (action) => action.key === key })
  const glob = compileGlob(keyed)
  if (!glob.ok) return glob
  const matches = glob.value
  const hint = verbHint(keyed)
  const gap = tokens.indexOf(GAP)
  const openEnded = gap >= 0 && tokens.length === gap + 2 && tokens[gap + 1] === RUN
  if (!openEnded) return ok({ hint, matches: (action) => matches(action.key) })
  const verb = compileGlob(tokens.slice(0, gap))
  if (!verb.ok) return verb
  const bare = verb.value
  return ok({ hint, matches: (a) => (a.words.length === 1 ? bare(a.key) || matches(a.key) : matches(a.key)) })
}

/**
 * Compiles the action of a deny or approval rule, read widely: other divisions of the same letters, further words
 * and the bare verb match too. Whatever `compileAllowAction` of the same text matches, this matches.
 *
 * @param source as for `compileAllowAction`
 * @returns the matcher, or what is wrong and how to write it. Source: spec/normalisation.md.
 */
export function compileDenyAction(source: string): Result<ActionMatcher, string> {
  const read = readRule(source)
  if (!read.ok) return read
  // An allow that does not compile must not be a deny that does: the same text has the same errors in both lists.
  const allow = compileGlob(toKey(read.value))
  if (!allow.ok) return allow
  const matches = compileDeny(read.value)
  if (!matches.ok) return matches
  return ok({ hint: prefixHint(read.value), matches: matches.value })
}

/**
 * What the wide reading needs at least: the letters before the first wildcard, or those of a literal verb alone.
 * A verb with a wildcard is met only by words that begin as it does, so the prefix covers it.
 */
function prefixHint(tokens: readonly Token[]): Hint {
  let prefix = ''
  let verb: string | null = null
  for (const token of tokens) {
    if (token === GAP) verb ??= prefix
    else if (token.kind === 'char') prefix += token.char
    else break
  }
  if (prefix === '') return { kind: 'any' }
  return { kind: 'prefix', prefix, verb: verb === prefix ? null : verb }
}

/**
 * Compiles the resource of a rule: a shell glob over a whole form of a resource, case-insensitive; `*` crosses `/`.
 * The pattern itself is not canonicalised. An allow must match both forms of a request's resource, a deny either.
 *
 * @param source 1 to 2,048 characters; an absent or empty resource means any and is not compiled
 * @returns the matcher, or what is wrong and how to write it. Source: spec/normalisation.md, AG-50 to AG-55.
 */
export function compileResource(source: string): Result<ResourceMatcher, string> {
  if (source.length > RESOURCE_LIMIT) return err(TOO_LONG_RESOURCE)
  const text = fold(source)
  if (text.length === 0) return err(EMPTY_RESOURCE)
  if (text.length > RESOURCE_LIMIT) return err(TOO_LONG_RESOURCE)
  if (UNPRINTABLE.test(text)) return err(NOT_PRINTABLE)
  const tokens: Token[] = []
  for (let i = 0; i < text.length;) {
    const char = String.fromCodePoint(text.codePointAt(i) ?? 0)
    if (char === '[') {
      const list = readClass(text, i)
      if (!list.ok) return list
      tokens.push(list.value.token)
      i = list.value.end
      continue
    }
    push(tokens, char === '*' ? RUN : char === '?' ? ONE : { kind: 'char', char })
    i += char.length
  }
  const matches = compileGlob(tokens)
  return matches.ok ? ok({ matches: matches.value }) : matches
}

/** Appends a token; two runs, or two gaps, in a row are one. */
function push(tokens: Token[], token: Token): void {
  if ((token === RUN || token === GAP) && tokens.at(-1) === token) return
  tokens.push(token)
}

/** Reads a rule's action as requests are read, and its wildcards; gaps at the ends fall away, as in requests. */
export function readRule(source: string): Result<readonly Token[], string> {
  if (source.length > ACTION_LIMIT) return err(TOO_LONG_ACTION)
  const text = toText(source)
  if (text.length > ACTION_LIMIT) return err(TOO_LONG_ACTION)
  const kinds = Array.from({ length: text.length }, (_, i) => kindOf(text.charCodeAt(i)))
  if (kinds.includes(Kind.Refused)) return err(`The action of a rule ${NOT_TEXT}`)
  const lower = text.toLowerCase()
  const tokens: Token[] = []
  for (let i = 0; i < text.length; i++) {
    const char = lower[i] ?? ''
    const kind = kinds[i] ?? Kind.Separator
    if (char === ']') return err(STRAY)
    if (char === '[') {
      const list = readClass(lower, i)
      if (!list.ok) return list
      tokens.push(withSeparators(list.value.token))
      i = list.value.end - 1
    } else if (kind === Kind.Separator) {
      if (tokens.length > 0) push(tokens, GAP)
    } else {
      const before = kinds[i - 1] ?? Kind.Separator
      const after = kinds[i + 1] ?? Kind.Separator
      if (divides(before, kind, after)) push(tokens, GAP)
      push(tokens, char === '*' ? RUN : char === '?' ? ONE : { kind: 'char', char })
    }
  }
  if (tokens.at(-1) === GAP) tokens.pop()
  return tokens.length === 0 ? err(EMPTY_ACTION) : ok(tokens)
}

const COLON = 0x3a
const UNDERSCORE = 0x5f

/** A separator inside a list means any separator, and keys have two: `read[ -]file` is meant to hold `read:file`. */
function withSeparators(token: ClassToken): ClassToken {
  for (let i = 0; i < token.ranges.length; i += 2) {
    for (let code = token.ranges[i] ?? 0; code <= (token.ranges[i + 1] ?? 0); code++) {
      if (kindOf(code) === Kind.Separator) {
        return { ...token, ranges: [...token.ranges, COLON, COLON, UNDERSCORE, UNDERSCORE] }
      }
    }
  }
  return token
}

/** The rule's key: the first gap is `:`, the others are `_`. */
export function toKey(tokens: readonly Token[]): Token[] {
  let first = true
  return tokens.map((token) => {
    if (token !== GAP) return token
    const char = first ? ':' : '_'
    first = false
    return { kind: 'char', char }
  })
}

/** If the rule's key begins with a literal verb, no action with another first word can match. */
function verbHint(keyed: readonly Token[]): Hint {
  let verb = ''
  for (const token of keyed) {
    if (token.kind !== 'char') break
    if (token.char === ':') return { kind: 'verb', verb }
    verb += token.char
  }
  return { kind: 'any' }
}
