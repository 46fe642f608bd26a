import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { BundleVerifier } from '../src/core/ledger/verify.js'
import { TOOLS } from '../sdk/src/crypto.js'
import { AgentGuardDenied, AgentGuardUnavailable } from '../sdk/src/index.js'
import { LocalGuard, type LocalGuardOptions } from '../sdk/src/local.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'
import { LocalService } from './support/local-service.js'
import { until } from './support/proofs.js'

let dir: string
let service: LocalService
const open = new Set<LocalGuard>()

beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'agentguard-local-'))
  service = new LocalService()
})
afterEach(async () => {
  for (const guard of open) await guard.close({ timeoutMs: 0 })
  open.clear()
  rmSync(dir, { recursive: true, force: true })
})

function start(options: Partial<LocalGuardOptions> = {}): LocalGuard {
  const guard = new LocalGuard({
    agentKey: 'agk_x',
    agentId: service.agent.agent_id,
    baseURL: 'http://local.test',
    spool: dir,
    fetch: service.fetch,
    clocks: service.clocks,
    follow: false,
    ...options,
  })
  open.add(guard)
  return guard
}

/** The code with which a guard refuses; what it answers when it does not. */
const refusal = (guard: LocalGuard, action = 'read:file') =>
  guard.enforce({ action }).then(
    ({ status }) => status,
    (error: unknown) => (error as { code?: string }).code,
  )

