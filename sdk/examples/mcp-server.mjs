// An MCP server whose tools ask first. Serve it over stdio: new StdioServerTransport(); here a client in the same
// process calls it.
import { AgentGuard } from '@agentguard/sdk'
import { guardServer } from '@agentguard/sdk/mcp'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { z } from 'zod'

const guard = new AgentGuard().guard() // AGENTGUARD_AGENT_KEY, AGENTGUARD_URL

// Before the tools are registered.
const server = guardServer(guard, new McpServer({ name: 'files', version: '1.0.0' }), {
  resource: ({ path }) => path,
})
const text = (words) => ({ content: [{ type: 'text', text: words }] })
const inputSchema = { path: z.string() }
server.registerTool('read_file', { inputSchema }, ({ path }) => text(`the text of ${path}`))
server.registerTool('delete_file', { inputSchema }, ({ path }) => text(`${path} is gone`))

const [here, there] = InMemoryTransport.createLinkedPair()
const client = new Client({ name: 'example', version: '1.0.0' })
await Promise.all([server.connect(there), client.connect(here)])
for (const name of ['read_file', 'delete_file']) {
  const { content } = await client.callTool({ name, arguments: { path: 'report.pdf' } })
  console.log(`${name}: ${content[0].text}`)
}
await client.close()
