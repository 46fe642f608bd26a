import { applyDecorators } from '@nestjs/common'
import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger'
import { Transform, Type } from 'class-transformer'
import { IsBoolean, IsIn, IsObject, IsString, ValidateBy, ValidateIf, ValidateNested } from 'class-validator'
import { RISK_LEVELS } from '../../core/risk.js'

/**
 * Field decorators for DTO classes: each validates, transforms and documents, so that a field has one line.
 * Query parameters arrive as text; the `Query…` decorators read it narrowly (`01`, `1e3`, `TRUE` are refused).
 */

/** May be left out. Unlike class-validator's `IsOptional`, null is not nothing. */
export const Optional = () => ValidateIf((_, value: unknown) => value !== undefined)

/**
 * A JSON object with the caller's own keys, kept as it was sent. Left alone, class-transformer copies it and loses
 * members that are called like a method of every object (`toString`).
 */
export const FreeForm = () =>
  applyDecorators(
    Transform(({ obj, key }: { obj: Record<string, unknown>; key: string }) => obj[key]),
    IsObject({ message: 'must be a JSON object' }),
    ApiPropertyOptional({ type: 'object', additionalProperties: true }),
  )

/**
 * A list of `min` to `max` objects of one DTO class; their mistakes have paths such as `requests[3].action`. What is
 * no such list is refused before its members are looked at: a body of a megabyte holds 300,000 of them.
 */
export const ListOf = (item: () => new () => object, { min, max }: { min: number; max: number }) =>
  applyDecorators(
    Transform(({ value }: { value: unknown }) => (isListOfObjects(value, min, max) ? value : undefined)),
    ValidateBy(
      { name: 'isListOf', validator: { validate: (value: unknown) => Array.isArray(value) } },
      { message: `must be a list of ${min} to ${max} JSON objects` },
    ),
    ValidateNested({ each: true, message: 'must be JSON objects' }),
    Type(item),
    ApiProperty({ type: () => [item()], minItems: min, maxItems: max }),
  )

const isListOfObjects = (value: unknown, min: number, max: number): boolean =>
  Array.isArray(value) &&
  isBetween(value.length, min, max) &&
  value.every((item) => typeof item === 'object' && item !== null && !Array.isArray(item))

/** Text of `min` to `max` characters. One message, whatever is wrong with it. */
export const Text = (min: number, max: number) =>
  applyDecorators(
    ValidateBy(
      { name: 'isTextBetween', validator: { validate: (value: unknown) => isText(value, min, max) } },
      { message: `must be text of ${min} to ${max} characters` },
    ),
    ApiProperty({ type: String, minLength: min, maxLength: max }),
  )

/** Optional text that the core reads, and says what is wrong with: `max` is for the documentation alone. */
export const CoreText = (max: number) =>
  applyDecorators(
    Optional(),
    IsString({ message: 'must be a string' }),
    ApiPropertyOptional({ type: String, maxLength: max }),
  )

export const NAME_MESSAGE = 'must be one line of text of 1 to 255 characters'

/** Whether a text can be such a name, apart from white space around it. */
export const isName = (value: unknown): boolean => isText(value, 1, 255) && /^\P{Cc}*$/u.test(String(value))

/** A name that people gave: one line of 1 to 255 characters, without white space around it. */
export const Name = () =>
  applyDecorators(
    Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? value.trim() : value)),
    ValidateBy(
      {
        name: 'isName',
        validator: {
          validate: isName,
        },
      },
      { message: NAME_MESSAGE },
    ),
    ApiProperty({ type: String, minLength: 1, maxLength: 255 }),
  )

/** Counts characters, not UTF-16 units; the first look keeps a huge text from being counted. */
const isText = (value: unknown, min: number, max: number): boolean =>
  typeof value === 'string' && value.length <= 2 * max && isBetween(Array.from(value).length, min, max)

const WHOLE = /^-?(0|[1-9]\d{0,14})$/

const IsWholeBetween = (min: number, max: number) =>
  ValidateBy(
    {
      name: 'isWholeBetween',
      validator: {
        validate: (value: unknown) => Number.isInteger(value) && isBetween(Number(value), min, max),
      },
    },
    { message: `must be a whole number from ${min} to ${max}` },
  )

/** Optional query parameter: a whole number in a range. */
export const QueryInt = ({ min, max, default: fallback }: { min: number; max: number; default?: number }) =>
  applyDecorators(
    Transform(({ value }: { value: unknown }) =>
      typeof value === 'string' && WHOLE.test(value) ? Number(value) : value,
    ),
    Optional(),
    IsWholeBetween(min, max),
    ApiPropertyOptional({
      type: 'integer',
      minimum: min,
      maximum: max,
      ...(fallback === undefined ? {} : { default: fallback }),
    }),
  )

