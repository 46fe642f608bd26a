import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { AgentGuard } from '../sdk/src/index.js'
import { until } from './support/proofs.js'
import { buildSdk, CLI } from './support/sdk.js'
import { type RunningApp, startApp } from './support/app.js'

interface Outcome {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

let app: RunningApp
let folder: string
/** The service, and the root key: the environment of most calls. */
let admin: Record<string, string>

/** The command as a user runs it, in a home folder of this test alone. */
function cli(args: readonly string[], env: Record<string, string> = admin, input?: string): Promise<Outcome> {
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, XDG_CONFIG_HOME: path.join(folder, 'config'), ...env },
  })
  child.stdin.end(input ?? '')
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })))
}

/** JSON of a call that must succeed. */
async function json<T>(args: readonly string[], env = admin, input?: string): Promise<T> {
  const { code, out, err } = await cli([...args, '--json'], env, input)
  expect([args.join(' '), code, code === 0 ? '' : err]).toEqual([args.join(' '), 0, ''])
  return JSON.parse(out) as T
}

function file(name: string, text: string): string {
  writeFileSync(path.join(folder, name), text)
  return name
}

interface Made {
  readonly agent_id: string
  readonly api_key: string
  readonly key_id: string
}
const makeAgent = (name: string) => json<Made>(['agents', 'create', name, '--team', 'cli'])
const keyOf = ({ api_key }: Made) => ({ AGENTGUARD_URL: app.url, AGENTGUARD_AGENT_KEY: api_key })

beforeAll(async () => {
  buildSdk()
  folder = mkdtempSync(path.join(tmpdir(), 'agentguard-cli-'))
  app = await startApp()
  admin = { AGENTGUARD_URL: app.url, AGENTGUARD_ADMIN_KEY: app.admin_key }
})

afterAll(async () => {
  await app?.close()
  rmSync(folder, { recursive: true, force: true })
})

