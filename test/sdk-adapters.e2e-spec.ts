import { AIMessage, type BaseMessage } from '@langchain/core/messages'
import { tool as langchainTool } from '@langchain/core/tools'
import { MessagesAnnotation, StateGraph } from '@langchain/langgraph'
import { ToolNode } from '@langchain/langgraph/prebuilt'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { Agent, run as runAgent, Runner, setTracingDisabled, tool as openaiTool } from '@openai/agents'
import { assistantMessage, functionCall, ScriptedModel } from '@openai/agents/testing'
import { generateText, stepCountIs, tool as aiTool } from 'ai'
import { MockLanguageModelV3 } from 'ai/test'
import { z } from 'zod'
import { guardTools as guardAiTools } from '../sdk/src/adapters/ai-sdk.js'
import { guardTools as guardLangchainTools } from '../sdk/src/adapters/langchain.js'
import { guardClient, guardServer } from '../sdk/src/adapters/mcp.js'
import { guarded, settleApprovals } from '../sdk/src/adapters/openai-agents.js'
import { AgentGuard, type Guard } from '../sdk/src/index.js'
import { type RunningApp, startApp } from './support/app.js'
import { decision, json, StubService } from './support/stub-service.js'

let app: RunningApp
let admin: AgentGuard
let guard: Guard
/** What really ran. */
let ran: string[]

beforeAll(async () => {
  app = await startApp()
  admin = new AgentGuard({ adminKey: app.admin_key, baseURL: app.url })
  const made = await admin.agents.create({ name: 'a', owner_team: 't', environment: 'dev' })
  await admin.policies.put(made.agent_id, {
    allow: [{ action: 'read:file', resource: '/docs/*' }],
    deny: [{ action: 'delete:*' }],
  })
  guard = new AgentGuard({ agentKey: made.api_key, baseURL: app.url }).guard()
})
afterAll(() => app?.close())
beforeEach(() => {
  ran = []
})

const schema = z.object({ path: z.string() })
const options = { resource: (args: Readonly<Record<string, unknown>>) => String(args.path) }
const run =
  (name: string) =>
  ({ path }: { path: string }) => {
    ran.push(`${name} ${path}`)
    return `${name} of ${path}`
  }
/** What the models of these tests call: one allowed, one denied by its resource, one denied by a rule. */
const CALLS = [
  ['read_file', '/docs/a'],
  ['read_file', '/etc/shadow'],
  ['delete_file', '/docs/a'],
] as const
const RAN = ['read_file /docs/a']

/** The decisions and reports since `index`, oldest first. */
async function logged(): Promise<string[]> {
  const entries = await admin.logs.list({ limit: 4 })
  return [...entries].reverse().map(({ type, status, result }) => `${type} ${status ?? result}`)
}
const LOGGED = ['decision allowed', 'decision denied', 'decision denied', 'action success']

