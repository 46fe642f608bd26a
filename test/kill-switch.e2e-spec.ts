import { KillAftermathService, type Killed } from '../src/kill-switch/aftermath.service.js'
import { KillDrillWorker } from '../src/kill-switch/drill.worker.js'
import type { KillSwitch, KillSwitchDrill } from '../src/kill-switch/kill-switch.dto.js'
import { DrillSwitchService } from '../src/kill-switch/drill.switch.service.js'
import { makeDrillId } from '../src/kill-switch/kill-switch.view.js'
import { Database } from '../src/platform/database/database.service.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client, withoutNames } from './support/client.js'
import { until } from './support/proofs.js'

interface Answer {
  allowed: boolean
  code: string
  decision_id: string
  log: { index: number }
}
interface Bot {
  agent_id: string
  key_id: string
  api_key: string
}

let app: RunningApp
let other: RunningApp
let root: Client
let org_id: string
let admin: Client

beforeAll(async () => {
  app = await startApp()
  other = await startApp({ database: app.database, settings: { ledger_kek: app.settings.ledger_kek } })
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
})
afterAll(async () => {
  await other?.close()
  await app?.close()
})
beforeEach(async () => {
  ;({ org_id, admin } = await tenant())
})
afterEach(async () => {
  await root.post('/kill-switch/deactivate', { scope: 'installation', reason: 'end of the test' })
})

async function tenant(): Promise<{ org_id: string; admin: Client }> {
  const { body } = await root.post<{ org_id: string }>('/organizations', { name: 'org' })
  const made = await keyOf('owner', body.org_id)
  return { org_id: body.org_id, admin: root.with({ 'X-Admin-Key': made }) }
}

async function keyOf(role: string, org = org_id, more: object = {}): Promise<string> {
  const headers = { 'X-Org-ID': org }
  const { status, body } = await root.post<{ api_key: string }>(
    '/admin-keys',
    { name: role, role, ...more },
    headers,
  )
  expect(status).toBe(201)
  return body.api_key
}

async function bot(by = admin, over: object = {}): Promise<Bot> {
  const agent = { name: 'bot', owner_team: 'ops', environment: 'prod', ...over }
  const { body } = await by.post<Bot>('/agents', agent)
  expect((await by.put(`/agents/${body.agent_id}/policy`, { allow: [{ action: '*' }] })).status).toBe(200)
  return body
}

/** Asks on both replicas; they must agree. */
async function ask({ api_key }: Pick<Bot, 'api_key'>, action = 'read:file'): Promise<string> {
  const codes = new Set<string>()
  for (const { url } of [app, other]) {
    const client = new Client(url, { 'X-Agent-Key': api_key })
    const { status, body } = await client.post<Answer>('/enforce', { action, resource: 'a' })
    expect(status).toBe(200)
    expect(body.allowed).toBe(body.code === 'allow_rule')
    codes.add(body.code)
  }
  expect(codes.size).toBe(1)
  return [...codes][0] ?? ''
}

const activate = (by: Client, scope: string, target?: string) =>
  by.post<KillSwitch>('/kill-switch/activate', { scope, ...(target && { target }), reason: 'it must stop' })
const deactivate = (by: Client, body: object) =>
  by.post<KillSwitch>('/kill-switch/deactivate', { reason: 'it may go on', ...body })