describe('agents, keys, policies', () => {
  it('are made, listed and changed; a secret is shown where it is made and nowhere else', async () => {
    const { code, out, err } = await cli(['agents', 'create', 'shown', '--team', 'cli', '--env', 'stage'])
    expect(code).toBe(0)
    const secret = /agk_[0-9A-Za-z]{49}/.exec(out)?.[0] ?? ''
    expect(secret).not.toBe('')
    expect(err).toContain('shown this once')
    const [agent] = await json<Made[]>(['agents', 'list', '--name', 'shown'])
    const agent_id = agent?.agent_id ?? ''
    const rotated = await json<Made & { api_key: string }>([
      'keys',
      'rotate',
      agent_id,
      (await json<Made[]>(['keys', 'list', agent_id]))[0]?.key_id ?? '',
    ])
    const others = await Promise.all([
      cli(['agents', 'list']),
      cli(['agents', 'get', agent_id]),
      cli(['keys', 'list', agent_id, '--json']),
      cli(['logs', '--type', 'config']),
      cli(['enforce', 'read'], { AGENTGUARD_URL: app.url, AGENTGUARD_AGENT_KEY: secret }),
    ])
    for (const { out: text, err: line } of others) {
      expect(text + line).not.toContain(secret)
      expect(text + line).not.toContain(rotated.api_key)
      expect(text + line).not.toContain(app.admin_key)
    }
    // The rotated key no longer works: one line with status, code, request and what to do.
    expect([others[4]?.code, others[4]?.err]).toEqual([
      1,
      expect.stringMatching(/^agentguard: [^\n]*\(401, \w+, request \S+\)[^\n]*agentguard login[^\n]*\n$/),
    ])
    const rated = await json(['agents', 'update', agent_id, '--active', 'no', '--risk', 'critical'])
    expect(rated).toMatchObject({ is_active: false, risk_level: 'critical' })
    expect((await cli(['agents', 'list', '--all', '--risk', 'critical'])).out).toMatch(
      /RISK .*\n.* critical /,
    )
    expect(await json(['agents', 'update', agent_id, '--risk', 'unrated'])).toMatchObject({
      risk_level: null,
    })
    expect((await cli(['agents', 'delete', agent_id])).code).toBe(0)
  })

  it('set a policy from JSON, YAML and standard input, and show what would change', async () => {
    const { agent_id } = await makeAgent('with policy')
    const yaml = file(
      'policy.yaml',
      'allow:\n  - action: read:*\n    resource: s3://docs/*\ndeny:\n  - action: delete:*\n',
    )
    expect(await json(['policy', 'set', agent_id, yaml])).toMatchObject({
      version: 1,
      deny: [{ action: 'delete:*' }],
    })
    const { out } = await cli(['policy', 'get', agent_id])
    expect((await cli(['policy', 'diff', agent_id, '-', '--exit-code'], admin, out)).code).toBe(0)
    const other = '{"allow": [{"action": "read:*"}]}'
    const diff = await cli(['policy', 'diff', agent_id, '-', '--exit-code'], admin, other)
    expect([diff.code, diff.out]).toEqual([
      2,
      '- deny: delete:*\n- allow: read:* on s3://docs/*\n+ allow: read:*\n',
    ])
    const stale = await cli(['policy', 'set', agent_id, '-', '--if-version', '7'], admin, other)
    expect([stale.code, stale.err]).toEqual([1, expect.stringContaining('(409, ')])
    expect(await json(['policy', 'set', agent_id, '-', '--if-version', '1'], admin, other)).toMatchObject({
      version: 2,
    })
    expect(await json(['policy', 'rollback', agent_id, '1'])).toMatchObject({ version: 3 })
    expect(await json(['policy', 'versions', agent_id])).toMatchObject([
      { version: 3, rollback_of: 1 },
      {},
      {},
    ])
    for (const [text, why] of [
      ['allow: [{}]', 'allow[0].action'],
      ['allow: []\nallow: []', 'unique'],
      ['{', 'standard input'],
    ] as const) {
      const bad = await cli(['policy', 'set', agent_id, '-'], admin, text)
      expect([bad.code, bad.err.toLowerCase()]).toEqual([1, expect.stringContaining(why)])
    }
  })

  it('test a policy without recording a decision', async () => {
    const { agent_id } = await makeAgent('tested')
    const rules = file('rules.yaml', 'allow: [{action: read}]\nrequire_approval: [{action: pay}]\n')
    const codes = await Promise.all(
      ['read', 'write', 'pay'].map(
        async (action) => (await cli(['policy', 'test', agent_id, action, '-f', rules])).code,
      ),
    )
    expect(codes).toEqual([0, 2, 3])
    expect((await cli(['policy', 'test', agent_id, 'read'])).code).toBe(2)
    const when = file(
      'when.yaml',
      'allow: [{action: pay, conditions: {request: {/arguments/sum: {max: 5}}}}]\n',
    )
    const test = (sum: unknown) =>
      cli(['policy', 'test', agent_id, 'pay', '-f', when, '--arguments', JSON.stringify({ sum })])
    expect((await test(5)).code).toBe(0)
    const missed = await test('5')
    expect([missed.code, missed.out.split('\n')[1]]).toEqual([
      2,
      'not allow/0, pay on *: conditions.request/arguments/sum',
    ])
    expect(await json<object[]>(['logs', '--agent', agent_id])).toEqual([])
  })
})