describe('tools of the Vercel AI SDK', () => {
  const tools = () => ({
    read_file: aiTool({ inputSchema: schema, execute: run('read_file') }),
    delete_file: aiTool({ inputSchema: schema, execute: run('delete_file') }),
  })
  const model = () => {
    let turn = 0
    return new MockLanguageModelV3({
      doGenerate: async () => ({
        content:
          turn++ === 0
            ? CALLS.map(([toolName, path], i) => ({
                type: 'tool-call' as const,
                toolCallId: `call_${i}`,
                toolName,
                input: JSON.stringify({ path }),
              }))
            : [{ type: 'text' as const, text: 'done' }],
        finishReason: { unified: turn === 1 ? ('tool-calls' as const) : ('stop' as const), raw: undefined },
        usage: {
          inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
          outputTokens: { total: 1, text: 1, reasoning: 0 },
        },
        warnings: [],
      }),
    })
  }

  it('run only when allowed; the model reads why not', async () => {
    const { steps, text } = await generateText({
      model: model(),
      tools: guardAiTools(guard, tools(), options),
      stopWhen: stepCountIs(3),
      prompt: 'go',
    })
    expect([ran, text]).toEqual([RAN, 'done'])
    const parts = steps[0]?.content.filter(({ type }) => type === 'tool-result' || type === 'tool-error')
    expect(
      parts?.map((part) => ('output' in part ? part.output : String((part as { error: unknown }).error))),
    ).toEqual([
      'read_file of /docs/a',
      expect.stringContaining('No matching allow rule'),
      expect.stringContaining('Matched deny rule: delete:*'),
    ])
    expect((await logged()).sort()).toEqual([...LOGGED].sort())
  })

  it('control: unguarded, all of them run', async () => {
    await generateText({ model: model(), tools: tools(), stopWhen: stepCountIs(3), prompt: 'go' })
    expect(ran).toHaveLength(3)
  })

  it('are refused when they run elsewhere, unless that was said', () => {
    const remote = { pick: aiTool({ inputSchema: schema }) }
    expect(() => guardAiTools(guard, remote)).toThrow('elsewhere')
    expect(guardAiTools(guard, remote, { elsewhere: ['pick'] })).toEqual(remote)
  })
})

describe('tools of LangChain', () => {
  const tools = () =>
    ['read_file', 'delete_file'].map((name) => langchainTool(run(name), { name, schema, description: name }))

  const messageOf = () =>
    new AIMessage({
      content: '',
      tool_calls: CALLS.map(([name, path], i) => ({
        name,
        args: { path },
        id: `call_${i}`,
        type: 'tool_call' as const,
      })),
    })

  it('run only when allowed, in a LangGraph agent too', async () => {
    const [read] = guardLangchainTools(guard, tools(), options)
    expect(await read?.invoke({ path: '/docs/a' })).toBe('read_file of /docs/a')
    await expect(read?.invoke({ path: '/etc/shadow' })).rejects.toMatchObject({ name: 'AgentGuardDenied' })
    ran = []
    let turn = 0
    const graph = new StateGraph(MessagesAnnotation)
      .addNode('model', () => ({ messages: [turn++ === 0 ? messageOf() : new AIMessage('done')] }))
      .addNode('tools', new ToolNode(guardLangchainTools(guard, tools(), options)))
      .addEdge('__start__', 'model')
      .addConditionalEdges('model', () => (turn === 1 ? 'tools' : '__end__'))
      .addEdge('tools', 'model')
      .compile()
    const { messages } = (await graph.invoke({ messages: [] })) as { messages: BaseMessage[] }
    expect(ran).toEqual(RAN)
    expect(messages.map(({ content }) => content)).toEqual([
      '',
      'read_file of /docs/a',
      expect.stringContaining('No matching allow rule'),
      expect.stringContaining('Matched deny rule: delete:*'),
      'done',
    ])
    expect((await logged()).sort()).toEqual([...LOGGED].sort())
  })

  it('are refused when they are none', () => {
    expect(() => guardLangchainTools(guard, [{ name: 'x' }])).toThrow('no tool of LangChain')
  })
})

