/** One thing wrong with the input: `path` as in `deny[2].action`, empty for the body as a whole. */
export interface FieldError {
  readonly path: string
  readonly message: string
  readonly code?: string
}

/** Everything this package throws on purpose. No error holds a credential, a header or a body that was sent. */
export class AgentGuardError extends Error {
  constructor(message: string) {
    super(message)
    // The name of the class, also after a bundler has shortened it.
    Object.defineProperty(this, 'name', { value: nameOf(this), configurable: true })
  }
}

/** What is known of a call that failed. */
export interface Failure {
  /** HTTP status; absent when no answer came. */
  readonly status?: number
  /** From the service's closed list (`docs`, RFC 9457 `code`), or one of this package's: see each class. */
  readonly code: string
  readonly detail: string
  /** What to ask the operator about; the service's log has it too. */
  readonly request_id?: string
  /** Whether the same call may succeed later. */
  readonly retryable: boolean
  /** What is wrong with the input, all at once. */
  readonly errors?: readonly FieldError[]
  /** How long the service asks to wait. */
  readonly retry_after_s?: number
}

/** A call that gave no result. */
export class APIError extends AgentGuardError implements Failure {
  static readonly className: string = 'APIError'
  readonly status?: number
  readonly code: string
  readonly detail: string
  readonly request_id?: string
  readonly retryable: boolean
  readonly errors?: readonly FieldError[]
  readonly retry_after_s?: number

  constructor(failure: Failure) {
    const { status, code, detail, request_id, errors } = failure
    const fields = (errors ?? []).map(({ path, message }) => `\n  ${path || '(body)'}: ${message}`).join('')
    const ids = request_id === undefined ? '' : ` (request ${request_id})`
    super(`${status === undefined ? '' : `${status} `}${code}: ${detail}${ids}${fields}`)
    this.code = code
    this.detail = detail
    this.retryable = failure.retryable
    if (status !== undefined) this.status = status
    if (request_id !== undefined) this.request_id = request_id
    if (errors) this.errors = errors
    if (failure.retry_after_s !== undefined) this.retry_after_s = failure.retry_after_s
  }

  toJSON(): Failure & { name: string; message: string } {
    return { ...this, name: this.name, message: this.message }
  }
}

/** 400: the request cannot be read. */
export class BadRequestError extends APIError {
  static override readonly className: string = 'BadRequestError'
}
/** 401: no key, or one that does not authenticate: unknown, revoked, expired, or its agent is not active. */
export class AuthenticationError extends APIError {
  static override readonly className: string = 'AuthenticationError'
}
/** 403: a known principal that may not do this. */
export class PermissionDeniedError extends APIError {
  static override readonly className: string = 'PermissionDeniedError'
}
/** 404: there is no such thing, or it belongs to another organization; the two cannot be told apart. */
export class NotFoundError extends APIError {
  static override readonly className: string = 'NotFoundError'
}
/** 409: the request conflicts with the present state. */
export class ConflictError extends APIError {
  static override readonly className: string = 'ConflictError'
}
/** 422: the input is not valid; `errors` says all that is wrong. */
export class UnprocessableEntityError extends APIError {
  static override readonly className: string = 'UnprocessableEntityError'
}
/** 429: too many requests; `retry_after_s` says when to come back. */
export class RateLimitError extends APIError {
  static override readonly className: string = 'RateLimitError'
}
/** 503: the service cannot answer safely right now. A decision that could not be recorded was not given. */
export class ServiceUnavailableError extends APIError {
  static override readonly className: string = 'ServiceUnavailableError'
}
/** Any other 5xx. */
export class InternalServerError extends APIError {
  static override readonly className: string = 'InternalServerError'
}
/** No answer came: refused, cut off, or not found (`connection_failed`). */
export class APIConnectionError extends APIError {
  static override readonly className: string = 'APIConnectionError'
}
/** No whole answer came in time (`timeout`). */
export class APITimeoutError extends APIConnectionError {
  static override readonly className: string = 'APITimeoutError'
}
/** The caller's `signal` ended the call (`aborted`). */
export class APIUserAbortError extends APIError {
  static override readonly className: string = 'APIUserAbortError'
}
/**
 * An answer came that is not this service's: not JSON, without the members it must have, a redirect, or the answer of
 * another request (`unreadable_answer`). Nothing may be done because of it.
 */
export class UnreadableAnswerError extends APIError {
  static override readonly className: string = 'UnreadableAnswerError'
}
/**
 * The thing was made by an earlier attempt whose answer was lost, and with it the secret, which is shown once
 * (`secret_lost`). `made` is the thing without its secret: make it another key.
 */
export class SecretLostError extends APIError {
  static override readonly className: string = 'SecretLostError'
  readonly made: unknown
  constructor(failure: Failure, made: unknown) {
    super(failure)
    this.made = made
  }
}

function nameOf(error: AgentGuardError): string {
  const { className } = error.constructor as { className?: unknown }
  return typeof className === 'string' ? className : 'AgentGuardError'
}

/** The class of a status. */
export function errorOf(failure: Failure & { readonly status: number }): APIError {
  const Class = BY_STATUS[failure.status] ?? (failure.status >= 500 ? InternalServerError : APIError)
  return new Class(failure)
}

const BY_STATUS: Readonly<Record<number, typeof APIError>> = {
  400: BadRequestError,
  401: AuthenticationError,
  403: PermissionDeniedError,
  404: NotFoundError,
  409: ConflictError,
  422: UnprocessableEntityError,
  429: RateLimitError,
  503: ServiceUnavailableError,
}
