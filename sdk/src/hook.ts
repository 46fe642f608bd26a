import { readFileSync } from 'node:fs'
import { AgentGuard } from './client.js'
import { AgentGuardError } from './errors.js'
import type { Decision, EnforceRequest } from './types.js'

/** The hook of a coding agent must answer before its patience ends; a slow service denies. */
const TIMEOUT_MS = 4_000

interface PreToolUse {
  readonly tool_name: string
  readonly tool_input: Readonly<Record<string, unknown>>
  readonly session_id?: unknown
  readonly cwd?: unknown
}

/** What a tool of Claude Code is done to, by its name; other tools (`mcp__server__tool`) have no resource. */
const RESOURCES: Readonly<Record<string, string>> = {
  Bash: 'command',
  Read: 'file_path',
  Write: 'file_path',
  Edit: 'file_path',
  MultiEdit: 'file_path',
  NotebookEdit: 'notebook_path',
  Glob: 'pattern',
  Grep: 'pattern',
  WebFetch: 'url',
  WebSearch: 'query',
}
/** A resource has at most 2,048 characters. What is longer cannot be matched safely by its beginning. */
const MAX_RESOURCE = 2048

/**
 * `agentguard hook claude-code`: reads the PreToolUse event from standard input and writes the permission to standard
 * output. The action is `use <tool>`, the resource the file, URL or command, the arguments are the tool's input.
 *
 * Allowed is `allow`; everything else is `deny`: a pending answer too, with the approval to decide, because `ask` has
 * been approved automatically under bypass modes; and no answer at all. Settings come from AGENTGUARD_AGENT_KEY and
 * AGENTGUARD_URL.
 */
export async function claudeCodeHook(input: string, client?: AgentGuard): Promise<string> {
  try {
    const request = readEvent(input)
    const asking = client ?? new AgentGuard({ timeoutMs: TIMEOUT_MS, maxRetries: 0 })
    const decision = await asking.enforce(request)
    return answer(decision.allowed ? 'allow' : 'deny', wordsFor(decision, asking.baseURL))
  } catch (error) {
    const why = error instanceof AgentGuardError ? error.message : 'The hook failed.'
    return answer('deny', `AgentGuard gave no decision, so this is not done. ${why}`)
  }
}

/** The command: always ends with 0, because Claude Code reads the answer only then. */
export async function hookCommand([kind, ...rest]: readonly string[]): Promise<number> {
  if (kind !== 'claude-code' || rest.length > 0) {
    process.stderr.write('agentguard hook claude-code\n')
    // 2 blocks the tool: a mistake in the settings must not open the gate.
    return 2
  }
  process.stdout.write(`${await claudeCodeHook(readInput())}\n`)
  return 0
}

function readInput(): string {
  try {
    return readFileSync(0, 'utf8')
  } catch {
    return ''
  }
}

function readEvent(input: string): EnforceRequest {
  const event = parse(input)
  const { tool_name, tool_input, session_id, cwd } = event
  const member = Object.hasOwn(RESOURCES, tool_name) ? RESOURCES[tool_name] : undefined
  const resource = member === undefined ? undefined : tool_input[member]
  if (typeof resource === 'string' && resource.length > MAX_RESOURCE)
    throw new AgentGuardError(`The ${String(member)} has more than ${MAX_RESOURCE} characters.`)
  return {
    action: `use ${tool_name}`,
    ...(typeof resource === 'string' && resource !== '' && { resource }),
    arguments: tool_input,
    context: { source: 'claude-code', session_id, cwd },
  }
}

function parse(input: string): PreToolUse {
  let event: unknown
  try {
    event = JSON.parse(input)
  } catch {
    throw new AgentGuardError('Standard input is not JSON.')
  }
  const { tool_name, tool_input = {} } = Object(event) as Record<string, unknown>
  if (
    typeof tool_name !== 'string' ||
    tool_name === '' ||
    typeof tool_input !== 'object' ||
    tool_input === null
  )
    throw new AgentGuardError('Standard input is not a PreToolUse event.')
  return { ...(event as object), tool_name, tool_input: { ...tool_input } }
}

function wordsFor(decision: Decision, baseURL: string): string {
  const named = `${decision.reason} (decision ${decision.decision_id})`
  if (decision.status !== 'pending') return `AgentGuard: ${named}`
  const where = decision.approval_id
    ? ` Approve it at ${baseURL}/dashboard/approvals/${encodeURIComponent(decision.approval_id)}, then try again.`
    : ''
  return `AgentGuard: a person must approve this first. ${named}.${where}`
}

const answer = (permissionDecision: 'allow' | 'deny', permissionDecisionReason: string): string =>
  JSON.stringify({
    hookSpecificOutput: { hookEventName: 'PreToolUse', permissionDecision, permissionDecisionReason },
  })
