import { AgentGuardError, type APIError } from '../errors.js'
import type { Decision, EnforceRequest } from '../types.js'

/** What was asked, in words. */
const asked = ({ action, resource }: EnforceRequest): string =>
  resource === undefined ? action : `${action} on ${resource}`

/** The action was not done, because it is not allowed. */
export class AgentGuardDenied extends AgentGuardError {
  static readonly className: string = 'AgentGuardDenied'
  readonly action: string
  readonly resource: string | undefined

  constructor(
    request: EnforceRequest,
    /** The service's `code`; `changed_after_decision`, `approval_denied`, `approval_expired`, `approval_cancelled`. */
    readonly code: string,
    readonly reason: string,
    /** What the log has about it. */
    readonly decision_id: string | undefined,
  ) {
    super(`AgentGuard denied "${asked(request)}": ${reason}`)
    this.action = request.action
    this.resource = request.resource
  }
}

/** The action was not done, because a person has to approve it first. */
export class ApprovalPending extends AgentGuardError {
  static readonly className: string = 'ApprovalPending'
  readonly action: string
  readonly resource: string | undefined
  readonly code = 'approval_pending'

  constructor(
    request: EnforceRequest,
    readonly decision: Decision,
    /** What the person decides; the same call with it is done once it is approved. */
    readonly approval_id: string | undefined,
  ) {
    super(
      `AgentGuard: "${asked(request)}" waits for the approval of a person` +
        (approval_id === undefined ? '.' : ` (${approval_id}).`),
    )
    this.action = request.action
    this.resource = request.resource
  }
}

/** The action was not done, because nobody could say whether it is allowed. `failure` says why. */
export class AgentGuardUnavailable extends AgentGuardError {
  static readonly className: string = 'AgentGuardUnavailable'
  readonly action: string
  readonly resource: string | undefined
  readonly code: string

  constructor(
    request: EnforceRequest,
    readonly failure: APIError | AgentGuardError,
  ) {
    super(`AgentGuard gave no decision about "${asked(request)}", so it was not done. ${failure.message}`)
    this.action = request.action
    this.resource = request.resource
    this.code = (failure as { code?: string }).code ?? 'unavailable'
  }
}