describe('enforce and logs', () => {
  it('ends with 0 when allowed, 2 when denied, 3 when pending, 1 without an answer', async () => {
    const made = await makeAgent('asks')
    const rules = 'allow: [{action: read}]\nrequire_approval: [{action: pay}]\n'
    await json(['policy', 'set', made.agent_id, '-'], admin, rules)
    const ask = async (...args: string[]) => (await cli(['enforce', ...args], keyOf(made))).code
    expect(
      await Promise.all([ask('read', 'file', '--context', '{"n": 1}'), ask('write'), ask('pay')]),
    ).toEqual([0, 2, 3])
    expect(await ask('read', '--context', '[1]')).toBe(1)
    expect(await ask('read', '--url', 'http://127.0.0.1:1')).toBe(1)
    const answer = JSON.parse((await cli(['enforce', 'write', '--json'], keyOf(made))).out) as object
    expect(answer).toMatchObject({ allowed: false, status: 'denied', code: 'default_deny' })
    expect(await json<object[]>(['logs', '--agent', made.agent_id, '--allowed', 'yes'])).toMatchObject([
      { action: 'read', resource: 'file', status: 'allowed' },
    ])
  })

  it('shows no control character of an agent, or of a service, to a terminal', async () => {
    const resource = 'a\u001b[2Jb\u202ec\u009bd\u{e0041}'
    const server = createServer((_, response) => {
      response.setHeader('Content-Type', 'application/json')
      response.end(JSON.stringify([{ index: 0, resource }]))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const env = { ...admin, AGENTGUARD_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
    const [people, programs] = [await cli(['logs'], env), await cli(['logs', '--json'], env)]
    server.close()
    expect(people.out).toContain('a\\u001b[2Jb\\u202ec\\u009bd\\udb40\\udc41')
    for (const { out } of [people, programs]) expect(out.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    expect(JSON.parse(programs.out)).toMatchObject([{ resource }])
  })

  it('follows: every entry once, in order', async () => {
    const made = await makeAgent('followed')
    const told: number[] = []
    const ask = async (i: number): Promise<void> => {
      const answer = await app.send(
        'POST',
        '/enforce',
        { action: `read ${i}` },
        { 'x-agent-key': made.api_key },
      )
      // A busy machine may refuse some (503): what counts is what was answered.
      if (answer.status === 200) told.push(((await answer.json()) as { log: { index: number } }).log.index)
    }
    while (told.length === 0) await ask(0)
    const child = spawn(process.execPath, [CLI, 'logs', '-f', '--agent', made.agent_id, '--json'], {
      env: { PATH: process.env.PATH, HOME: folder, ...admin },
    })
    const seen: number[] = []
    let text = ''
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      const lines = text.split('\n')
      text = lines.pop() ?? ''
      for (const line of lines) seen.push((JSON.parse(line) as { index: number }).index)
    })
    try {
      await until(() => Promise.resolve(seen.length > 0 || null))
      await Promise.all(Array.from({ length: 150 }, (_, i) => ask(i + 1)))
      expect(told.length).toBeGreaterThan(100)
      await until(() => Promise.resolve(told.every((index) => seen.includes(index)) || null))
    } finally {
      child.kill()
    }
    expect(new Set(seen).size).toBe(seen.length)
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
  })
})

describe('approvals and kill switches', () => {
  it('are decided and pulled from the command line', async () => {
    const made = await makeAgent('waits')
    await json(
      ['policy', 'set', made.agent_id, '-'],
      admin,
      'allow: [{action: read}]\nrequire_approval: [{action: pay, conditions: {env: dev}}]\n',
    )
    const asked = JSON.parse((await cli(['enforce', 'pay', '--json'], keyOf(made))).out) as {
      approval_id: string
    }
    const [waiting] = await json<{ approval_id: string }[]>(['approvals', 'list', '--status', 'pending'])
    expect(waiting?.approval_id).toBe(asked.approval_id)
    const { out } = await cli(['approvals', 'get', asked.approval_id], admin)
    expect(out).toMatch(
      /^rule +agent policy pol_\S+ version 1, require_approval\[0\]: pay when {"env":"dev"}$/m,
    )
    expect(await json(['approvals', 'approve', asked.approval_id, '--reason', 'fine'])).toMatchObject({
      status: 'approved',
    })
    expect((await cli(['enforce', 'pay', '--approval', asked.approval_id], keyOf(made))).code).toBe(0)
    const kill = await json<{ kill_id: string }>([
      'kill',
      'activate',
      'agent',
      made.agent_id,
      '--reason',
      'drill',
    ])
    expect((await cli(['enforce', 'read'], keyOf(made))).code).toBe(2)
    expect(await json(['kill', 'status'])).toMatchObject([{ kill_id: kill.kill_id, state: 'active' }])
    expect(await json(['kill', 'deactivate', kill.kill_id, '--reason', 'over'])).toMatchObject({
      state: 'ended',
    })
    expect((await cli(['enforce', 'read'], keyOf(made))).code).toBe(0)
  })
})

describe('plan and apply', () => {
  const wanted = (environment: string, more = '') => `version: 1
manages_teams: [planned]
agents:
  - name: writer
    owner_team: planned
    environment: ${environment}
    policy:
      allow: [{action: read}]
${more}`
  const second = '  - {name: reader, owner_team: planned, environment: dev}\n'

  it('make what the file says, once; a key is shown when it is made', async () => {
    const yaml = file('agentguard.yaml', wanted('dev', second))
    const plan = (...args: string[]) => cli(['plan', '-f', yaml, '--exit-code', ...args])
    const before = await plan()
    expect([before.code, before.out]).toEqual([
      2,
      '+ agent planned/writer (dev)\n~ policy of planned/writer\n    + allow: read\n+ agent planned/reader (dev)\n',
    ])
    const unasked = await cli(['apply', '-f', yaml])
    expect([unasked.code, unasked.err]).toEqual([1, expect.stringContaining('give --yes')])
    expect((await cli(['apply', '-f', yaml, '--dry-run'])).out).toBe(before.out)
    expect(await json(['agents', 'list', '--team', 'planned'])).toEqual([])
    const { applied } = await json<{ applied: Made[] }>(['apply', '-f', yaml, '--yes'])
    expect(applied).toMatchObject([
      { kind: 'create', api_key: expect.stringMatching(/^agk_/) },
      { version: 1 },
      { kind: 'create' },
    ])
    const again = await plan()
    expect([again.code, again.out]).toEqual([0, ''])
    expect(await json(['apply', '-f', yaml, '--yes'])).toEqual({ applied: [], remaining: 0 })

    file('agentguard.yaml', wanted('prod'))
    expect((await plan()).out).toBe('~ agent planned/writer: environment dev → prod\n')
    const pruned = await cli(['apply', '-f', yaml, '--prune', '--yes'])
    expect([pruned.code, pruned.out]).toEqual([
      0,
      expect.stringContaining(`deleted: planned/reader  ${applied[2]?.agent_id}`),
    ])
    expect(await json(['agents', 'list', '--team', 'planned'])).toMatchObject([
      { name: 'writer', environment: 'prod' },
    ])
    file('agentguard.yaml', wanted('prod', second))
    expect((await plan()).err).toContain('planned/reader is inactive')
    expect((await plan('--replace-inactive')).code).toBe(2)
  })

  it('show what only the service may decide, also where nothing else changes', async () => {
    const text = (more: string) =>
      `version: 1\nmanages_teams: [online]\nagents:\n  - name: careful\n    owner_team: online\n    environment: dev\n    policy: {allow: [{action: read}]${more}}\n`
    const yaml = file('online.yaml', text(''))
    await json(['apply', '-f', yaml, '--yes'])
    file('online.yaml', text(', require_online: [read, "send:*"]'))
    expect((await cli(['plan', '-f', yaml])).out).toBe(
      '~ policy of online/careful, now version 1\n    + require_online: read\n    + require_online: send:*\n',
    )
    await json(['apply', '-f', yaml, '--yes'])
    expect((await cli(['plan', '-f', yaml, '--exit-code'])).code).toBe(0)
    file('online.yaml', text(', require_online: ["send:*"]'))
    expect((await cli(['plan', '-f', yaml])).out).toContain('    - require_online: read\n')
  })

  it('rate agents and settle how people are asked, once', async () => {
    const text = (risk: string, low: string) => `version: 1
agents:
  - {name: rated, owner_team: risky, environment: dev, risk_level: ${risk}}
approval_settings:
  max_waiting_per_agent: 21
  risk_workflows: {low: ${low}}
`
    const yaml = file('risk.yaml', text('high', 'standard'))
    const plan = async () => (await cli(['plan', '-f', yaml])).out
    expect(await plan()).toBe(
      '~ approval settings: max_waiting_per_agent 100 → 21\n' +
        '~ approval settings: risk_workflows.low none → standard\n+ agent risky/rated (dev, high risk)\n',
    )
    const { applied } = await json<{ applied: object[] }>(['apply', '-f', yaml, '--yes'])
    expect(applied).toMatchObject([{ kind: 'settings', settings: 'approvals' }, { kind: 'create' }])
    expect(await json(['agents', 'list', '--team', 'risky'])).toMatchObject([{ risk_level: 'high' }])
    expect(await plan()).toBe('')
    file('risk.yaml', text('unrated', 'null'))
    expect(await plan()).toBe(
      '~ approval settings: risk_workflows.low standard → none\n~ agent risky/rated: risk high → unrated\n',
    )
    await json(['apply', '-f', yaml, '--yes'])
    expect(await json(['agents', 'list', '--team', 'risky'])).toMatchObject([{ risk_level: null }])
    const wrong = await cli(['plan', '-f', '-'], admin, text('grave', '7').replace('21', 'many'))
    for (const why of [
      'agents[0].risk_level',
      'approval_settings.risk_workflows.low',
      'max_waiting_per_agent',
    ])
      expect(wrong.err).toContain(`${why}: must be`)
  })

  it('show and change how people are asked, one by one', async () => {
    const settings = (...args: string[]) => json<object>(['approvals', 'settings', ...args])
    const before = await settings()
    const changed = await settings('--set', 'max_waiting=500', '--set', 'risk_workflows.critical=none')
    expect(changed).toEqual({ ...before, max_waiting: 500, 'risk_workflows.critical': null })
    expect(await settings('--set', 'risk_workflows.critical=critical', '--set', 'max_waiting=10000')).toEqual(
      before,
    )
    for (const wrong of ['max_waiting', 'max_waiting=many', 'unknown=1', 'approve_on_timeout=perhaps']) {
      const { code, err } = await cli(['approvals', 'settings', '--set', wrong], admin)
      expect([wrong, code, err]).toEqual([wrong, 1, expect.stringContaining('--set')])
    }
    expect(await settings()).toEqual(before)
  })

  it('invite people and change what they may do, once', async () => {
    const text = (roles: string) =>
      `version: 1\nmembers:\n  - {email: Ana@example.com, roles: ${roles}, team: planned}\n`
    const yaml = file('people.yaml', text('[developer]'))
    const shown = await cli(['plan', '-f', yaml, '--exit-code'])
    expect([shown.code, shown.out]).toEqual([2, '+ member Ana@example.com (developer in planned)\n'])
    interface Invited {
      applied: { kind: string; invitation_id: string; link: string }[]
    }
    const { applied } = await json<Invited>(['apply', '-f', yaml, '--yes'])
    expect(applied).toMatchObject([{ kind: 'invite', link: expect.stringContaining('#token=ivt_') }])
    expect((await cli(['plan', '-f', yaml, '--exit-code'])).code).toBe(0)

    file('people.yaml', text('[developer, auditor]'))
    const again = await json<Invited>(['apply', '-f', yaml, '--yes'])
    expect(again.applied[0]?.invitation_id).not.toBe(applied[0]?.invitation_id)
    const [, token] = again.applied[0]?.link.split('#token=') ?? []
    const client = new AgentGuard({ baseURL: app.url, adminKey: app.admin_key })
    await client.invitations.accept({
      token: token ?? '',
      name: 'Ana',
      password: 'plum-kettle-drift-82',
    })
    expect((await cli(['plan', '-f', yaml, '--exit-code'])).code).toBe(0)

    file('people.yaml', text('[auditor]'))
    expect((await cli(['plan', '-f', yaml])).out).toMatch(
      /^~ member Ana@example.com: (auditor, developer|developer, auditor) in planned → auditor in planned\n$/,
    )
    await json(['apply', '-f', yaml, '--yes'])
    const ana = await client.members.list().toArray()
    expect(ana.find(({ email }) => email.toLowerCase() === 'ana@example.com')).toMatchObject({
      roles: ['auditor'],
    })
  })

  it('refuse a name that two agents have, and a file with mistakes', async () => {
    for (let i = 0; i < 2; i++) await json(['agents', 'create', 'twin', '--team', 'planned'])
    const twins = 'version: 1\nagents: [{name: twin, owner_team: planned, environment: dev}]'
    const { code, err } = await cli(['plan', '-f', '-'], admin, twins)
    expect([code, err]).toEqual([1, expect.stringContaining('There are several agents planned/twin: agt_')])
    const bad = await cli(
      ['plan', '-f', '-'],
      admin,
      'agents: [{name: a, owner_team: b, environment: x, c: 1}]',
    )
    for (const why of ['version: must be 1', 'agents[0].environment', 'c is not known'])
      expect(bad.err).toContain(why)
    const unmarked = await cli(['plan', '--prune', '-f', '-'], admin, 'version: 1\nagents: []')
    expect([unmarked.code, unmarked.err]).toEqual([1, expect.stringContaining('manages_teams')])
  })
})

describe('login', () => {
  const nothing = () => ({ XDG_CONFIG_HOME: path.join(folder, 'logins') })
  const kept = () => path.join(folder, 'logins/agentguard/credentials.json')

  it('keeps a key that the service knows, in a file of mode 600, and shows it to nobody', async () => {
    const login = ['login', '--url', app.url, '--admin-key-stdin']
    const wrong = await cli(login, nothing(), 'adk_wrong')
    expect([wrong.code, wrong.err]).toEqual([1, expect.stringContaining('(401, ')])
    const { code, out, err } = await cli(login, nothing(), `${app.admin_key}\n`)
    expect([code, out + err]).toEqual([0, expect.not.stringContaining(app.admin_key)])
    expect([statSync(kept()).mode & 0o777, statSync(path.dirname(kept())).mode & 0o777]).toEqual([
      0o600, 0o700,
    ])
    const made = JSON.parse(
      (await cli(['agents', 'create', 'by profile', '--team', 'cli', '--json'], nothing())).out,
    ) as Made
    await cli(['login', '--agent-key-stdin'], nothing(), made.api_key)
    expect((await cli(['enforce', 'read'], nothing())).code).toBe(2)
    const profiles = await cli(['profiles', '--json'], nothing())
    expect(profiles.out).not.toMatch(/agk_|adk_/)
    expect(profiles.out).not.toContain(app.admin_key)
    expect(JSON.parse(profiles.out)).toMatchObject([
      { profile: 'default', current: true, keys: ['admin', 'agent'] },
    ])
    const doctor = await cli(['doctor', '--json'], nothing())
    expect([doctor.code, doctor.out.includes(made.api_key) || doctor.out.includes(app.admin_key)]).toEqual([
      0,
      false,
    ])
    expect(JSON.parse(doctor.out)).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ check: 'admin key', state: 'ok' }),
        expect.objectContaining({ check: 'agent key', state: 'ok' }),
      ]),
    )
  })

  it('gives the keys of a profile to no other service', async () => {
    const elsewhere = app.url.replace('127.0.0.1', 'localhost')
    for (const [args, env] of [
      [['--url', elsewhere], {}],
      [[], { AGENTGUARD_URL: elsewhere }],
    ] as const) {
      const { code, err } = await cli(['agents', 'list', ...args], { ...nothing(), ...env })
      expect([code, err]).toEqual([1, expect.stringContaining(`There is no key for ${elsewhere}`)])
    }
    expect((await cli(['agents', 'list'], nothing())).code).toBe(0)
  })

  it('refuses a file that others can read', async () => {
    chmodSync(kept(), 0o640)
    const { code, err } = await cli(['agents', 'list'], nothing())
    expect([code, err]).toEqual([1, expect.stringContaining('can be read by others')])
    chmodSync(kept(), 0o600)
    expect((await cli(['logout'], nothing())).code).toBe(0)
    expect(readFileSync(kept(), 'utf8')).not.toContain(app.admin_key)
    mkdirSync(path.join(folder, 'open/agentguard'), { recursive: true })
    chmodSync(path.join(folder, 'open/agentguard'), 0o777)
    const open = await cli(
      ['login', '--url', app.url, '--admin-key-stdin'],
      { XDG_CONFIG_HOME: path.join(folder, 'open') },
      app.admin_key,
    )
    expect([open.code, open.err]).toEqual([1, expect.stringContaining('can be changed by others')])
  })
})

