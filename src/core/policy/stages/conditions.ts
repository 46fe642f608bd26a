import { ENVIRONMENTS, type CompileEnv, type Environment, type Miss } from '../stage.js'
import { type CompiledTest, compileRequest, type RequestConditions } from './request-conditions.js'

/** Conditions as the policy's author typed them (row AG-37). All given ones must hold. */
export interface Conditions {
  readonly env?: string | readonly string[]
  readonly time_range?: TimeRange
  readonly day_of_week?: string | readonly string[]
  readonly request?: RequestConditions
}

export interface TimeRange {
  readonly start: string
  readonly end: string
  readonly tz?: string
}

/** Conditions ready to evaluate. `null` parts are not asked for. */
export interface CompiledConditions {
  /** Bit n stands for `ENVIRONMENTS[n]`. */
  readonly environments: number | null
  /** Minutes of the day, both inclusive; start > end runs over midnight. */
  readonly minutes: { readonly start: number; readonly end: number } | null
  /** Bit n stands for a weekday, 0 = Sunday. */
  readonly days: number | null
  /** The zone whose offset is needed as a fact; null for UTC. */
  readonly zone: string | null
  /** What the request must carry; read by `requestHolds`, as narrowly or widely as the rule's list is. */
  readonly request: readonly CompiledTest[] | null
}

/** Minutes east of UTC at `now`, by IANA zone name. */
export type ZoneOffsets = { readonly [zone: string]: number | undefined }

const LONG_NAMES: Readonly<Record<string, Environment>> = {
  development: 'dev',
  staging: 'stage',
  production: 'prod',
}
const DAYS = ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday']
const CLOCK = /^([01][0-9]|2[0-3]):([0-5][0-9])$/
const UTC = /^utc$/i
const MINUTES_PER_DAY = 1440
const MS_PER_MINUTE = 60_000
/** 1970-01-01 was a Thursday. */
const EPOCH_DAY = 4

/** `dev|stage|prod`, or the long words `development|staging|production` (row C1), to the stored name; else null. */
export function readEnvironment(name: string): Environment | null {
  const known = ENVIRONMENTS.find((environment) => environment === name)
  if (known) return known
  return Object.hasOwn(LONG_NAMES, name) ? (LONG_NAMES[name] ?? null) : null
}

/** A weekday, full or three letters, any case (row C22): 0 = Sunday … 6 = Saturday; else null. */
export function readDay(name: string): number | null {
  const lower = name.toLowerCase()
  const day = DAYS.findIndex((full) => full === lower || full.slice(0, 3) === lower)
  return day < 0 ? null : day
}

/** `HH:MM`, 00:00 to 23:59, as minutes of the day; else null. */
export function readClock(text: string): number | null {
  const match = CLOCK.exec(text)
  return match ? Number(match[1]) * 60 + Number(match[2]) : null
}

/** Whether a `tz` can be used; UTC always can. */
export function isZone(name: string, env: CompileEnv): boolean {
  return UTC.test(name) || env.isZone(name)
}

/** Compiles conditions whose every part has been read already; null when they ask for nothing. */
export function compileConditions(conditions: Conditions | undefined): CompiledConditions | null {
  if (!conditions) return null
  const { env, time_range: range, day_of_week: week } = conditions
  const request = compileRequest(conditions.request)
  if (env === undefined && range === undefined && week === undefined && request === null) return null
  const zone = range?.tz === undefined || UTC.test(range.tz) ? null : range.tz
  return {
    environments: env === undefined ? null : bits(env, (name) => environmentBit(readEnvironment(name))),
    minutes: range ? { start: readClock(range.start) ?? 0, end: readClock(range.end) ?? 0 } : null,
    days: week === undefined ? null : bits(week, (name) => readDay(name) ?? -1),
    zone,
    request,
  }
}

function bits(names: string | readonly string[], bit: (name: string) => number): number {
  let mask = 0
  for (const name of typeof names === 'string' ? [names] : names) {
    const position = bit(name)
    if (position >= 0) mask |= 1 << position
  }
  return mask
}

const environmentBit = (environment: Environment | null): number =>
  environment === null ? -1 : ENVIRONMENTS.indexOf(environment)

/** `unknown`: a part that is asked for cannot be told, and no other part already says no. */
export type Verdict = 'yes' | 'no' | 'unknown'

/**
 * Whether all conditions but those on the request hold. Minutes are inclusive at both ends; a range whose start is later than its end runs
 * over midnight. `day_of_week` is the day of `now` in the zone of the rule's `time_range`, UTC without one: with
 * 22:00–06:00 on Friday, Friday 23:00 and Friday 05:00 are inside, Saturday 05:00 is not (row C22).
 */
export function holds(
  conditions: CompiledConditions,
  environment: string,
  now: number,
  offsets: ZoneOffsets | undefined,
): Verdict {
  let verdict: Verdict = 'yes'
  if (conditions.environments !== null) {
    const inside = inEnvironment(conditions.environments, environment)
    if (inside === 'no') return 'no'
    verdict = inside
  }
  if (conditions.minutes === null && conditions.days === null) return verdict
  const local = localMinutes(conditions.zone, now, offsets)
  if (local === null) return 'unknown'
  if (conditions.minutes !== null && !inMinutes(conditions.minutes, local)) return 'no'
  if (conditions.days !== null && !onDay(conditions.days, local)) return 'no'
  return verdict
}

/** The parts that say no, for `explain`. */
export function failedParts(
  conditions: CompiledConditions,
  environment: string,
  now: number,
  offsets: ZoneOffsets | undefined,
): readonly Miss[] {
  const failed: Miss[] = []
  const { environments, minutes, days } = conditions
  if (environments !== null && inEnvironment(environments, environment) === 'no')
    failed.push('conditions.env')
  const local = localMinutes(conditions.zone, now, offsets)
  if (local === null) return failed
  if (minutes !== null && !inMinutes(minutes, local)) failed.push('conditions.time_range')
  if (days !== null && !onDay(days, local)) failed.push('conditions.day_of_week')
  return failed
}

function inEnvironment(mask: number, name: string): Verdict {
  const bit = environmentBit(readEnvironment(name))
  if (bit < 0) return 'unknown'
  return (mask & (1 << bit)) !== 0 ? 'yes' : 'no'
}

/** Minutes since the epoch on the zone's clock, or null when the offset (or `now`) is not known. */
function localMinutes(zone: string | null, now: number, offsets: ZoneOffsets | undefined): number | null {
  if (!Number.isFinite(now)) return null
  if (zone === null) return Math.floor(now / MS_PER_MINUTE)
  if (offsets === undefined || offsets === null || !Object.hasOwn(offsets, zone)) return null
  const offset = offsets[zone]
  // No zone has ever stood a whole day from UTC: such a fact is broken, and a broken fact is a missing one.
  if (typeof offset !== 'number' || !(Math.abs(offset) < MINUTES_PER_DAY)) return null
  return Math.floor(now / MS_PER_MINUTE + offset)
}

function inMinutes(range: { readonly start: number; readonly end: number }, local: number): boolean {
  const minute = modulo(local, MINUTES_PER_DAY)
  return range.start <= range.end
    ? minute >= range.start && minute <= range.end
    : minute >= range.start || minute <= range.end
}

function onDay(mask: number, local: number): boolean {
  return (mask & (1 << modulo(Math.floor(local / MINUTES_PER_DAY) + EPOCH_DAY, 7))) !== 0
}

const modulo = (value: number, by: number): number => ((value % by) + by) % by
