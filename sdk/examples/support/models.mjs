// A model that calls these tools at once and then stops, so that the examples run without a provider.
import { MockLanguageModelV3 } from 'ai/test'

const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: 1, text: 1, reasoning: 0 },
}

export function scriptedModel(...calls) {
  let turn = 0
  return new MockLanguageModelV3({
    doGenerate: async () => {
      const first = turn++ === 0
      const content = calls.map(([toolName, path], i) => ({
        type: 'tool-call',
        toolCallId: `call_${i}`,
        toolName,
        input: JSON.stringify({ path }),
      }))
      return {
        content: first ? content : [{ type: 'text', text: 'done' }],
        finishReason: { unified: first ? 'tool-calls' : 'stop', raw: undefined },
        usage,
        warnings: [],
      }
    },
  })
}