describe('every scope', () => {
  it.each<[string, (one: Bot) => string | undefined, object, string]>([
    ['organization', () => undefined, { environment: 'dev', owner_team: 'sales' }, 'kill_switch_active'],
    ['environment', () => 'prod', { environment: 'dev' }, 'allow_rule'],
    ['environment', () => 'production', { environment: 'stage' }, 'allow_rule'],
    ['team', () => 'ops', { owner_team: 'sales' }, 'allow_rule'],
    ['agent', (one) => one.agent_id, {}, 'allow_rule'],
    ['key', (one) => one.key_id, {}, 'allow_rule'],
    ['action', () => 'read:*', {}, 'kill_switch_active'],
  ])(
    '%s stops its own on every replica, and the next request after it ends is allowed',
    async (scope, target, over, beside) => {
      const one = await bot()
      const second = await bot(admin, over)
      const foreign = await bot((await tenant()).admin)
      expect([await ask(one), await ask(second)]).toEqual(['allow_rule', 'allow_rule'])
      const { status, body } = await activate(admin, scope, target(one))
      expect([status, body.scope, body.state, body.reason]).toEqual([200, scope, 'active', 'it must stop'])
      expect([await ask(one), await ask(second)]).toEqual(['kill_switch_active', beside])
      expect(await ask(foreign)).toBe('allow_rule')
      expect((await deactivate(admin, { kill_id: body.kill_id })).body.state).toBe('ended')
      expect([await ask(one), await ask(second)]).toEqual(['allow_rule', 'allow_rule'])
    },
  )

  it('action: matches in every spelling, and nothing else', async () => {
    const one = await bot()
    await activate(admin, 'action', 'delete:user')
    for (const action of ['delete:user', 'DeleteUser', 'delete user account'])
      expect(await ask(one, action)).toBe('kill_switch_active')
    expect(await ask(one, 'read:user')).toBe('allow_rule')
  })

  it('installation: stops every organization, stands in every log, and in the logs of new organizations', async () => {
    const one = await bot()
    const elsewhere = await tenant()
    const foreign = await bot(elsewhere.admin)
    expect((await activate(admin, 'installation')).status).toBe(403)
    const { status, body } = await activate(root, 'installation')
    expect(status).toBe(200)
    expect([await ask(one), await ask(foreign)]).toEqual(['kill_switch_active', 'kill_switch_active'])
    const later = await tenant()
    expect(await ask(await bot(later.admin))).toBe('kill_switch_active')
    expect((await activate(root, 'installation')).body.kill_id).toBe(body.kill_id)
    expect((await deactivate(elsewhere.admin, { kill_id: body.kill_id })).status).toBe(403)
    expect((await deactivate(root, { scope: 'installation' })).body.state).toBe('ended')
    expect([await ask(one), await ask(foreign)]).toEqual(['allow_rule', 'allow_rule'])
    for (const { admin: reader } of [{ admin }, elsewhere, later]) {
      const { body: entries } =
        await reader.get<{ event: string; change: KillSwitch & { id: string } }[]>('/logs?type=kill')
      expect(entries.map(({ event, change }) => [event, change.id, change.scope])).toEqual([
        ['kill_switch.deactivated', body.kill_id, 'installation'],
        ['kill_switch.activated', body.kill_id, 'installation'],
      ])
    }
  })

  it('of two that overlap, the widest is reported and the other holds when it ends', async () => {
    const one = await bot()
    await activate(admin, 'agent', one.agent_id)
    await activate(admin, 'team', 'ops')
    const asked = await root
      .with({ 'X-Agent-Key': one.api_key })
      .post<{ reason: string }>('/enforce', { action: 'a' })
    expect(asked.body.reason).toBe('A kill switch is active for the team ops')
    await deactivate(admin, { scope: 'team', target: 'ops' })
    expect(await ask(one)).toBe('kill_switch_active')
    await deactivate(admin, { scope: 'agent', target: one.agent_id })
    expect(await ask(one)).toBe('allow_rule')
  })

  it('follows an agent that changes its team or environment', async () => {
    const one = await bot()
    await bot(admin, { owner_team: 'sales' })
    await activate(admin, 'team', 'sales')
    expect(await ask(one)).toBe('allow_rule')
    await admin.patch(`/agents/${one.agent_id}`, { owner_team: 'sales' })
    expect(await ask(one)).toBe('kill_switch_active')
  })

  it('holds over a restart', async () => {
    const one = await bot()
    await activate(admin, 'agent', one.agent_id)
    const again = await startApp({
      database: app.database,
      settings: { ledger_kek: app.settings.ledger_kek },
    })
    try {
      const client = new Client(again.url, { 'X-Agent-Key': one.api_key })
      expect((await client.post<Answer>('/enforce', { action: 'a' })).body.code).toBe('kill_switch_active')
    } finally {
      await again.close()
    }
  })
})

