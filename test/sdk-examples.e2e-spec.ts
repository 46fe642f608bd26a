import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { AgentGuard } from '../sdk/src/index.js'
import { claudeCodeHook } from '../sdk/src/hook.js'
import { type RunningApp, startApp } from './support/app.js'
import { buildSdk, SDK } from './support/sdk.js'
import { decision, json, StubService } from './support/stub-service.js'

let app: RunningApp
let env: NodeJS.ProcessEnv

beforeAll(async () => {
  buildSdk()
  app = await startApp()
  const admin = new AgentGuard({ adminKey: app.admin_key, baseURL: app.url })
  const made = await admin.agents.create({ name: 'a', owner_team: 't', environment: 'dev' })
  await admin.policies.put(made.agent_id, {
    allow: [{ action: 'read:*' }, { action: 'use:read', resource: '/work/*' }],
    deny: [{ action: 'delete:*' }],
    require_approval: [{ action: 'send:*' }, { action: 'use:bash' }],
  })
  const { PATH, HOME } = process.env
  env = {
    PATH,
    HOME,
    AGENTGUARD_URL: app.url,
    AGENTGUARD_ADMIN_KEY: app.admin_key,
    AGENTGUARD_AGENT_KEY: made.api_key,
    AGENTGUARD_AGENT_ID: made.agent_id,
  }
})
afterAll(() => app?.close())

/** Runs Node inside the package, where its own name leads to what was built. */
function run(
  args: readonly string[],
  input = '',
  more: NodeJS.ProcessEnv = {},
): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: SDK, env: { ...env, ...more } })
    let [out, err] = ['', '']
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, out, err }))
    child.stdin.end(input)
  })
}

describe('the examples', () => {
  it.each([
    [
      'quickstart',
      /^allow {2}read file document.txt[\s\S]*^deny {3}delete file old.txt[\s\S]*action.reported/m,
    ],
    ['approval', /^sent to ceo@example.com\nnot sent: AgentGuard denied .*the approval is denied/m],
    [
      'local',
      /^read_file: the text of report.pdf\ndelete_file: AgentGuard denied.*\nsend_mail: .*approval of a person.*\ndecision.local delete file\ndecision.local read file$/m,
    ],
    ['ai-sdk', /^read_file: the text of report.pdf\ndelete_file: AgentGuard denied/m],
    ['langgraph', /^read_file: the text of report.pdf\ndelete_file: .*AgentGuard denied/m],
    ['mcp-server', /^read_file: the text of report.pdf\ndelete_file: AgentGuard denied/m],
  ])('%s runs as it stands', async (name, wanted) => {
    const { code, out, err } = await run([`examples/${name}.mjs`])
    expect([code, err]).toEqual([0, ''])
    expect(out).toMatch(wanted)
  })
})

describe('sdk/README.md', () => {
  const readme = readFileSync(path.join(SDK, 'README.md'), 'utf8')
  const snippets = [...readme.matchAll(/^```js\n([\s\S]*?)^```/gm)].map((match) => match[1] ?? '')

  it('has snippets', () => expect(snippets.length).toBeGreaterThanOrEqual(4))

  it.each(snippets.map((text, i) => [i + 1, text] as const))(
    'snippet %i runs as it stands',
    async (_, text) => {
      // What it says it prints, it prints.
      const wanted = [...text.matchAll(/\/\/ prints (.*)$/gm)].map((match) => match[1])
      const { code, out, err } = await run(['--input-type=module', '-'], text)
      expect([code, err]).toEqual([0, ''])
      for (const line of wanted) expect(out.split('\n')).toContain(line)
    },
  )
})

describe('agentguard hook claude-code', () => {
  const event = (tool_name: string, tool_input: object) =>
    JSON.stringify({ session_id: 's', cwd: '/work', hook_event_name: 'PreToolUse', tool_name, tool_input })
  const permission = (text: string) => {
    const { hookSpecificOutput } = JSON.parse(text) as {
      hookSpecificOutput: {
        hookEventName: string
        permissionDecision: string
        permissionDecisionReason: string
      }
    }
    expect(hookSpecificOutput.hookEventName).toBe('PreToolUse')
    return [hookSpecificOutput.permissionDecision, hookSpecificOutput.permissionDecisionReason] as const
  }
  const hook = async (input: string, more: NodeJS.ProcessEnv = {}) => {
    const { code, out, err } = await run(['dist/cli.js', 'hook', 'claude-code'], input, more)
    expect([code, err]).toEqual([0, ''])
    return permission(out)
  }

  it('allows what the policy allows, and denies the rest, a pending answer too', async () => {
    expect(await hook(event('Read', { file_path: '/work/a.ts' }))).toEqual([
      'allow',
      expect.stringContaining('Matched allow rule'),
    ])
    expect(await hook(event('Read', { file_path: '/etc/shadow' }))).toEqual([
      'deny',
      expect.stringContaining('No matching allow rule'),
    ])
    expect(await hook(event('Bash', { command: 'rm -rf /' }))).toEqual([
      'deny',
      expect.stringContaining('a person must approve'),
    ])
  })

  it('denies without a service, a key, or an event', async () => {
    const read = event('Read', { file_path: '/work/a.ts' })
    expect(await hook(read, { AGENTGUARD_URL: 'http://127.0.0.1:9' })).toEqual([
      'deny',
      expect.stringContaining('no decision'),
    ])
    expect(await hook(read, { AGENTGUARD_AGENT_KEY: '', AGENTGUARD_ADMIN_KEY: '' })).toEqual([
      'deny',
      expect.any(String),
    ])
    for (const input of ['', '{', '[]', '{"tool_name":7}', event('Bash', { command: 'x'.repeat(3000) })])
      expect((await hook(input))[0]).toBe('deny')
    expect(await run(['dist/cli.js', 'hook', 'other'])).toMatchObject({ code: 1, out: '' })
  })

  it('names the approval of a pending answer, and where to give it', async () => {
    const stub = await StubService.start()
    try {
      stub.respond = (_, response) => json(response, 200, decision('pending', { approval_id: 'apr_1' }))
      const client = new AgentGuard({ agentKey: 'agk_x', baseURL: stub.url })
      const [verdict, reason] = permission(await claudeCodeHook(event('Bash', { command: 'ls' }), client))
      expect(verdict).toBe('deny')
      expect(reason).toContain(`${stub.url}/dashboard/approvals/apr_1`)
      expect(JSON.parse(stub.seen[0]?.body ?? '')).toMatchObject({
        action: 'use Bash',
        resource: 'ls',
        arguments: { command: 'ls' },
      })
    } finally {
      await stub.close()
    }
  })
})
