import { type Result, ok } from '../result.js'
import { GAP, RUN, type Token } from './glob.js'
import { readRule, toKey } from './pattern.js'

/** How to find actions by their stored keys: one key, or a regular expression over keys. */
export type KeyFilter = { readonly key: string } | { readonly regex: string }

/**
 * Reads an action or pattern as an allow rule is read (spec/normalisation.md) and writes it as a filter over stored
 * keys, for databases that know POSIX-like regular expressions. The expression is anchored, has no quantifier but
 * `.*`, and every character of the source in it is a letter, a digit, or escaped.
 *
 * @param source at most 256 characters, in any spelling of AG-34, with `*`, `?`, `[abc]`, `[!abc]`
 */
export function keyFilter(source: string): Result<KeyFilter, string> {
  const read = readRule(source)
  if (!read.ok) return read
  const tokens = read.value
  const keyed = toKey(tokens)
  if (keyed.every((token) => token.kind === 'char')) {
    return ok({ key: keyed.map((token) => (token.kind === 'char' ? token.char : '')).join('') })
  }
  const whole = keyed.map(expression).join('')
  // `verb:*` also allows the bare verb: a key without a `:`.
  const gap = tokens.indexOf(GAP)
  const openEnded = gap >= 0 && tokens.length === gap + 2 && tokens[gap + 1] === RUN
  const bare = openEnded ? `|(?!.*:)${tokens.slice(0, gap).map(expression).join('')}` : ''
  return ok({ regex: `^(${whole}${bare})$` })
}

function expression(token: Token): string {
  switch (token.kind) {
    case 'char':
      return escaped(token.char.codePointAt(0) ?? 0)
    case 'one':
      return '.'
    case 'run':
      return '.*'
    case 'gap':
      return ''
    case 'class': {
      let members = ''
      for (let i = 0; i < token.ranges.length; i += 2) {
        members += `${escaped(token.ranges[i] ?? 0)}-${escaped(token.ranges[i + 1] ?? 0)}`
      }
      return `[${token.negated ? '^' : ''}${members}]`
    }
  }
}

/** Letters and digits as they are, everything else by its number: nothing can be read as an operator. */
function escaped(code: number): string {
  const char = String.fromCodePoint(code)
  if (/^[a-z0-9]$/.test(char)) return char
  return code <= 0xffff
    ? `\\u${code.toString(16).padStart(4, '0')}`
    : `\\U${code.toString(16).padStart(8, '0')}`
}