describe('activating and deactivating', () => {
  it('needs the permission, a reason and a target that is there; foreign and missing are the same', async () => {
    const one = await bot()
    const foreign = await bot((await tenant()).admin)
    for (const role of ['auditor', 'developer', 'approver'])
      expect((await activate(root.with({ 'X-Admin-Key': await keyOf(role) }), 'organization')).status).toBe(
        403,
      )
    expect((await activate(root.with({ 'X-Agent-Key': one.api_key }), 'organization')).status).toBe(403)
    const bodies: [object, string][] = [
      [{ scope: 'organization' }, 'reason'],
      [{ scope: 'organization', reason: '' }, 'reason'],
      [{ scope: 'moon', reason: 'x' }, 'scope'],
      [{ scope: 'organization', target: 'x', reason: 'x' }, 'target'],
      [{ scope: 'team', reason: 'x' }, 'target'],
      [{ scope: 'environment', target: 'moon', reason: 'x' }, 'target'],
      [{ scope: 'action', target: '[', reason: 'x' }, 'target'],
    ]
    for (const [body, path] of bodies) {
      const { status, body: problem } = await admin.post('/kill-switch/activate', body)
      expect([status, problem.errors?.[0]?.path]).toEqual([422, path])
    }
    const pairs: [string, string, string, string][] = [
      ['agent', foreign.agent_id, 'agt_0000000000000000', 'agent_not_found'],
      ['key', foreign.key_id, 'key_0000000000000000', 'key_not_found'],
      ['team', 'not-a-team', 'no-team', 'team_not_found'],
    ]
    for (const [scope, theirs, none, code] of pairs) {
      const [a, b] = [await activate(admin, scope, theirs), await activate(admin, scope, none)]
      expect([a.status, (a.body as unknown as { code: string }).code]).toEqual([404, code])
      expect(withoutNames(a, theirs)).toEqual(withoutNames(b, none))
    }
    const kill = (await activate((await tenant()).admin, 'organization')).body
    const ended = [
      await deactivate(admin, { kill_id: kill.kill_id }),
      await deactivate(admin, { kill_id: 'kil_0' }),
    ]
    expect(ended.map(({ status }) => status)).toEqual([404, 404])
    expect((await deactivate(admin, { scope: 'organization' })).status).toBe(404)
    expect((await deactivate(admin, {})).status).toBe(422)
    expect((await deactivate(admin, { kill_id: 'kil_0', scope: 'team' })).status).toBe(422)
    expect(await ask(one)).toBe('allow_rule')
  })

  it('takes an environment by its long name, also to end it', async () => {
    const one = await bot()
    const made = await activate(admin, 'environment', 'production')
    expect([made.status, made.body.target]).toEqual([200, 'prod'])
    expect(await ask(one)).toBe('kill_switch_active')
    const ended = await deactivate(admin, { scope: 'environment', target: 'production' })
    expect([ended.status, ended.body.state]).toEqual([200, 'ended'])
    expect(await ask(one)).toBe('allow_rule')
  })

  it('twice changes nothing, and in parallel there is one switch and one entry of each', async () => {
    const one = await bot()
    const made = await Promise.all(Array.from({ length: 8 }, () => activate(admin, 'agent', one.agent_id)))
    expect(new Set(made.map(({ status, body }) => `${status} ${body.kill_id}`)).size).toBe(1)
    expect(await ask(one)).toBe('kill_switch_active')
    const { kill_id } = made[0]?.body ?? { kill_id: '' }
    const ended = await Promise.all(Array.from({ length: 8 }, () => deactivate(admin, { kill_id })))
    expect(new Set(ended.map(({ status, body }) => `${status} ${body.state}`))).toEqual(
      new Set(['200 ended']),
    )
    expect(await ask(one)).toBe('allow_rule')
    const { body: entries } = await admin.get<{ event: string }[]>('/logs?type=kill')
    expect(entries.map(({ event }) => event)).toEqual(['kill_switch.deactivated', 'kill_switch.activated'])
    expect((await admin.get<KillSwitch[]>('/kill-switch')).body).toEqual([])
    const { body: history } = await admin.get<KillSwitch[]>('/kill-switch?include_ended=true')
    expect(history.filter(({ scope }) => scope !== 'installation')).toEqual([
      expect.objectContaining({ kill_id, state: 'ended', deactivated_reason: 'it may go on' }),
    ])
  })

  it('of a team’s administrator reaches that team alone', async () => {
    const ours = await bot()
    const theirs = await bot(admin, { owner_team: 'sales' })
    const lead = root.with({ 'X-Admin-Key': await keyOf('operator', org_id, { team: 'ops' }) })
    for (const [scope, target] of [
      ['organization', undefined],
      ['environment', 'prod'],
      ['action', '*'],
    ] as const)
      expect((await activate(lead, scope, target)).status).toBe(403)
    for (const [scope, target] of [
      ['team', 'sales'],
      ['agent', theirs.agent_id],
      ['key', theirs.key_id],
    ] as const)
      expect((await activate(lead, scope, target)).status).toBe(404)
    const { body: hidden } = await activate(admin, 'agent', theirs.agent_id)
    expect((await deactivate(lead, { kill_id: hidden.kill_id })).status).toBe(404)
    expect((await activate(lead, 'key', ours.key_id)).status).toBe(200)
    const { body: wide } = await activate(admin, 'organization')
    expect((await deactivate(lead, { kill_id: wide.kill_id })).status).toBe(403)
    const { body: seen } = await lead.get<KillSwitch[]>('/kill-switch')
    expect(seen.map(({ scope }) => scope)).toEqual(['organization', 'key'])
  })

  it('tells who listens after the commit: what they throw undoes nothing and is tried again', async () => {
    const one = await bot()
    const told: Killed[] = []
    let failures = 0
    app.app.get(KillAftermathService).onKill((killed) => {
      if (killed.org_id !== org_id) return Promise.resolve()
      if (killed.scope === 'key' && failures++ === 0) return Promise.reject(new Error('not now'))
      told.push(killed)
      return Promise.resolve()
    })
    const { status, body } = await activate(admin, 'key', one.key_id)
    expect([status, await ask(one)]).toEqual([200, 'kill_switch_active'])
    await until(() => Promise.resolve(told.length > 0 || null))
    expect(failures).toBeGreaterThan(1)
    expect(told[0]).toMatchObject({ org_id, kill_id: body.kill_id, scope: 'key', target: one.key_id })
    await activate(root, 'installation')
    await until(() => Promise.resolve(told.some(({ scope }) => scope === 'installation') || null))
  })
})

