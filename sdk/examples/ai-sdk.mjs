// An agent on the Vercel AI SDK whose tools ask first. Put your model in the place of the scripted one.
import { AgentGuard } from '@agentguard/sdk'
import { guardTools } from '@agentguard/sdk/ai-sdk'
import { generateText, stepCountIs, tool } from 'ai'
import { z } from 'zod'
import { scriptedModel } from './support/models.mjs'

const guard = new AgentGuard().guard() // AGENTGUARD_AGENT_KEY, AGENTGUARD_URL

const path = z.object({ path: z.string() })
const tools = guardTools(
  guard,
  {
    read_file: tool({ inputSchema: path, execute: async ({ path }) => `the text of ${path}` }),
    delete_file: tool({ inputSchema: path, execute: async ({ path }) => `${path} is gone` }),
  },
  { resource: ({ path }) => path },
)

const { steps } = await generateText({
  model: scriptedModel(['read_file', 'report.pdf'], ['delete_file', 'report.pdf']),
  tools,
  stopWhen: stepCountIs(3),
  prompt: 'Read the report, then delete it.',
})
for (const part of steps.flatMap(({ content }) => content)) {
  if (part.type === 'tool-result') console.log(`${part.toolName}: ${part.output}`)
  if (part.type === 'tool-error') console.log(`${part.toolName}: ${part.error.message}`)
}
