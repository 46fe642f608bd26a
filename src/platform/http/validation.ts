import { ValidationPipe, type ValidationError } from '@nestjs/common'
import { type FieldError, MAX_ERRORS, Problem } from '../../core/problems.js'

/**
 * Validates bodies, queries and parameters against their DTO classes; unknown fields are refused. All errors at
 * once, sorted by path.
 */
export const validationPipe = () =>
  new ValidationPipe({
    whitelist: true,
    forbidNonWhitelisted: true,
    transform: true,
    stopAtFirstError: false,
    validationError: { target: false, value: false },
    exceptionFactory: (errors) => new Problem('validation_failed', { errors: fieldErrors(errors) }),
  })

/** Flattens class-validator's tree into `deny[2].action` paths. */
export function fieldErrors(errors: readonly ValidationError[]): FieldError[] {
  const found: FieldError[] = []
  for (const error of errors) collect(error, error.property, found)
  found.sort((a, b) => compare(a.path, b.path) || compare(a.message, b.message))
  return found.slice(0, MAX_ERRORS)
}

function collect(error: ValidationError, path: string, found: FieldError[]): void {
  for (const [rule, text] of Object.entries(error.constraints ?? {})) {
    found.push({
      path,
      message: rule === 'whitelistValidation' ? 'is not a known field' : message(text, error.property),
    })
  }
  for (const child of error.children ?? []) {
    // An index of an array; DTO fields are never called by a number.
    const step = /^\d+$/.test(child.property) ? `[${child.property}]` : `.${child.property}`
    collect(child, path + step, found)
  }
}

/** class-validator begins messages with the property, which the path already says. */
const message = (text: string, property: string): string =>
  text.startsWith(`${property} `) ? text.slice(property.length + 1) : text

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
