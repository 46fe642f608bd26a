import { AgentGuardError, APIError } from '../errors.js'
import { sleep } from '../transport.js'
import type { ActionReport, ApprovalState, Decision, EnforceRequest } from '../types.js'
import { AgentGuardDenied, AgentGuardUnavailable, ApprovalPending } from './errors.js'
import type { Decider, GuardOptions, ToolOptions, ToolsOptions } from './options.js'

const DEFAULT_TIMEOUT_MS = 300_000
const DEFAULT_POLL_MS = 3_000

/** A function that asks before it acts. */
export interface GuardedTool<A extends unknown[], R> {
  (...args: A): Promise<R>
  /** The same function, once more, with the approval that a person has given: it is used up by one call. */
  withApproval(approval_id: string): (...args: A) => Promise<R>
}

/** What is known of one call. */
export interface CallFacts {
  readonly signal?: AbortSignal | undefined
  readonly given?: Decision | undefined
  readonly approval_id?: string | undefined
}

/**
 * Puts the service in front of functions: a function runs only after an answer that allows exactly this call.
 * Everything else throws: `AgentGuardDenied`, `ApprovalPending`, or `AgentGuardUnavailable`.
 */
export class Guard {
  constructor(
    private readonly decider: Decider,
    private readonly options: GuardOptions = {},
  ) {}

  /**
   * The function, guarded.
   * @param action as in a policy, in any spelling: `read file`, `readFile`
   */
  tool<A extends unknown[], R>(
    action: string,
    fn: (...args: A) => R | PromiseLike<R>,
    options: ToolOptions<A> = {},
  ): GuardedTool<A, Awaited<R>> {
    const run = (approval_id: string | undefined, args: A): Promise<Awaited<R>> =>
      this.run(
        () => ({ ...describe(action, options, args), ...(approval_id !== undefined && { approval_id }) }),
        () => fn(...args),
        options,
        options.signal?.(...args),
      )
    return Object.assign((...args: A) => run(undefined, args), {
      withApproval:
        (approval_id: string) =>
        (...args: A) =>
          run(approval_id, args),
    })
  }

  /**
   * A call of a framework's tool. The action is the tool's name (`read_file` is `read file`).
   * @param given a decision that was just made about this very call
   */
  call<R>(
    name: string,
    args: unknown,
    act: () => R | PromiseLike<R>,
    options: ToolsOptions = {},
    { signal, given, approval_id }: CallFacts = {},
  ): Promise<Awaited<R>> {
    const { tools: _, resource: __, ...common } = options
    const describe = () => ({
      ...this.describe(name, args, options),
      ...(approval_id !== undefined && { approval_id }),
    })
    return this.run(describe, act, { ...common, ...ownOptions(name, options) }, signal, given)
  }

  /** What `call` asks. */
  describe(name: string, args: unknown, options: ToolsOptions = {}): EnforceRequest {
    const own = ownOptions(name, options)
    const called = plainObject(args) ?? (args === undefined ? {} : { input: args })
    const request = describe(own?.action ?? name, (own ?? {}) as ToolOptions<unknown[]>, [called])
    const resource = own?.resource === undefined ? options.resource?.(called, name) : undefined
    return resource === undefined ? request : { ...request, resource }
  }

  /** Asks and does nothing. */
  ask(request: EnforceRequest, signal?: AbortSignal): Promise<Decision> {
    return this.decider.enforce(request, { ...(signal && { signal }) })
  }

  /**
   * Asks about what `describe` says, acts when it is allowed, and reports how it went.
   * @param describe is called again before acting: arguments that changed since they were decided about are not used
   */
  async run<R>(
    describe: () => EnforceRequest,
    act: () => R | PromiseLike<R>,
    options: GuardOptions = {},
    signal?: AbortSignal,
    given?: Decision,
  ): Promise<Awaited<R>> {
    const text = JSON.stringify(describe())
    const request = JSON.parse(text) as EnforceRequest
    const settings = { ...this.options, ...options }
    const decision = await this.permission(request, settings, signal, given)
    if (JSON.stringify(describe()) !== text) {
      const reason = 'its arguments changed after they were decided about.'
      throw new AgentGuardDenied(request, 'changed_after_decision', reason, decision?.decision_id)
    }
    const { action, resource } = request
    const about = {
      action,
      allowed: true,
      ...(resource !== undefined && { resource }),
      ...(decision && { decision_id: decision.decision_id }),
    }
    let result: Awaited<R>
    try {
      result = await act()
    } catch (error) {
      const metadata = { error: error instanceof Error ? error.name : typeof error }
      await this.report({ ...about, result: 'error', metadata }, settings)
      throw error
    }
    await this.report({ ...about, result: 'success' }, settings)
    return result
  }