describe('a LocalGuard', () => {
  it('decides without asking, and brings what it decided into the log', async () => {
    const guard = start()
    const allowed = await guard.enforce({ action: 'read file', resource: '/a', arguments: { path: '/a' } })
    expect(allowed).toMatchObject({
      allowed: true,
      status: 'allowed',
      code: 'allow_rule',
      matched_rule: { scope: 'agent', list: 'allow', index: 0 },
      policy_version: 1,
      local: { seq: 0 },
    })
    expect(await guard.enforce({ action: 'write' })).toMatchObject({ allowed: false, code: 'default_deny' })
    await guard.flush()
    expect([service.asked, service.recorded, guard.waiting]).toEqual([
      [],
      ['read file allow', 'write deny'],
      0,
    ])
    expect(service.batches[0]?.decisions[0]).toMatchObject({
      seq: 0,
      decided_at: service.time,
      resource: '/a',
      arguments: { path: '/a' },
    })
  })

  it('answers only when the decision is on disk, as it was then', async () => {
    const guard = start()
    const args = { path: '/a' }
    const deciding = guard.enforce({ action: 'read file', arguments: args })
    await Promise.resolve()
    await deciding
    args.path = '/changed'
    const [file = ''] = readdirSync(dir)
    expect(readFileSync(path.join(dir, file), 'utf8')).toContain('"arguments":{"path":"/a"}')
    await guard.flush()
    expect(service.batches[0]?.decisions[0]).toMatchObject({ arguments: { path: '/a' } })
  })

  it('asks the service what it may not decide itself', async () => {
    service.documents = {
      organization: { require_online: ['send:*'] },
      agent: {
        allow: [
          { action: '*' },
          { action: 'tick', conditions: { time_range: { start: '00:00', end: '23:59', tz: 'Asia/Tokyo' } } },
        ],
        require_approval: [{ action: 'pay' }],
      },
    }
    const guard = start()
    for (const action of ['send:mail', 'pay', 'tick', 'read']) await guard.enforce({ action })
    await guard.enforce({ action: 'read', approval_id: 'apr_a' })
    await guard.enforce({ action: 'read', context: { large: 'x'.repeat(65_536) } })
    expect(service.asked).toEqual(['send:mail', 'pay', 'tick', 'read', 'read'])
    await guard.flush()
    expect(service.recorded).toEqual(['read allow'])
  })

  it('decides by what a request carries, as the service will read it, and asks about what that refuses', async () => {
    const when = (test: unknown) => ({
      action: 'write',
      conditions: { request: { '/arguments/status': test } },
    })
    service.documents = { agent: { allow: [{ action: '*' }], deny: [when(['archived', null])] } }
    const guard = start()
    const at = new Date(0)
    const wears = { toJSON: () => 'archived', value: 1 }
    const asked = [
      { status: 'open' },
      { status: 'Archived' },
      { status: undefined },
      { status: at },
      { status: wears },
    ]
    const codes: string[] = []
    for (const args of asked) codes.push((await guard.enforce({ action: 'write', arguments: args })).code)
    expect(codes).toEqual(['allow_rule', 'deny_rule', 'deny_rule', 'allow_rule', 'deny_rule'])
    const named = JSON.parse('{"constructor": 1}') as Record<string, unknown>
    for (const args of [named, { a: 'nul\0' }, { a: 1n }])
      await guard.enforce({ action: 'read', arguments: args }).catch(() => {})
    await guard.flush()
    expect(service.asked).toEqual(['read', 'read'])
    const written = service.batches.flatMap(({ decisions }) => decisions.map((made) => made.arguments))
    expect(written).toEqual([
      { status: 'open' },
      { status: 'Archived' },
      {},
      { status: at.toISOString() },
      { status: 'archived' },
    ])
  })

  it('stops with its lease, and goes on with the next', async () => {
    const guard = start()
    expect(await refusal(guard)).toBe('allowed')
    service.instead.set('/v1/agents/agt_local/bundle', () => Promise.reject(new Error('down')))
    service.time += service.lease_ms - 1
    expect(await refusal(guard)).toBe('allowed')
    service.time += 1
    expect(await refusal(guard)).toBe('lease_expired')
    let acted = 0
    const tool = guard.guard({ report: false }).tool('read file', () => ++acted)
    await expect(tool()).rejects.toBeInstanceOf(AgentGuardUnavailable)
    expect(acted).toBe(0)
    service.instead.clear()
    expect(await tool()).toBe(1)
  })

  it('does not believe clocks that disagree, as after a machine has slept', async () => {
    let slept = 0
    const guard = start({ clocks: () => ({ monotonic: service.time, wall: service.time + slept }) })
    expect(await refusal(guard)).toBe('allowed')
    service.instead.set('/v1/agents', () => Promise.reject(new Error('down')))
    slept = 60_000
    expect(await refusal(guard)).toBe('lease_expired')
  })

  it('heeds a kill switch and a changed policy with the next lease', async () => {
    const guard = start()
    expect(await refusal(guard)).toBe('allowed')
    service.kill = [{ id: 'kil_a', scope: 'agent', target: service.agent.agent_id }]
    service.config = { ...service.config, agent: 2 }
    service.time += service.lease_ms
    const tool = guard.guard({ report: false }).tool('read file', () => 'done')
    await expect(tool()).rejects.toMatchObject({ code: 'kill_switch_active' })
    await expect(tool()).rejects.toBeInstanceOf(AgentGuardDenied)
    await guard.flush()
    expect(service.recorded).toEqual(['read:file allow', 'read file deny', 'read file deny'])
  })

  it('refuses what is not signed by a key that is trusted, or answers another question', async () => {
    const stranger = new LocalService()
    expect(await refusal(start({ keys: [stranger.key] }))).toBe('bundle_invalid')

    const old: { answer: Response | null } = { answer: null }
    service.instead.set('/v1/agents/agt_local/bundle', (answer) => {
      old.answer ??= answer()
      return old.answer.clone()
    })
    const replayed = start()
    expect(await refusal(replayed)).toBe('allowed')
    service.time += service.lease_ms
    expect(await refusal(replayed)).toBe('bundle_invalid')

    service.instead.set('/v1/agents/agt_local/bundle', async (answer) => {
      const real = answer()
      const body = (await real.json()) as { policies: { document: string }[] }
      for (const policy of body.policies) policy.document = '{"allow":[{"action":"*"}]}'
      return new Response(JSON.stringify(body), { headers: real.headers })
    })
    expect(await refusal(start(), 'write')).toBe('bundle_invalid')
    service.instead.clear()
    expect(await refusal(start({ agentId: 'agt_other' }))).toBe('bundle_invalid')
    service.engine = { semantics: 2, stages: { kill: 1, rules: 1 } }
    expect(await refusal(start())).toBe('engine_unknown')
  })

  it('refuses an older configuration than it had', async () => {
    service.config = { installation: 1, organization: 5, agent: 5 }
    const guard = start()
    expect(await refusal(guard)).toBe('allowed')
    service.config = { installation: 1, organization: 5, agent: 4 }
    service.time += service.lease_ms
    expect(await refusal(guard)).toBe('bundle_rolled_back')
    service.config = { installation: 1, organization: 6, agent: 5 }
    expect(await refusal(guard)).toBe('allowed')
  })

  it('refuses at once when the service does: the key is revoked, or local decisions are forbidden', async () => {
    const guard = start()
    expect(await refusal(guard)).toBe('allowed')
    const body = JSON.stringify({ code: 'invalid_credentials', detail: 'no' })
    const headers = { 'Content-Type': 'application/problem+json' }
    service.instead.set('/v1/agents/agt_local/bundle', () => new Response(body, { status: 401, headers }))
    service.time += service.lease_ms / 2
    await until(async () => ((await refusal(guard)) === 'bundle_refused' ? true : null))
  })
})

