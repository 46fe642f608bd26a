/**
 * Every error this service can answer with, once: RFC 9457 problem types by `code`.
 * Programs switch on `code`; people read `title` and `detail`.
 */
export interface ProblemKind {
  readonly status: number
  readonly title: string
  /** RFC 9457 `type` where a registered one exists; otherwise `problemType` names our own. */
  readonly type?: string
}

/** The types of AuthZEN's Access Request and Approval Profile (Draft 1), whose routes answer with these. */
const ACCESS_REQUEST = 'urn:openid:authzen:access-request:error:'

export const PROBLEMS = {
  bad_request: { status: 400, title: 'The request cannot be read' },
  malformed_json: { status: 400, title: 'The body is not valid JSON' },
  duplicate_header: { status: 400, title: 'A header that must be sent once was sent several times' },
  credentials_disagree: { status: 400, title: 'Two credentials were sent that are not one and the same' },
  unauthenticated: { status: 401, title: 'Credentials are required' },
  invalid_credentials: { status: 401, title: 'The credentials are not valid' },
  invalid_token: { status: 401, title: 'Invalid or expired token' },
  token_revoked: { status: 401, title: 'Token has been revoked' },
  sign_on_failed: { status: 401, title: 'Single sign-on failed' },
  forbidden: { status: 403, title: 'This principal may not do this' },
  csrf_refused: { status: 403, title: 'This request may have been forged by another site' },
  sign_on_refused: { status: 403, title: 'Single sign-on does not let you in' },
  not_found: { status: 404, title: 'There is nothing here' },
  organization_not_found: { status: 404, title: 'Organization not found' },
  admin_key_not_found: { status: 404, title: 'Administrator key not found' },
  role_not_found: { status: 404, title: 'Role not found' },
  team_not_found: { status: 404, title: 'Team not found' },
  agent_not_found: { status: 404, title: 'Agent not found' },
  key_not_found: { status: 404, title: 'Key not found' },
  policy_not_found: { status: 404, title: 'No policy found' },
  policy_version_not_found: { status: 404, title: 'Policy version not found' },
  member_not_found: { status: 404, title: 'Member not found' },
  invitation_not_found: { status: 404, title: 'Invitation not found' },
  single_sign_on_not_found: { status: 404, title: 'No single sign-on' },
  session_not_found: { status: 404, title: 'Session not found' },
  link_not_valid: { status: 404, title: 'This link is not valid' },
  webhook_not_found: { status: 404, title: 'Webhook not found' },
  kill_switch_not_found: { status: 404, title: 'Kill switch not found' },
  approval_not_found: { status: 404, title: 'Approval not found' },
  unknown_task: { status: 404, title: 'Task not found', type: `${ACCESS_REQUEST}unknown_task` },
  workflow_not_found: { status: 404, title: 'Workflow not found' },
  log_not_found: { status: 404, title: 'Log entry not found' },
  method_not_allowed: { status: 405, title: 'This method is not served here' },
  not_acceptable: { status: 406, title: 'Only JSON can be answered' },
  request_incomplete: { status: 408, title: 'The request did not arrive in time' },
  conflict: { status: 409, title: 'The request conflicts with the present state' },
  last_owner: { status: 409, title: 'An organization needs an owner' },
  organization_ambiguous: { status: 409, title: 'Several organizations know this password' },
  idempotency_conflict: { status: 409, title: 'This Idempotency-Key was used for another request' },
  idempotency_in_progress: { status: 409, title: 'A request with this Idempotency-Key has not finished' },
  payload_too_large: { status: 413, title: 'The body is too large' },
  unsupported_media_type: { status: 415, title: 'Send application/json' },
  not_requestable: {
    status: 400,
    title: 'Nobody can be asked for this',
    type: `${ACCESS_REQUEST}not_requestable`,
  },
  invalid_denial_binding: {
    status: 400,
    title: 'This is not what was denied',
    type: `${ACCESS_REQUEST}invalid_denial_binding`,
  },
  invalid_task_state: {
    status: 409,
    title: 'The task is not in a state for this',
    type: `${ACCESS_REQUEST}invalid_task_state`,
  },
  expired_denial: {
    status: 410,
    title: 'The time to ask for this is over',
    type: `${ACCESS_REQUEST}expired_denial`,
  },
  validation_failed: { status: 422, title: 'Request validation failed' },
  headers_too_large: { status: 431, title: 'The request headers are too large' },
  rate_limit_exceeded: {
    status: 429,
    title: 'Too many requests',
    type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
  },
  too_many_failures: { status: 429, title: 'Signing in failed too often' },
  internal_server_error: { status: 500, title: 'Something failed here' },
  not_ready: { status: 503, title: 'The service cannot answer safely right now' },
  ledger_busy: { status: 503, title: 'The ledger is busy' },
  ledger_unavailable: { status: 503, title: 'The decision could not be recorded, so none was given' },
  decision_stale: { status: 503, title: 'The configuration kept changing while the request was decided' },
  request_timeout: { status: 503, title: 'The request took too long' },
} as const satisfies Record<string, ProblemKind>

export type ProblemCode = keyof typeof PROBLEMS

/** One thing wrong with the input: `path` as in `deny[2].action`, empty for the body as a whole. */
export interface FieldError {
  path: string
  message: string
  code?: string
}

/** As many as an answer names: enough to repair an input by, and a hostile one makes no larger answer than request. */
export const MAX_ERRORS = 100

export interface ProblemOptions {
  /** What the caller should know or do next. Never internals. */
  detail?: string
  errors?: readonly FieldError[]
  /** Seconds, sent as Retry-After. */
  retry_after?: number
  /** Further members of the problem document, such as `violated-policies`. Never internals. */
  extensions?: Readonly<Record<string, unknown>>
  /** Stays in the logs. */
  cause?: unknown
}

/** The one error that services throw. `code` decides status and title (RFC 9457). */
export class Problem extends Error {
  readonly status: number
  readonly title: string
  readonly detail: string | undefined
  readonly errors: readonly FieldError[] | undefined
  readonly retry_after: number | undefined
  readonly extensions: Readonly<Record<string, unknown>> | undefined

  constructor(
    readonly code: ProblemCode,
    options: ProblemOptions = {},
  ) {
    super(options.detail ?? PROBLEMS[code].title, { cause: options.cause })
    this.name = 'Problem'
    this.status = PROBLEMS[code].status
    this.title = PROBLEMS[code].title
    this.detail = options.detail
    this.errors = options.errors
    this.retry_after = options.retry_after
    this.extensions = options.extensions
  }
}

/** The same for an agent that is not there, of another organization or out of reach: nobody learns which. */
export const agentNotFound = (agent_id: string): Problem =>
  new Problem('agent_not_found', { detail: `Agent ${agent_id} not found` })

/** RFC 9457 `type`: the registered one, else a URN of our own that never changes. */
export function problemType(code: ProblemCode): string {
  const kind: ProblemKind = PROBLEMS[code]
  return kind.type ?? `urn:agentguard:problem:${code}`
}