describe('two people', () => {
  it('end an organization-wide switch: one alone does not, nor twice, nor too late', async () => {
    const one = await bot()
    const second = root.with({ 'X-Admin-Key': await keyOf('operator') })
    expect((await second.put('/kill-switch/settings', { two_people: true })).status).toBe(403)
    expect((await admin.put('/kill-switch/settings', { two_people: true })).status).toBe(200)
    const { kill_id } = (await activate(admin, 'organization')).body
    expect((await admin.put('/kill-switch/settings', { two_people: false })).status).toBe(409)

    const asked = await deactivate(admin, { kill_id })
    expect([asked.status, asked.body.state]).toEqual([202, 'active'])
    expect(asked.body.release).toMatchObject({ reason: 'it may go on' })
    expect((await deactivate(admin, { kill_id })).status).toBe(409)
    expect(await ask(one)).toBe('kill_switch_active')

    // As time would do it: the first request is forgotten, so the next one is a first again.
    await app.app.get(Database).withOrg({ org_id }, (tx) =>
      tx.killSwitch.updateMany({
        where: { kill_id },
        data: { release_at: new Date(Date.now() - 16 * 60_000) },
      }),
    )
    expect((await deactivate(second, { kill_id })).status).toBe(202)
    expect((await deactivate(second, { kill_id })).status).toBe(409)
    expect((await deactivate(admin, { kill_id })).body.state).toBe('ended')
    expect(await ask(one)).toBe('allow_rule')
    await activate(admin, 'organization')
    expect((await deactivate(admin, { scope: 'organization' })).status).toBe(202)
    const done = await deactivate(root.with({ ...root.headers, 'X-Org-ID': org_id }), {
      scope: 'organization',
    })
    expect([done.status, done.body.state]).toEqual([200, 'ended'])
    expect(await ask(one)).toBe('allow_rule')

    const { body: entries } = await admin.get<{ event: string; actor: { id: string } }[]>(
      '/logs?type=kill,config&limit=3',
    )
    expect(entries.map(({ event }) => event)).toEqual([
      'kill_switch.deactivated',
      'kill_switch.release_requested',
      'kill_switch.activated',
    ])
    expect(entries[0]?.actor.id).not.toBe(entries[1]?.actor.id)
  })

  it('are not needed for a narrower switch', async () => {
    await bot()
    await admin.put('/kill-switch/settings', { two_people: true })
    const { kill_id } = (await activate(admin, 'team', 'ops')).body
    expect((await deactivate(admin, { kill_id })).body.state).toBe('ended')
  })
})