describe('the Model Context Protocol', () => {
  const server = () => new McpServer({ name: 's', version: '1' })
  const withTools = (mcp: McpServer) => {
    for (const name of ['read_file', 'delete_file'])
      mcp.registerTool(name, { inputSchema: { path: z.string() } }, (args) => ({
        content: [{ type: 'text', text: run(name)(args) }],
      }))
    return mcp
  }
  const connected = async (mcp: McpServer) => {
    const [here, there] = InMemoryTransport.createLinkedPair()
    const client = new Client({ name: 'c', version: '1' })
    await Promise.all([mcp.connect(there), client.connect(here)])
    return client
  }
  const call = (client: Client, [name, path]: (typeof CALLS)[number]) =>
    client.callTool({ name, arguments: { path } })

  it('a server calls its tools only when allowed, and says so in a result', async () => {
    const client = await connected(withTools(guardServer(guard, server(), options)))
    const results = []
    for (const each of CALLS) results.push(await call(client, each))
    expect(ran).toEqual(RAN)
    expect(results.map(({ isError = false }) => isError)).toEqual([false, true, true])
    expect(results[2]).toMatchObject({
      content: [{ text: expect.stringContaining('Matched deny rule: delete:*') as string }],
      _meta: { 'agentguard/decision': { code: 'deny_rule', decision_id: expect.any(String) as string } },
    })
    expect((await client.listTools()).tools).toHaveLength(2)
    expect(await logged()).toEqual([
      'decision allowed',
      'action success',
      'decision denied',
      'decision denied',
    ])
  })

  it('a server whose tools were registered before is refused', () => {
    expect(() => guardServer(guard, withTools(server()))).toThrow('tools/call')
  })

  it('a client sends nothing that is not allowed', async () => {
    const client = guardClient(guard, await connected(withTools(server())), options)
    expect(await call(client, CALLS[0])).toMatchObject({ content: [{ text: 'read_file of /docs/a' }] })
    for (const each of CALLS.slice(1))
      await expect(call(client, each)).rejects.toMatchObject({ name: 'AgentGuardDenied' })
    expect(ran).toEqual(RAN)
  })

  it('control: without a guard all of them run', async () => {
    const client = await connected(withTools(server()))
    for (const each of CALLS) await call(client, each)
    expect(ran).toHaveLength(3)
  })
})

describe('tools of the OpenAI Agents SDK', () => {
  setTracingDisabled(true)
  const agentOf = (guarding: Guard, calls: readonly (readonly [string, string])[]) =>
    new Agent({
      name: 'a',
      model: new ScriptedModel([
        calls.map(([name, path], i) => functionCall(name, { path }, { callId: `call_${i}` })),
        [assistantMessage('done')],
      ]),
      tools: ['read_file', 'delete_file'].map((name) =>
        openaiTool(
          guarded(guarding, { name, description: name, parameters: schema, execute: run(name) }, options),
        ),
      ),
    })
  const outputs = (history: readonly object[]) =>
    history.flatMap((item) => ('output' in item ? [JSON.stringify(item.output)] : []))

  it('run only when allowed; one decision a call', async () => {
    const { finalOutput, history } = await runAgent(agentOf(guard, CALLS), 'go')
    expect([ran, finalOutput]).toEqual([RAN, 'done'])
    expect(outputs(history)).toEqual([
      expect.stringContaining('read_file of /docs/a'),
      expect.stringContaining('No matching allow rule'),
      expect.stringContaining('Matched deny rule: delete:*'),
    ])
    expect((await logged()).sort()).toEqual([...LOGGED].sort())
  })

  it.each([
    ['approved', RAN, 'read_file of /docs/a'],
    ['denied', [], 'not approved'],
  ] as const)('interrupt the run for a person; %s', async (status, wanted, output) => {
    const stub = await StubService.start()
    try {
      stub.respond = (seen, response) => {
        if (seen.path.startsWith('/v1/enforce/approval/'))
          return json(response, 200, { approval_id: 'apr_1', status })
        const { approval_id } = JSON.parse(seen.body) as { approval_id?: string }
        json(
          response,
          200,
          approval_id === 'apr_1' ? decision('allowed') : decision('pending', { approval_id: 'apr_1' }),
        )
      }
      const asking = new AgentGuard({ agentKey: 'agk_x', baseURL: stub.url }).guard({ report: false })
      const agent = agentOf(asking, CALLS.slice(0, 1))
      const first = await runAgent(agent, 'go')
      expect([first.interruptions.length, ran]).toEqual([1, []])
      await settleApprovals(asking, first)
      const { history } = await new Runner().run(agent, first.state)
      expect(ran).toEqual(wanted)
      expect(outputs(history)).toEqual([expect.stringContaining(output)])
    } finally {
      await stub.close()
    }
  })
})
