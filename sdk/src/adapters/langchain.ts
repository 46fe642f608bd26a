/** `@agentguard/sdk/langchain`: tools of LangChain.js, also in LangGraph (`@langchain/core`). */
import type { Guard } from '../guard/guard.js'
import type { ToolsOptions } from '../guard/options.js'

interface Callable {
  readonly name: string
  _call(input: unknown, manager?: unknown, config?: { signal?: AbortSignal }): unknown
}

/**
 * The same tools, each asking before it is called. What is not allowed throws; LangGraph's ToolNode hands that to the
 * model as a ToolMessage with the status `error`.
 * @throws TypeError for what is no tool of LangChain: it would run unguarded
 */
export function guardTools<T extends { readonly name: string }>(
  guard: Guard,
  tools: readonly T[],
  options: ToolsOptions = {},
): T[] {
  return tools.map((tool) => {
    const inner = tool as unknown as Callable
    if (typeof inner._call !== 'function')
      throw new TypeError(`${tool.name} is no tool of LangChain, so it cannot be guarded.`)
    const call: Callable['_call'] = (input, manager, config) => {
      const act = async () => output(await inner._call(input, manager, config))
      return guard.call(tool.name, input, act, options, { signal: config?.signal })
    }
    // The tool itself with one method of its own: schema, callbacks and class stay as they are.
    return Object.create(tool, { _call: { value: call } }) as T
  })
}

/** A tool may yield events before it returns its output. */
async function output(result: unknown): Promise<unknown> {
  const events = result as Partial<AsyncGenerator<unknown, unknown>> | null
  if (typeof events?.next !== 'function' || !(Symbol.asyncIterator in Object(result))) return result
  for (;;) {
    const step = await events.next()
    if (step.done) return step.value
  }
}
