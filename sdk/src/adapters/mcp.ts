/** `@agentguard/sdk/mcp`: clients and servers of the Model Context Protocol (`@modelcontextprotocol/sdk`). */
import { AgentGuardError } from '../errors.js'
import type { Guard } from '../guard/guard.js'
import type { ToolsOptions } from '../guard/options.js'

interface Message {
  readonly method: string
  readonly params?: { readonly name?: unknown; readonly arguments?: unknown }
}
type Handler = (message: Message, extra?: { signal?: AbortSignal }) => unknown
interface LowServer {
  setRequestHandler(schema: never, handler: never): void
  assertCanSetRequestHandler(method: string): void
}
interface LowClient {
  request(message: never, ...rest: never[]): Promise<unknown>
}

const CALL = 'tools/call'

/**
 * Makes a server (`McpServer` or `Server`) ask before any of its tools is called. Call it before tools are
 * registered. What is not allowed is a result with `isError`, which the model can read; `_meta` has the code.
 * @throws Error when tools were registered before: they would stay unguarded
 */
export function guardServer<T extends LowServer | { readonly server: LowServer }>(
  guard: Guard,
  server: T,
  options: ToolsOptions = {},
): T {
  const low: LowServer = 'server' in server ? server.server : server
  low.assertCanSetRequestHandler(CALL)
  const set = low.setRequestHandler.bind(low)
  low.setRequestHandler = (schema, given) => {
    const handler = given as Handler
    const asking: Handler = (message, extra) => {
      if (message.method !== CALL) return handler(message, extra)
      const { name, arguments: args } = message.params ?? {}
      const act = async () => handler(message, extra)
      return guard.call(String(name), args ?? {}, act, options, { signal: extra?.signal }).catch(asResult)
    }
    set(schema, asking as never)
  }
  return server
}

/** Errors of this package become results; those of the tool stay what they are. */
function asResult(error: unknown): unknown {
  if (!(error instanceof AgentGuardError)) throw error
  const { code, decision_id, approval_id } = error as AgentGuardError & Record<string, unknown>
  const meta = {
    code,
    ...(decision_id !== undefined && { decision_id }),
    ...(approval_id !== undefined && { approval_id }),
  }
  return {
    isError: true,
    content: [{ type: 'text', text: error.message }],
    _meta: { 'agentguard/decision': meta },
  }
}

/** Makes a client ask before it calls any tool of any server; what is not allowed throws and is never sent. */
export function guardClient<T extends LowClient>(guard: Guard, client: T, options: ToolsOptions = {}): T {
  const request = client.request.bind(client) as (...args: unknown[]) => Promise<unknown>
  const asking = (message: Message, ...rest: unknown[]) => {
    if (message.method !== CALL) return request(message, ...rest)
    const { name, arguments: args } = message.params ?? {}
    const { signal } = (rest[1] ?? {}) as { signal?: AbortSignal }
    return guard.call(String(name), args ?? {}, () => request(message, ...rest), options, { signal })
  }
  const refuse = () => {
    throw new AgentGuardError('Streamed requests are not guarded: use callTool.')
  }
  return Object.assign(client, {
    request: asking,
    ...('requestStream' in client && { requestStream: refuse }),
  })
}