describe('help and completion', () => {
  it('say the same commands, and every shell that is here reads its completion', async () => {
    const help = await cli(['help'], {})
    const names = [...help.out.matchAll(/^ {2}([a-z]+(?: [a-z-]+)?)(?= )/gm)].map(([, name = '']) =>
      name.trim(),
    )
    expect(names).toEqual(expect.arrayContaining(['login', 'agents list', 'policy diff', 'logs', 'verify']))
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { code, out } = await cli(['completion', shell], {})
      expect(code).toBe(0)
      const read = spawnSync(shell, ['-n'], { input: out, encoding: 'utf8' })
      if (!read.error) expect([shell, read.status, read.stderr]).toEqual([shell, 0, ''])
    }
    const { out } = await cli(['completion', 'bash'], {})
    const complete = (line: string) => {
      const words = line.split(' ').map((word) => `'${word}'`)
      const script = `${out}\nCOMP_WORDS=(${words.join(' ')}); COMP_CWORD=${words.length - 1}; _agentguard; echo "\${COMPREPLY[*]}"`
      return spawnSync('bash', ['-c', script], { encoding: 'utf8' }).stdout.trim()
    }
    expect(complete('agentguard appr')).toBe('approvals')
    expect(complete('agentguard policy ro')).toBe('rollback')
    expect(complete('agentguard agents list --env ')).toBe('dev stage prod')
    expect(complete('agentguard logs --fo')).toBe('--follow')
  })

  it('stand in docs/cli.md as the command says them', async () => {
    const { out } = await cli(['help'], {})
    expect(readFileSync(path.join(__dirname, '../docs/cli.md'), 'utf8')).toContain(
      `\`\`\`text\n${out}\`\`\`\n`,
    )
  })

  it('tells a mistake in one line with the usage, and ends with 1', async () => {
    for (const [args, why] of [
      [['agents', 'get'], '<agent_id> is missing. Usage: agentguard agents get <agent_id>'],
      [['agents', 'list', '--env', 'moon'], '--env is one of dev, stage, prod.'],
      [['logs', '--nope'], "Unknown option '--nope'"],
      [['agents', 'explode'], 'there is no command agents explode'],
    ] as const) {
      const { code, err } = await cli(args, {})
      expect([code, err]).toEqual([1, expect.stringContaining(why)])
    }
    expect((await cli(['--json', 'agents', 'list'])).code).toBe(0)
  })
})
