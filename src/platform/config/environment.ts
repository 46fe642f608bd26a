export type Environment = Readonly<Record<string, string | undefined>>

const TRUE = new Set(['true', '1', 'yes', 'on'])
const FALSE = new Set(['false', '0', 'no', 'off'])

/**
 * Reads variables and collects what is wrong instead of stopping at the first. An empty variable counts as
 * absent, as compose files produce them. Values are quoted in messages, so secrets are read with `secret`.
 */
export class EnvironmentReader {
  readonly problems: string[] = []

  constructor(private readonly environment: Environment) {}

  text(name: string): string | undefined {
    const value = this.environment[name]?.trim()
    return value === '' ? undefined : value
  }

  matching(name: string, fallback: string, pattern: RegExp, rule: string): string {
    const value = this.text(name) ?? fallback
    if (pattern.test(value)) return value
    this.refuse(name, value, rule)
    return fallback
  }

  integer(name: string, fallback: number, min: number, max: number): number {
    const text = this.text(name)
    if (text === undefined) return fallback
    const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN
    if (value >= min && value <= max) return value
    this.refuse(name, text, `must be a whole number from ${min} to ${max}, for example ${name}=${fallback}`)
    return fallback
  }

  boolean(name: string, fallback: boolean): boolean {
    const text = this.text(name)?.toLowerCase()
    if (text === undefined) return fallback
    if (TRUE.has(text)) return true
    if (FALSE.has(text)) return false
    this.refuse(name, text, 'must be true or false')
    return fallback
  }

  oneOf<const T extends string>(
    name: string,
    fallback: T,
    allowed: readonly T[],
    aliases: Readonly<Record<string, T>> = {},
  ): T {
    const text = this.text(name)?.toLowerCase()
    if (text === undefined) return fallback
    const value = aliases[text] ?? allowed.find((known) => known === text)
    if (value !== undefined) return value
    this.refuse(name, text, `must be one of ${allowed.join(', ')}`)
    return fallback
  }

  list(name: string, fallback: readonly string[]): readonly string[] {
    const text = this.text(name)
    if (text === undefined) return fallback
    return text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '')
  }

  /** Notes that a variable holds something unusable, showing what it holds. */
  refuse(name: string, value: string, rule: string): void {
    this.problems.push(`${name}=${JSON.stringify(value)} ${rule}`)
  }

  /** Notes that a secret is unusable, without showing it. */
  refuseSecret(name: string, rule: string): void {
    this.problems.push(`${name} ${rule}`)
  }
}