const isBetween = (value: number, min: number, max: number): boolean => value >= min && value <= max

/** Optional member of a body: a whole number in a range. */
export const WholeField = ({ min, max }: { min: number; max: number }) =>
  applyDecorators(
    Optional(),
    IsWholeBetween(min, max),
    ApiPropertyOptional({ type: 'integer', minimum: min, maximum: max }),
  )

/** Optional query parameter: `true` or `false`. */
export const QueryBoolean = () =>
  applyDecorators(
    Transform(({ value }: { value: unknown }) =>
      value === 'true' ? true : value === 'false' ? false : value,
    ),
    Optional(),
    IsBoolean({ message: 'must be true or false' }),
    ApiPropertyOptional({ type: Boolean }),
  )

const INSTANT = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$/

/**
 * Reads an RFC 3339 instant. The offset is required: a time without one means something else on every machine.
 * @returns null for text that is none, also for a 30th of February.
 */
export function parseInstant(text: string): Date | null {
  const match = INSTANT.exec(text)
  if (!match) return null
  const [, year, month, day, hour, minute, second] = match.map(Number)
  const days = new Date(Date.UTC(year ?? 0, month ?? 0, 0)).getUTCDate()
  if (!month || month > 12 || !day || day > days) return null
  if ((hour ?? 24) > 23 || (minute ?? 60) > 59 || (second ?? 60) > 59) return null
  const at = new Date(text.toUpperCase())
  // Outside these years PostgreSQL and JSON write dates in other forms.
  return Number.isNaN(at.getTime()) || at.getTime() < 0 || at.getTime() > MAX_INSTANT ? null : at
}

const MAX_INSTANT = Date.UTC(9999, 11, 31, 23, 59, 59, 999)

/** An instant as RFC 3339 text, given to the service as a Date. Combine with `Optional()` where it may be absent. */
export const Instant = () =>
  applyDecorators(
    Transform(({ value }: { value: unknown }) =>
      typeof value === 'string' ? (parseInstant(value) ?? value) : value,
    ),
    ValidateBy(
      { name: 'isInstant', validator: { validate: (value: unknown) => value instanceof Date } },
      { message: 'must be an RFC 3339 time with offset, such as 2026-01-31T08:00:00Z' },
    ),
    ApiProperty({ type: String, format: 'date-time', example: '2026-01-31T08:00:00Z' }),
  )

/** How much harm an agent can do: one of the levels, or null for an agent that nobody has rated. */
export const RiskField = () =>
  applyDecorators(
    Optional(),
    IsIn([...RISK_LEVELS, null], { message: `must be one of ${RISK_LEVELS.join(', ')}, or null` }),
    ApiPropertyOptional({ type: String, enum: RISK_LEVELS, nullable: true }),
  )

/** The name of a workflow, or null for none. Whether there is such a workflow, the service looks up. */
export const WorkflowNameField = () =>
  applyDecorators(
    Optional(),
    ValidateBy(
      {
        name: 'isWorkflowName',
        validator: { validate: (value: unknown) => value === null || isText(value, 1, 63) },
      },
      { message: 'must be the name of a workflow, or null' },
    ),
    ApiPropertyOptional({ type: String, nullable: true, maxLength: 63 }),
  )

export const ENVIRONMENTS = ['dev', 'stage', 'prod'] as const
export type EnvironmentName = (typeof ENVIRONMENTS)[number]

const LONG_ENVIRONMENTS: Readonly<Record<string, EnvironmentName>> = {
  development: 'dev',
  staging: 'stage',
  production: 'prod',
}

/** The short word for an environment (C1: long words are accepted on input); anything else as it came. */
export const shortEnvironment = (value: unknown): unknown =>
  typeof value === 'string' && Object.hasOwn(LONG_ENVIRONMENTS, value) ? LONG_ENVIRONMENTS[value] : value

/** `dev`, `stage` or `prod`, or their long words. Combine with `Optional()` in filters. */
export const EnvironmentField = () =>
  applyDecorators(
    Transform(({ value }: { value: unknown }) => shortEnvironment(value)),
    IsIn(ENVIRONMENTS, { message: `must be one of ${ENVIRONMENTS.join(', ')}` }),
    ApiProperty({
      enum: ENVIRONMENTS,
      description: 'The long words development, staging and production are accepted as well.',
    }),
  )
