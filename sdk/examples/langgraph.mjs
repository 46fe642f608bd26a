// A LangGraph agent whose tools ask first. Put your model in the place of the scripted node.
import { AgentGuard } from '@agentguard/sdk'
import { guardTools } from '@agentguard/sdk/langchain'
import { AIMessage } from '@langchain/core/messages'
import { tool } from '@langchain/core/tools'
import { MessagesAnnotation, StateGraph } from '@langchain/langgraph'
import { ToolNode } from '@langchain/langgraph/prebuilt'
import { z } from 'zod'

const guard = new AgentGuard().guard() // AGENTGUARD_AGENT_KEY, AGENTGUARD_URL

const schema = z.object({ path: z.string() })
const tools = guardTools(
  guard,
  [
    tool(({ path }) => `the text of ${path}`, { name: 'read_file', description: 'Reads a file', schema }),
    tool(({ path }) => `${path} is gone`, { name: 'delete_file', description: 'Deletes a file', schema }),
  ],
  { resource: ({ path }) => path },
)

const script = ['read_file', 'delete_file']
const model = () => {
  const name = script.shift()
  const call = { name, args: { path: 'report.pdf' }, id: `call_${name}`, type: 'tool_call' }
  return { messages: [new AIMessage(name ? { content: '', tool_calls: [call] } : 'done')] }
}
const graph = new StateGraph(MessagesAnnotation)
  .addNode('model', model)
  .addNode('tools', new ToolNode(tools))
  .addEdge('__start__', 'model')
  .addConditionalEdges('model', ({ messages }) => (messages.at(-1).tool_calls?.length ? 'tools' : '__end__'))
  .addEdge('tools', 'model')
  .compile()

const { messages } = await graph.invoke({ messages: [] })
for (const { name, content } of messages) if (name) console.log(`${name}: ${content}`)
