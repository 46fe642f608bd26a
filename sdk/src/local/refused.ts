import { AgentGuardError } from '../errors.js'

/** Why an agent does not decide by itself now. */
export type Refusal =
  /** The lease has run out, and no new one could be got. */
  | 'lease_expired'
  /** What came is not signed by a key that is trusted, or is not about this agent or this question. */
  | 'bundle_invalid'
  /** What came is older than what was there. */
  | 'bundle_rolled_back'
  /** The service does not know the key any more, or lets no agent decide by itself. */
  | 'bundle_refused'
  /** The service decides with another engine than this package has: update the package. */
  | 'engine_unknown'
  /** More decisions wait for the service than the spool may hold. */
  | 'spool_full'
  /** The spool cannot be written: without evidence there is no action. */
  | 'spool_failed'
  /** The service does not take what was decided. */
  | 'record_refused'
  | 'closed'

/** The action was not decided about, so it must not be done. A `guard` turns it into `AgentGuardUnavailable`. */
export class LocalRefused extends AgentGuardError {
  static readonly className: string = 'LocalRefused'

  constructor(
    readonly code: Refusal,
    detail: string,
  ) {
    super(`${code}: ${detail}`)
  }
}
