/** `@agentguard/sdk/openai-agents`: function tools of the OpenAI Agents SDK (`@openai/agents`). */
import { AgentGuardError } from '../errors.js'
import type { Guard } from '../guard/guard.js'
import type { ToolsOptions } from '../guard/options.js'
import type { Decision } from '../types.js'

interface Details {
  toolCall?: { callId?: string }
  signal?: AbortSignal
}
interface FunctionToolOptions {
  readonly name?: string
  readonly execute: (...args: never[]) => unknown
}
type Execute = (input: unknown, context?: unknown, details?: Details) => unknown

/** What was answered about calls that have not run yet: each answer serves one call, of the same arguments. */
const answers = new WeakMap<Guard, Map<string, { text: string; decision: Decision }>>()
const heldBy = (guard: Guard) => answers.get(guard) ?? answers.set(guard, new Map()).get(guard)

/**
 * Options for `tool(…)`: `tool(guarded(guard, { name, parameters, execute }))`. A call that a person has to approve
 * interrupts the run (`needsApproval`); `settleApprovals` waits for the person, then the run can go on.
 */
export function guarded<T extends FunctionToolOptions>(guard: Guard, tool: T, options: ToolsOptions = {}): T {
  const execute = tool.execute as unknown as Execute
  const name = tool.name ?? (tool.execute as { name?: string }).name ?? ''
  const held = heldBy(guard)
  const needsApproval = async (_: unknown, input: unknown, callId?: string): Promise<boolean> => {
    const request = guard.describe(name, input, options)
    // When there is no answer, executing asks again, and does nothing without one.
    const decision = await guard.ask(request).catch(() => undefined)
    if (!decision || callId === undefined) return false
    held?.set(callId, { text: JSON.stringify(request), decision })
    return decision.status === 'pending'
  }
  const asking: Execute = (input, context, details) => {
    const callId = details?.toolCall?.callId ?? ''
    const answer = held?.get(callId)
    held?.delete(callId)
    const same = answer?.text === JSON.stringify(guard.describe(name, input, options)) ? answer : undefined
    const approval_id =
      same?.decision.status === 'pending' ? (same.decision.approval_id ?? undefined) : undefined
    const given = approval_id === undefined ? same?.decision : undefined
    const act = () => execute(input, context, details)
    return guard.call(name, input, act, options, { given, approval_id, signal: details?.signal })
  }
  return { errorFunction: wordsFor, ...tool, needsApproval, execute: asking }
}

/** What the model reads: why it was not allowed; of other errors nothing, as the Agents SDK does. */
const wordsFor = (_: unknown, error: unknown): string =>
  error instanceof AgentGuardError ? error.message : 'An error occurred while running the tool.'

interface Interruption {
  readonly rawItem: object
}
interface Interrupted<I extends Interruption> {
  readonly interruptions?: readonly I[]
  readonly state: { approve(item: I): void; reject(item: I): void }
}

/** Waits for the people whom interrupted calls wait for, and tells the run: then `run(agent, result.state)`. */
export async function settleApprovals<I extends Interruption>(
  guard: Guard,
  { interruptions = [], state }: Interrupted<I>,
  options: { timeoutMs?: number; pollMs?: number; signal?: AbortSignal } = {},
): Promise<void> {
  for (const item of interruptions) {
    const approval_id = heldBy(guard)?.get((item.rawItem as { callId?: string }).callId ?? '')?.decision
      .approval_id
    if (!approval_id) continue // Not one of this guard's.
    const approved = (await guard.waitFor(approval_id, options, options.signal)) === 'approved'
    if (approved) state.approve(item)
    else state.reject(item)
  }
}