it('is counted for operators', async () => {
  await activate(admin, 'organization')
  await activate(root, 'installation')
  const { text } = await root.get('/metrics')
  expect(text).toMatch(/agentguard_kill_switch_active\{scope="installation"\} [01]/)
  const { body } = await root.get<{ kill_switches: object }>('/health/stats')
  expect(body.kill_switches).toEqual({ active: expect.any(Number), installation: expect.any(Boolean) })
})

describe('a drill', () => {
  const drill = (by: Client, body: object = {}) => by.post<KillSwitchDrill>('/kill-switch/drill', body)
  const active = async () => (await admin.get<KillSwitch[]>('/kill-switch')).body
  const agents = async () => (await admin.get<{ agent_id: string; owner_team: string }[]>('/agents')).body

  it('stops a canary, lets it go on, records the figures, and shows no key', async () => {
    const { status, body } = await drill(admin)
    expect([status, body.held, body.allowed_after]).toEqual([200, true, 0])
    expect(body.commit_ms).toBeGreaterThan(0)
    expect(body.first_denied_ms).toBeGreaterThan(0)
    expect(JSON.stringify(body)).not.toContain('agk_')
    expect(await active()).toEqual([])
    const { kill_id, agent_id } = body
    const { body: keys } = await admin.get<{ state: string }[]>(`/agents/${agent_id}/keys`)
    expect(keys.map(({ state }) => state)).toEqual(['revoked', 'revoked'])
    const { body: entries } =
      await admin.get<{ event: string; change?: { id: string; op: string } }[]>('/logs?type=config')
    expect(entries.find(({ event }) => event === 'kill_switch.drilled')?.change).toMatchObject({
      id: kill_id,
      op: 'drilled',
    })
    const { body: switches } = await admin.get<{ event: string }[]>('/logs?type=kill')
    expect(switches.map(({ event }) => event)).toEqual(['kill_switch.deactivated', 'kill_switch.activated'])
    // The same canary the next time.
    expect((await drill(admin)).body.agent_id).toBe(agent_id)
    expect(await agents()).toHaveLength(1)
  })

  it('of a named agent is refused when it is stopped already, may not ask, or is not there', async () => {
    const one = await bot()
    const { status, body } = await drill(admin, { agent_id: one.agent_id })
    expect([status, body.agent_id, body.held]).toEqual([200, one.agent_id, true])
    expect(await ask(one)).toBe('allow_rule')
    const { kill_id } = (await activate(admin, 'team', 'ops')).body
    expect((await drill(admin, { agent_id: one.agent_id })).status).toBe(409)
    expect((await active()).map((kill) => kill.kill_id)).toEqual([kill_id])
    await deactivate(admin, { kill_id })
    await admin.put(`/agents/${one.agent_id}/policy`, { allow: [{ action: 'read:file' }] })
    expect((await drill(admin, { agent_id: one.agent_id })).status).toBe(409)
    const foreign = await bot((await tenant()).admin)
    expect((await drill(admin, { agent_id: foreign.agent_id })).status).toBe(404)
    expect(await active()).toEqual([])
  })

  it('of a team’s administrator stays within the team, and needs the permission', async () => {
    const theirs = await bot(admin, { owner_team: 'sales' })
    await bot()
    const lead = root.with({ 'X-Admin-Key': await keyOf('operator', org_id, { team: 'ops' }) })
    expect((await drill(lead, { agent_id: theirs.agent_id })).status).toBe(404)
    const { agent_id } = (await drill(lead)).body
    expect((await agents()).find((agent) => agent.agent_id === agent_id)?.owner_team).toBe('ops')
    expect((await drill(root.with({ 'X-Admin-Key': await keyOf('auditor') }))).status).toBe(403)
  })

  it('leaves nothing active when something fails, or when its process ends', async () => {
    const { agent_id } = await bot()
    // Committed, and then the call fails all the same.
    const follow = jest.spyOn(app.app.get(KillAftermathService), 'follow')
    follow.mockImplementationOnce(() => {
      throw new Error('not now')
    })
    expect((await drill(admin, { agent_id })).status).toBe(500)
    follow.mockRestore()
    expect(await active()).toEqual([])
    // As a process leaves it that ends in the middle: others wait, until it is found.
    const kills = app.app.get(DrillSwitchService)
    const kill_id = makeDrillId()
    const by = { kind: 'root', org_id, permissions: new Set<never>() } as const
    await kills.activateDrill(by, kill_id, agent_id)
    expect((await drill(admin)).status).toBe(409)
    await app.app.get(KillDrillWorker).round()
    expect(await active()).toHaveLength(1) // it may still run
    const activated_at = new Date(Date.now() - 60_000)
    const left = { where: { kill_id }, data: { activated_at } }
    await app.app.get(Database).withOrg({ org_id }, (tx) => tx.killSwitch.updateMany(left))
    // Whichever replica's worker looks first.
    await until(async () => {
      await other.app.get(KillDrillWorker).round()
      return (await active()).length === 0 ? true : null
    })
    expect((await drill(admin, { agent_id })).status).toBe(200)
  })

  it('does not swallow a switch that somebody means, activated for the canary meanwhile', async () => {
    const one = await bot()
    const drilled = makeDrillId()
    const by = { kind: 'root', org_id, permissions: new Set<never>() } as const
    await app.app.get(DrillSwitchService).activateDrill(by, drilled, one.agent_id)
    const { body } = await activate(admin, 'agent', one.agent_id)
    expect(body.kill_id).not.toBe(drilled)
    await app.app.get(DrillSwitchService).endDrills(org_id, { kill_id: drilled })
    expect((await active()).map(({ kill_id }) => kill_id)).toEqual([body.kill_id])
    expect(await ask(one)).toBe('kill_switch_active')
  })

  it('runs one at a time in an organization', async () => {
    const statuses = (await Promise.all([drill(admin), drill(admin), drill(admin)])).map(
      ({ status }) => status,
    )
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(0)
    expect(statuses.every((status) => status === 200 || status === 409)).toBe(true)
    expect(await active()).toEqual([])
  })
})