  /** The decision that allows the request; null when `onUnavailable` let it through without one. */
  private async permission(
    request: EnforceRequest,
    options: GuardOptions,
    signal: AbortSignal | undefined,
    given: Decision | undefined,
  ): Promise<Decision | null> {
    let decision: Decision
    try {
      decision = given ?? (await this.ask(request, signal))
    } catch (error) {
      return this.unavailable(request, asFailure(error), options)
    }
    if (decision.status === 'pending') decision = await this.approval(request, decision, options, signal)
    // Exactly this and nothing that merely looks like it.
    if (decision.allowed === true && decision.status === 'allowed') return decision
    throw new AgentGuardDenied(request, decision.code, decision.reason, decision.decision_id)
  }

  private async unavailable(
    request: EnforceRequest,
    failure: AgentGuardError,
    { onUnavailable = 'deny' }: GuardOptions,
  ): Promise<null> {
    if (onUnavailable === 'deny' || request.approval_id !== undefined || !isOutage(failure))
      throw new AgentGuardUnavailable(request, failure)
    await onUnavailable.allow({ request, failure })
    return null
  }

  /** Waits for the person, then asks again with the grant. */
  private async approval(
    request: EnforceRequest,
    decision: Decision,
    { waitForApproval = false }: GuardOptions,
    signal: AbortSignal | undefined,
  ): Promise<Decision> {
    const approval_id = decision.approval_id ?? undefined
    const pending = new ApprovalPending(request, decision, approval_id)
    if (waitForApproval === false || approval_id === undefined || request.approval_id !== undefined)
      throw pending
    const wait = waitForApproval === true ? {} : waitForApproval
    const status = await this.waitFor(approval_id, wait, signal).catch((error: unknown) => {
      throw new AgentGuardUnavailable(request, asFailure(error))
    })
    if (status === 'pending') throw pending
    if (status !== 'approved') {
      const reason = `the approval is ${status}.`
      throw new AgentGuardDenied(request, `approval_${status}`, reason, decision.decision_id)
    }
    const options = { ...(signal && { signal }) }
    try {
      const granted = await this.decider.enforce({ ...request, approval_id }, options)
      if (granted.status === 'pending') throw new ApprovalPending(request, granted, approval_id)
      return granted
    } catch (error) {
      throw error instanceof ApprovalPending ? error : new AgentGuardUnavailable(request, asFailure(error))
    }
  }

  /**
   * Waits until a person has decided. A failure that may pass is waited out like a person who has not.
   * @returns `pending` when the time was over first
   */
  async waitFor(
    approval_id: string,
    { timeoutMs = DEFAULT_TIMEOUT_MS, pollMs = DEFAULT_POLL_MS } = {},
    signal?: AbortSignal,
  ): Promise<ApprovalState['status']> {
    const end = performance.now() + timeoutMs
    for (;;) {
      try {
        const { status } = await this.decider.approvals.state(approval_id, { ...(signal && { signal }) })
        if (status !== 'pending') return status
      } catch (error) {
        if (!(error instanceof APIError && error.retryable)) throw error
      }
      if (performance.now() + pollMs > end) return 'pending'
      await sleep(pollMs, signal, approval_id)
    }
  }

  private async report(report: ActionReport, { report: wanted = true, onReportFailed }: GuardOptions) {
    if (!wanted) return
    try {
      await this.decider.logs.report(report)
    } catch (error) {
      // The action is done: its result must not be lost because the report of it was.
      if (onReportFailed) onReportFailed(error, report)
      // eslint-disable-next-line no-console -- the last place where this can be said
      else console.warn(`AgentGuard: "${report.action}" was done but not reported. ${String(error)}`)
    }
  }
}

/** Settings of one tool; a model may call a tool `constructor`. */
const ownOptions = (name: string, { tools = {} }: ToolsOptions) =>
  Object.hasOwn(tools, name) ? tools[name] : undefined

/** No connection, no answer in time, or 5xx; not 429 and not an answer of somebody else. */
const isOutage = (failure: AgentGuardError): boolean =>
  failure instanceof APIError &&
  (failure.code === 'connection_failed' || failure.code === 'timeout' || (failure.status ?? 0) >= 500)

function asFailure(error: unknown): AgentGuardError {
  if (error instanceof AgentGuardError) return error
  return new AgentGuardError(error instanceof Error ? error.message : 'The decision failed.')
}

function describe<A extends unknown[]>(action: string, options: ToolOptions<A>, args: A): EnforceRequest {
  const { resource, context, arguments: given } = options
  const of = typeof resource === 'function' ? resource(...args) : resource
  const about = typeof context === 'function' ? context(...args) : context
  const called = given === false ? undefined : given ? given(...args) : plainObject(args[0])
  return {
    action,
    ...(of !== undefined && { resource: of }),
    ...(called && { arguments: called }),
    ...(about && { context: about }),
  }
}

function plainObject(value: unknown): Record<string, unknown> | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null ? (value as Record<string, unknown>) : undefined
}
