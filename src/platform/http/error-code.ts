/** A member of something thrown, which may be anything. */
export const errorField = (error: unknown, name: string): unknown =>
  typeof error === 'object' && error !== null && name in error
    ? (error as Record<string, unknown>)[name]
    : undefined

/** Whether an error of Node or a driver carries this `code`. */
export const hasCode = (error: unknown, code: string): boolean => errorField(error, 'code') === code
