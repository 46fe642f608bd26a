/** `@agentguard/sdk/ai-sdk`: tools of the Vercel AI SDK (`ai`). */
import type { Guard } from '../guard/guard.js'
import type { ToolsOptions } from '../guard/options.js'

export interface AiSdkOptions extends ToolsOptions {
  /** Names of tools without `execute` (they run in a browser or at the provider), which cannot be guarded here. */
  elsewhere?: readonly string[]
}

type Execute = (input: unknown, options: { abortSignal?: AbortSignal }) => unknown

/**
 * The same tools, each asking before it executes. What is not allowed throws, which the AI SDK hands to the model as
 * the tool's error.
 * @throws TypeError for a tool without `execute` that is not named in `elsewhere`: it would run unguarded
 */
export function guardTools<T extends Readonly<Record<string, object>>>(
  guard: Guard,
  tools: T,
  { elsewhere = [], ...options }: AiSdkOptions = {},
): T {
  const guarded = Object.entries(tools).map(([name, tool]) => {
    const { execute } = tool as { execute?: Execute }
    if (!execute) {
      if (elsewhere.includes(name)) return [name, tool]
      throw new TypeError(`The tool ${name} has no execute, so it cannot be guarded: name it in "elsewhere".`)
    }
    const asking: Execute = (input, facts) => {
      const act = async () => last(await execute.call(tool, input, facts))
      return guard.call(name, input, act, options, { signal: facts.abortSignal })
    }
    return [name, { ...tool, execute: asking }]
  })
  return Object.fromEntries(guarded) as T
}

/** A tool may stream parts of its output; the last one is the output. */
async function last(result: unknown): Promise<unknown> {
  if (typeof result !== 'object' || result === null || !(Symbol.asyncIterator in result)) return result
  let output: unknown
  for await (const part of result as AsyncIterable<unknown>) output = part
  return output
}
