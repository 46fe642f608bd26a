import type { AgentGuardError } from '../errors.js'
import type { RequestOptions } from '../transport.js'
import type { ActionReport, ApprovalState, Decision, EnforceRequest } from '../types.js'

/** Whom a guard asks. `AgentGuard` is one. */
export interface Decider {
  enforce(request: EnforceRequest, options?: RequestOptions): Promise<Decision>
  readonly logs: { report(report: ActionReport, options?: RequestOptions): Promise<unknown> }
  readonly approvals: { state(approval_id: string, options?: RequestOptions): Promise<ApprovalState> }
}

/** An action that nobody could decide about, and that `onUnavailable` may let through. */
export interface Incident {
  readonly request: EnforceRequest
  readonly failure: AgentGuardError
}

export interface GuardOptions {
  /**
   * What to do when the service cannot be reached (no connection, no answer in time, 5xx). Default `deny`.
   *
   * `{ allow }` does the action without a decision: `allow` is called first, with what happened, and must make it
   * known; what it throws denies. Only an outage opens: never a 401 (a revoked key), a 429 (which an agent can bring
   * about by itself), an answer that is not one, or a pending approval.
   */
  onUnavailable?: 'deny' | { allow: (incident: Incident) => void | Promise<void> }
  /**
   * Whether to wait for a person when one must approve. Default: no, the call throws `ApprovalPending`.
   * `true`: asks every 3 seconds for 5 minutes.
   */
  waitForApproval?: boolean | { timeoutMs?: number; pollMs?: number }
  /** Whether to report how the action went (`POST /logs`). Default true. */
  report?: boolean
  /** A report that could not be made changes nothing about the result. Default: a warning on the console. */
  onReportFailed?: (error: unknown, report: ActionReport) => void
}

/** How a call of a tool is described to the service. `A` are the tool's arguments. */
export interface ToolOptions<A extends readonly unknown[]> extends GuardOptions {
  /** What it is done to. */
  resource?: string | ((...args: A) => string | undefined)
  /**
   * What the call is made with: recorded encrypted, shown to whoever approves, and what the approval is bound to.
   * Default: the first argument when it is a plain object. `false`: nothing.
   */
  arguments?: false | ((...args: A) => Record<string, unknown> | undefined)
  /** Anything else worth recording. */
  context?: Record<string, unknown> | ((...args: A) => Record<string, unknown> | undefined)
  /** Ends the asking and the waiting. */
  signal?: (...args: A) => AbortSignal | undefined
}

/** How the tools of a framework are described; the framework gives name and arguments. */
export interface ToolsOptions extends GuardOptions {
  /** Settings of single tools by name, as for `guard.tool`. `action` stands for the tool's name. */
  tools?: Readonly<Record<string, ToolOptions<readonly [never]> & { action?: string }>>
  /** What a tool without a `resource` of its own is done to. */
  resource?: (args: Readonly<Record<string, unknown>>, name: string) => string | undefined
}