describe('the spool', () => {
  it('holds what the service does not take now, and refuses when it is full', async () => {
    service.instead.set('/v1/agents/agt_local/decisions', () => Promise.reject(new Error('down')))
    const guard = start({ spoolBytes: 1_000 })
    const answers: unknown[] = []
    for (let n = 0; n < 20; n++) answers.push(await refusal(guard))
    expect(answers[0]).toBe('allowed')
    expect(answers.at(-1)).toBe('spool_full')
    const kept = guard.waiting
    service.instead.clear()
    await guard.flush()
    expect([service.recorded.length, guard.waiting]).toEqual([kept, 0])
    expect(await refusal(guard)).toBe('allowed')
  })

  it('refuses when it cannot be written, and does not try its luck again', async () => {
    const file = path.join(dir, 'a-file')
    writeFileSync(file, '')
    const guard = start({ spool: file })
    expect(await refusal(guard)).toBe('spool_failed')
    rmSync(file)
    expect(await refusal(guard)).toBe('spool_failed')
  })

  it('is sent by the next process when this one could not', async () => {
    service.instead.set('/v1/agents/agt_local/decisions', () => Promise.reject(new Error('down')))
    const first = start()
    for (const action of ['read:a', 'read:b']) await first.enforce({ action })
    await first.close({ timeoutMs: 0 })
    const [file = ''] = readdirSync(dir)
    // As a crash in the middle of a line leaves it.
    writeFileSync(path.join(dir, file), `${readFileSync(path.join(dir, file), 'utf8')}{"seq":2,"acti`)
    service.instead.clear()
    const second = start()
    await second.ready()
    await until(async () => Promise.resolve(readdirSync(dir).length === 0 || null))
    expect(service.recorded).toEqual(['read:a allow', 'read:b allow'])
  })

  it('of another process that runs is left alone', async () => {
    const name = `${process.ppid}-01980000-0000-7000-8000-000000000000-0.jsonl`
    writeFileSync(path.join(dir, name), '{"basis":{"manifest":"","lease":""}}\n{"seq":0}\n')
    const guard = start()
    await guard.enforce({ action: 'read' })
    await guard.close()
    expect([readdirSync(dir), service.recorded]).toEqual([[name], ['read allow']])
    renameSync(path.join(dir, name), path.join(dir, name.replace(/^\d+/, '999999999')))
    await start().ready()
    await until(async () => Promise.resolve(readdirSync(dir).length === 0 || null))
  })

  it('stops everything when the service will never take what was decided', async () => {
    const body = JSON.stringify({ code: 'conflict', detail: 'no' })
    const headers = { 'Content-Type': 'application/problem+json' }
    service.instead.set('/v1/agents/agt_local/decisions', () => new Response(body, { status: 409, headers }))
    const guard = start()
    expect(await refusal(guard)).toBe('allowed')
    await guard.flush()
    expect(await refusal(guard)).toBe('record_refused')
    expect(guard.waiting).toBe(1)
  })
})

describe('with the service', () => {
  let app: RunningApp
  let root: Client

  beforeAll(async () => {
    app = await startApp()
    root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  })
  afterAll(async () => {
    await app?.close()
  })

  async function agent() {
    const made = { name: 'bot', owner_team: 'ops', environment: 'prod' }
    const { body } = await root.post<{ agent_id: string; api_key: string }>('/agents', made)
    await root.put(`/agents/${body.agent_id}/policy`, {
      allow: [{ action: 'read:*' }],
      require_online: ['read:online'],
    })
    const guard = new LocalGuard({
      agentKey: body.api_key,
      agentId: body.agent_id,
      baseURL: app.url,
      spool: dir,
    })
    open.add(guard)
    return { ...body, guard }
  }

  it('decides, records and reports; the log is verified and every verdict made again', async () => {
    const { guard, agent_id } = await agent()
    const readFile = guard.guard().tool('read file', ({ path: file }: { path: string }) => `text of ${file}`)
    expect(await readFile({ path: '/a' })).toBe('text of /a')
    await expect(guard.guard().tool('write file', () => 1)()).rejects.toBeInstanceOf(AgentGuardDenied)
    expect(await guard.enforce({ action: 'read:online' })).not.toHaveProperty('local')
    await guard.close()
    expect(readdirSync(dir)).toEqual([])
    const { body } = await root.get<{ event: string; action: string; allowed: boolean; metadata: object }[]>(
      `/logs?agent_id=${agent_id}`,
    )
    expect(body.map(({ event, action, allowed }) => `${event} ${action} ${allowed}`).sort()).toEqual([
      'action.reported read file true',
      'decision.local read file true',
      'decision.local write file false',
      'decision.made read:online true',
    ])
    expect(body.find(({ event }) => event === 'action.reported')?.metadata).toMatchObject({
      local_decision: expect.stringMatching(/\/0$/) as unknown,
    })
    const { text } = await root.get('/logs/export?format=ndjson')
    const verifier = new BundleVerifier(TOOLS, {})
    for (const line of text.split('\n').filter(Boolean)) verifier.line(line)
    expect(verifier.finish().findings.filter(({ kind }) => kind !== 'signature')).toEqual([])
  })

  it('hears of a kill switch as it happens, and stops', async () => {
    const { guard, agent_id } = await agent()
    expect(await refusal(guard)).toBe('allowed')
    const killed_at = performance.now()
    await root.post('/kill-switch/activate', { scope: 'agent', target: agent_id, reason: 'test' })
    await until(async () => ((await refusal(guard)) === 'denied' ? true : null))
    process.stderr.write(
      `  a kill switch stopped local decisions after ${Math.round(performance.now() - killed_at)} ms\n`,
    )
    await guard.close()
    const { body } = await root.get<{ code: string }[]>(`/logs?agent_id=${agent_id}&limit=1`)
    expect(body[0]?.code).toBe('kill_switch_active')
  })
})
