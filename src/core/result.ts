/** The outcome of reading or compiling: a value, or everything that was wrong. Errors are values here, not throws. */
export type Result<T, E> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly errors: E }

export const ok = <T>(value: T): { readonly ok: true; readonly value: T } => ({ ok: true, value })
export const err = <E>(errors: E): { readonly ok: false; readonly errors: E } => ({ ok: false, errors })
