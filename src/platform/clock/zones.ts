/**
 * Time zones by their IANA names. The policy core is pure and knows none: it asks `isZone` when a policy is stored
 * and is told offsets as facts when one is evaluated (pipeline.md).
 */

/** Names only: an offset such as `+02:00` is a zone to some engines and not to others. */
const NAME = /^[A-Za-z][A-Za-z0-9_+-]*(\/[A-Za-z0-9_+-]+)*$/
const MAX_NAME_LENGTH = 64
/** A formatter takes tens of kilobytes; there are about 600 zones with their aliases. */
const MAX_ZONES = 600
const MINUTE_MS = 60_000

interface Zone {
  readonly format: Intl.DateTimeFormat
  /** The minute (since the epoch) that `offset` was computed for. */
  minute: number
  offset: number
}

const canonical: ReadonlySet<string> = new Set(Intl.supportedValuesOf('timeZone'))
const zones = new Map<string, Zone>()

/** Whether this is the name of a time zone, or an alias of one such as `US/Pacific`. */
export function isZone(name: string): boolean {
  if (canonical.has(name) || zones.has(name)) return true
  return zoneOf(name) !== null
}

/**
 * How far the zone's clocks are ahead of UTC at an instant, in whole minutes (negative: behind).
 * @throws RangeError for a name that `isZone` refuses.
 */
export function zoneOffset(name: string, now_ms: number): number {
  const zone = zoneOf(name)
  if (!zone) throw new RangeError('there is no such time zone')
  const minute = Math.floor(now_ms / MINUTE_MS)
  if (zone.minute !== minute) {
    zone.offset = offsetAt(zone.format, minute * MINUTE_MS)
    zone.minute = minute
  }
  return zone.offset
}

function zoneOf(name: string): Zone | null {
  const known = zones.get(name)
  if (known) return known
  if (name.length > MAX_NAME_LENGTH || !NAME.test(name)) return null
  const format = formatOf(name)
  if (!format) return null
  const zone: Zone = { format, minute: NaN, offset: 0 }
  const oldest = zones.keys().next()
  if (zones.size >= MAX_ZONES && !oldest.done) zones.delete(oldest.value)
  zones.set(name, zone)
  return zone
}

/** Null when the engine knows no such zone: asking it is the only complete list of aliases. */
function formatOf(timeZone: string): Intl.DateTimeFormat | null {
  try {
    return new Intl.DateTimeFormat('en-US', {
      timeZone,
      calendar: 'iso8601',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}

/** The zone's wall clock read as if it were UTC, minus UTC. Zones of before 1972 had seconds: these are dropped. */
function offsetAt(format: Intl.DateTimeFormat, at_ms: number): number {
  const wall = new Map(format.formatToParts(at_ms).map((part) => [part.type, Number(part.value)]))
  const part = (type: Intl.DateTimeFormatPartTypes): number => wall.get(type) ?? NaN
  const as_utc = Date.UTC(
    part('year'),
    part('month') - 1,
    part('day'),
    part('hour'),
    part('minute'),
    part('second'),
  )
  return Math.trunc((as_utc - at_ms) / MINUTE_MS)
}
