/**
 * How often somebody may ask (row AG-99): the one table. Windows are fixed; a class with several windows must
 * fit in each of them. Identity: agent, else administrator, else IP address.
 */
export interface RateWindow {
  /** Name in `RateLimit` headers; unique within the table. */
  readonly name: string
  readonly limit: number
  readonly seconds: number
}

export const LIMIT_CLASSES = [
  'enforce',
  'log_submit',
  'log_query',
  'admin_create',
  'admin_read',
  'admin_delete',
  'health',
  'docs',
  'default',
] as const

export type LimitClass = (typeof LIMIT_CLASSES)[number]
export type RateLimits = Readonly<Record<LimitClass, readonly RateWindow[]>>

const DEFAULTS: Readonly<Record<LimitClass, string>> = {
  enforce: '1000/minute',
  log_submit: '1000/minute',
  log_query: '100/minute',
  admin_create: '50/hour',
  admin_read: '200/hour',
  admin_delete: '20/hour',
  health: '100/minute',
  docs: '50/minute',
  default: '100/minute;1000/hour',
}

const SECONDS: Readonly<Record<string, number>> = { second: 1, minute: 60, hour: 3600, day: 86_400 }
const WINDOW = /^([1-9]\d{0,8})\/(second|minute|hour|day|[1-9]\d{0,5})$/

/**
 * Reads `100/minute;1000/hour` or `100000/60` (seconds) as the windows of a class.
 * @returns null when the text is not such a list.
 */
export function parseWindows(limitClass: LimitClass, text: string): readonly RateWindow[] | null {
  const windows: RateWindow[] = []
  for (const part of text.split(';')) {
    const match = WINDOW.exec(part.trim())
    if (!match) return null
    const [, limit = '', unit = ''] = match
    const seconds = SECONDS[unit] ?? Number(unit)
    const name = windows.length === 0 ? limitClass : `${limitClass}-${seconds}s`
    if (windows.some((other) => other.seconds === seconds)) return null
    windows.push({ name, limit: Number(limit), seconds })
  }
  return windows
}

/** The table as documented, with `overrides` in place of the classes they name. */
export function rateLimits(overrides: Partial<Record<LimitClass, readonly RateWindow[]>> = {}): RateLimits {
  const entries = LIMIT_CLASSES.map((name) => [name, overrides[name] ?? parseWindows(name, DEFAULTS[name])])
  return Object.fromEntries(entries) as RateLimits
}

/**
 * Reads `RATE_LIMITS`: `enforce=100000/60, admin_read=1000/hour, default=100/minute;1000/hour`.
 * @returns the overrides, or a sentence about the first part that cannot be read.
 */
export function parseRateLimits(text: string): Partial<Record<LimitClass, readonly RateWindow[]>> | string {
  const overrides: Partial<Record<LimitClass, readonly RateWindow[]>> = {}
  for (const part of text.split(',').filter((entry) => entry.trim() !== '')) {
    const at = part.indexOf('=')
    const name = part.slice(0, Math.max(at, 0)).trim()
    const limitClass = LIMIT_CLASSES.find((known) => known === name)
    if (!limitClass) return `"${part.trim()}" names no limit; there are ${LIMIT_CLASSES.join(', ')}`
    const windows = parseWindows(limitClass, part.slice(at + 1))
    if (!windows) return `"${part.trim()}" must look like ${limitClass}=100/minute or ${limitClass}=1000/3600`
    overrides[limitClass] = windows
  }
  return overrides
}
