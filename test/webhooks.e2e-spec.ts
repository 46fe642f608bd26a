import { createHmac } from 'node:crypto'
import { Client as Postgres } from 'pg'
import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'
import { until } from './support/proofs.js'
import { Receiver, verifyStandardWebhook } from './support/receiver.js'

interface Hook {
  webhook_id: string
  secret: string
  url: string
  is_enabled: boolean
  disabled_reason: string | null
}
interface Sent {
  delivery_id: string
  event: string
  status: string
  attempts: number
  response_status: number | null
  error: string | null
  next_attempt_at: string | null
  log_id: string
  log_index: number
}

let app: RunningApp
let root: Client
let owner: Postgres
const receivers: Receiver[] = []

beforeAll(async () => {
  app = await startApp({ settings: { outbound_allow: ['127.0.0.1'] } })
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
})

afterAll(async () => {
  await owner?.end()
  await app?.close()
})

afterEach(async () => {
  for (const receiver of receivers.splice(0)) await receiver.close()
})

async function receiver(...answer: Parameters<typeof Receiver.start>): Promise<Receiver> {
  const started = await Receiver.start(...answer)
  receivers.push(started)
  return started
}

/** An organization of its own with an owner's key. */
async function organization(name = 'hooks'): Promise<{ admin: Client; org_id: string }> {
  const { org_id } = (await root.post<{ org_id: string }>('/organizations', { name })).body
  const inside = root.with({ ...root.headers, 'X-Org-ID': org_id })
  const key = await inside.post<{ api_key: string }>('/admin-keys', { name, role: 'owner' })
  return { org_id, admin: new Client(app.url, { 'X-Admin-Key': key.body.api_key }) }
}

async function agentOf(admin: Client, team = 'team-a') {
  const body = { name: 'agent', owner_team: team, environment: 'dev' }
  const made = await admin.post<{ agent_id: string; api_key: string }>('/agents', body)
  await admin.put(`/agents/${made.body.agent_id}/policy`, { allow: [{ action: 'read' }] })
  return { agent: new Client(app.url, { 'X-Agent-Key': made.body.api_key }), agent_id: made.body.agent_id }
}

async function hook(admin: Client, to: Receiver, body: object = {}): Promise<Hook> {
  const answer = await admin.post<Hook>('/webhooks', {
    name: 'hook',
    url: to.url,
    events: ['decision.made'],
    ...body,
  })
  expect([answer.status, answer.text]).toEqual([201, answer.text])
  return answer.body
}

const deliveriesOf = async (admin: Client, { webhook_id }: Hook, query = '') =>
  (await admin.get<Sent[]>(`/webhooks/${webhook_id}/deliveries${query}`)).body

/** Waits for a delivery of this state. */
const settled = (admin: Client, hook: Hook, status: string, count = 1) =>
  until(async () => {
    const found = (await deliveriesOf(admin, hook)).filter((delivery) => delivery.status === status)
    return found.length >= count ? found : null
  })

/**
 * Every retry of the webhook is due now: what else only three days would show. Not what is being attempted: that has no
 * outcome yet but the one of the attempt before, and would be sent twice.
 */
const hurry = (hook: Hook) =>
  owner.query(
    `UPDATE deliveries SET next_attempt_at = now() - interval '1 second'
     WHERE destination_id = $1 AND status = 'pending' AND response_status IS NOT NULL
       AND next_attempt_at IS DISTINCT FROM last_attempt_at + interval '30 seconds'`,
    [hook.webhook_id],
  )

/** Waits until the log has been turned into deliveries: what is enabled or deleted later changes nothing about them. */
const fannedOut = (org_id: string) =>
  until(async () => {
    const { rows } = await owner.query<{ done: boolean }>(
      'SELECT c.next_index >= h.size AS done FROM event_cursors c JOIN ledger.ledger_head h USING (org_id) WHERE org_id = $1',
      [org_id],
    )
    return rows[0]?.done === true ? true : null
  })

const ask = (agent: Client, resource: string) =>
  agent.post<{ decision_id: string }>('/enforce', { action: 'read', resource, context: { secret: resource } })

describe('a webhook', () => {
  it('gets what it asks for, signed so that an independent verifier accepts it', async () => {
    const { admin, org_id } = await organization()
    const { agent, agent_id } = await agentOf(admin)
    const to = await receiver()
    const made = await hook(admin, to)
    const { decision_id } = (await ask(agent, 'file-1')).body
    const [got] = await to.arrived(1)
    expect(verifyStandardWebhook(made.secret, got!.headers, got!.text)).toBe(true)
    expect(got!.headers['webhook-id']).toBe(`${decision_id}_${made.webhook_id}`)
    const older = createHmac('sha256', made.secret).update(got!.text).digest('hex')
    expect(got!.headers['x-agentguard-signature']).toBe(`sha256=${older}`)
    expect(got!.headers['content-type']).toBe('application/json')
    expect(got!.body).toMatchObject({
      type: 'decision.made',
      data: {
        org_id,
        log_id: decision_id,
        subject: { agent_id },
        decision: { effect: 'allow' },
        resource: { raw: 'file-1' },
        url: `https://agentguard.test/dashboard/logs/view?id=${decision_id}`,
      },
    })
    // The context is erasable: it is not sent to who did not ask for it.
    expect(got!.text).not.toContain('secret')
    expect(got!.body.data).not.toHaveProperty('payload')
    const [delivery] = await settled(admin, made, 'delivered')
    expect(delivery).toMatchObject({ attempts: 1, response_status: 200, error: null, next_attempt_at: null })
    expect(delivery!.delivery_id).toBe(got!.headers['webhook-id'])
  })

  it('gets the erasable payload when it asks for it, and CloudEvents in structured mode', async () => {
    const { admin, org_id } = await organization()
    const { agent, agent_id } = await agentOf(admin)
    const to = await receiver()
    const made = await hook(admin, to, { mode: 'cloudevents', include_payload: true })
    const { decision_id } = (await ask(agent, 'file-2')).body
    const [got] = await to.arrived(1)
    expect(verifyStandardWebhook(made.secret, got!.headers, got!.text)).toBe(true)
    expect(got!.headers['content-type']).toBe('application/cloudevents+json; charset=utf-8')
    expect(got!.body).toMatchObject({
      specversion: '1.0',
      id: decision_id,
      source: `urn:agentguard:${org_id}`,
      type: 'dev.agentguard.decision.made.v1',
      subject: agent_id,
      datacontenttype: 'application/json',
      data: { log_id: decision_id, payload: { context: { secret: 'file-2' } } },
    })
  })

  it('gets only its events, of its team, from its making on; what it does not ask for makes no delivery', async () => {
    const { admin } = await organization()
    const a = await agentOf(admin, 'team-a')
    const b = await agentOf(admin, 'team-b')
    await ask(a.agent, 'before')
    const [all, team, other] = [await receiver(), await receiver(), await receiver()]
    await hook(admin, all, { events: ['*'] })
    await hook(admin, team, { team: 'team-b' })
    const none = await hook(admin, other, { events: ['kill_switch.*', 'agent.updated'] })
    await ask(a.agent, 'one')
    await ask(b.agent, 'two')
    await admin.patch(`/agents/${a.agent_id}`, { name: 'renamed' })
    await all.arrived(6)
    expect([...all.events].sort()).toEqual(
      [
        'agent.updated',
        'decision.made',
        'decision.made',
        'webhook.created',
        'webhook.created',
        'webhook.created',
      ].sort(),
    )
    await team.arrived(1)
    expect(team.received.map(({ body }) => body.data.resource)).toEqual([{ raw: 'two', key: 'two' }])
    await other.arrived(1)
    expect(other.events).toEqual(['agent.updated'])
    expect(await deliveriesOf(admin, none)).toHaveLength(1)
  })

  it('never gets anything of another organization', async () => {
    const [one, two] = [await organization('one'), await organization('two')]
    const to = await receiver()
    await hook(one.admin, to, { events: ['*'] })
    const theirs = await agentOf(two.admin)
    await hook(two.admin, await receiver(), { events: ['*'] })
    await ask(theirs.agent, 'foreign')
    const own = await agentOf(one.admin)
    await ask(own.agent, 'own')
    await until(async () => (to.events.includes('decision.made') ? true : null))
    expect(to.received.every(({ body }) => body.data.org_id === one.org_id)).toBe(true)
    expect(to.received.some(({ text }) => text.includes('foreign'))).toBe(false)
  })

  it('shows its secret once, and keeps it sealed', async () => {
    const { admin } = await organization()
    const made = await hook(admin, await receiver())
    expect(made.secret).toMatch(/^whsec_/)
    expect((await admin.get(`/webhooks/${made.webhook_id}`)).text).not.toContain('whsec_')
    expect((await admin.get('/webhooks')).text).not.toContain('whsec_')
    const { rows } = await owner.query<{ all: string }>(
      "SELECT concat((SELECT string_agg(w::text, '') FROM webhooks w), (SELECT string_agg(s::text, '') FROM webhook_secrets s), (SELECT string_agg(convert_from(entry, 'UTF8'), '') FROM ledger.ledger_entry)) AS all",
    )
    expect(rows[0]!.all).not.toContain(made.secret.slice(6, 20))
  })

  it('signs with both secrets while they overlap, and with the new one alone afterwards or at once', async () => {
    const { admin } = await organization()
    const to = await receiver()
    const made = await hook(admin, to)
    const rotate = async (body: object) =>
      (await admin.post<Hook>(`/webhooks/${made.webhook_id}/rotate-secret`, body)).body.secret
    const test = async (count: number) => {
      await admin.post(`/webhooks/${made.webhook_id}/test`, {})
      return (await to.arrived(count))[count - 1]!
    }
    const second = await rotate({})
    let got = await test(1)
    expect([made.secret, second].map((key) => verifyStandardWebhook(key, got.headers, got.text))).toEqual([
      true,
      true,
    ])
    const third = await rotate({ overlap_hours: 1 })
    got = await test(2)
    const secrets = [made.secret, second, third]
    expect(secrets.map((key) => verifyStandardWebhook(key, got.headers, got.text))).toEqual([
      false,
      true,
      true,
    ])
    await owner.query(
      "UPDATE webhook_secrets SET expires_at = now() - interval '1 second' WHERE expires_at IS NOT NULL",
    )
    got = await test(3)
    expect(secrets.map((key) => verifyStandardWebhook(key, got.headers, got.text))).toEqual([
      false,
      false,
      true,
    ])
    const fourth = await rotate({ overlap_hours: 0 })
    got = await test(4)
    expect([third, fourth].map((key) => verifyStandardWebhook(key, got.headers, got.text))).toEqual([
      false,
      true,
    ])
  })

  it('is in the log with every change, without secrets and without the path of its URL', async () => {
    const { admin } = await organization()
    const to = await receiver()
    const made = await hook(admin, to)
    await admin.patch(`/webhooks/${made.webhook_id}`, { name: 'renamed', is_enabled: false })
    await admin.patch(`/webhooks/${made.webhook_id}`, { is_enabled: true })
    await admin.post(`/webhooks/${made.webhook_id}/rotate-secret`, {})
    await admin.post(`/webhooks/${made.webhook_id}/test`, {})
    await admin.post(`/webhooks/${made.webhook_id}/replay`, { from: '2026-01-01T00:00:00Z' })
    expect((await admin.delete(`/webhooks/${made.webhook_id}`)).status).toBe(204)
    const log = await admin.get<{ event: string; before: object; after: object }[]>('/logs?type=config')
    expect(log.body.map(({ event }) => event).filter((event) => event.startsWith('webhook.'))).toEqual([
      'webhook.deleted',
      'webhook.replayed',
      'webhook.tested',
      'webhook.secret_rotated',
      'webhook.updated',
      'webhook.updated',
      'webhook.created',
    ])
    expect(log.text).not.toContain('whsec_')
    expect(log.text).not.toContain('/hook')
    expect(log.body[0]).toMatchObject({ before: { name: 'renamed', events: ['decision.made'] }, after: null })
    expect(log.body[4]).toMatchObject({ before: { is_enabled: false }, after: { is_enabled: true } })
  })
})

describe('what is asked for wrongly', () => {
  it('is refused with what to do instead', async () => {
    const { admin } = await organization()
    const valid = { name: 'x', url: 'https://hooks.example.com/x', events: ['decision.made'] }
    const refused = async (body: object) => {
      const { status, body: problem } = await admin.post('/webhooks', { ...valid, ...body })
      return [status, problem.errors?.map(({ path }) => path).join()]
    }
    expect((await admin.post('/webhooks', valid)).status).toBe(201)
    for (const url of [
      'https://169.254.169.254/latest',
      'https://[::ffff:7f00:1]/',
      'https://2130706433/',
      'https://user:pass@hooks.example.com/',
      'ftp://hooks.example.com/',
      'file:///etc/passwd',
      'x'.repeat(3000),
      7,
      null,
    ])
      expect([url, ...(await refused({ url }))]).toEqual([url, 422, 'url'])
    for (const events of [
      [],
      ['*', '*'],
      ['decision'],
      ['Decision.made'],
      ['decision.made '],
      ['.*'],
      'decision.made',
      [1],
      [null],
    ])
      expect([events, (await refused({ events }))[0]]).toEqual([events, 422])
    expect(await refused({ team: 'nobody' })).toEqual([422, 'team'])
    expect(await refused({ mode: 'soap' })).toEqual([422, 'mode'])
    expect(await refused({ secret: 'mine' })).toEqual([422, 'secret'])
  })

  it('is refused when it would send what the caller may not read', async () => {
    const { admin } = await organization()
    const limited = async (permissions: string[]) => {
      const role = `r${permissions.length}${permissions.join('').length}`
      const made = await admin.post('/roles', { role, permissions })
      expect([201, 404]).toContain(made.status)
      if (made.status === 404) return null // roles of an organization's own are not served yet
      const key = await admin.post<{ api_key: string }>('/admin-keys', { name: role, role })
      return new Client(app.url, { 'X-Admin-Key': key.body.api_key })
    }
    const blind = await limited(['webhooks:write', 'webhooks:read'])
    if (!blind) return
    const body = { name: 'x', url: 'https://hooks.example.com/x' }
    for (const events of [['decision.made'], ['*'], ['approval.*'], ['kill_switch.*'], ['agent.updated']])
      expect((await blind.post('/webhooks', { ...body, events })).status).toBe(403)
    const reader = await limited(['webhooks:write', 'webhooks:read', 'logs:read'])
    expect((await reader!.post('/webhooks', { ...body, events: ['decision.*'] })).status).toBe(201)
    expect((await reader!.post('/webhooks', { ...body, events: ['decision.*', 'key.*'] })).status).toBe(403)
  })
})

describe('a receiver that fails', () => {
  it('is tried again under the same id, after the pause it asks for', async () => {
    const { admin } = await organization()
    const { agent } = await agentOf(admin)
    const to = await receiver((response, _, count) => {
      if (count === 1) response.writeHead(503, { 'retry-after': '3600' }).end()
      else response.end()
    })
    const made = await hook(admin, to)
    await ask(agent, 'again')
    const waiting = await until(async () => {
      const [delivery] = await deliveriesOf(admin, made)
      return delivery?.response_status === 503 ? delivery : null
    })
    expect(waiting).toMatchObject({ status: 'pending', attempts: 1, error: 'the receiver answered 503' })
    const pause_s = (Date.parse(waiting.next_attempt_at!) - Date.now()) / 1000
    expect(pause_s).toBeGreaterThan(3500)
    expect(pause_s).toBeLessThan(3700)
    await hurry(made)
    const [first, second] = await to.arrived(2)
    expect(second!.headers['webhook-id']).toBe(first!.headers['webhook-id'])
    expect(second!.text).toBe(first!.text)
    expect(await settled(admin, made, 'delivered')).toMatchObject([{ attempts: 2 }])
  })

  it('and redirects is not followed', async () => {
    const { admin } = await organization()
    const { agent } = await agentOf(admin)
    const elsewhere = await receiver()
    const to = await receiver((response) => response.writeHead(307, { location: elsewhere.url }).end())
    const made = await hook(admin, to)
    await ask(agent, 'redirected')
    await until(async () => ((await deliveriesOf(admin, made))[0]?.response_status === 307 ? true : null))
    expect((await deliveriesOf(admin, made))[0]!.error).toContain('redirects are not followed')
    expect(elsewhere.received).toEqual([])
  })

  it('and answers 410 is disabled, with an entry in the log, and gets nothing more', async () => {
    const { admin, org_id } = await organization()
    const { agent } = await agentOf(admin)
    const to = await receiver((response) => response.writeHead(410).end())
    const made = await hook(admin, to)
    await ask(agent, 'gone')
    const disabled = await until(async () => {
      const { body } = await admin.get<Hook>(`/webhooks/${made.webhook_id}`)
      return body.is_enabled ? null : body
    })
    expect(disabled.disabled_reason).toBe('gone')
    const log = await admin.get<{ event: string; actor: object; after: object }[]>('/logs?type=config')
    expect(log.body[0]).toMatchObject({
      event: 'webhook.disabled',
      actor: { kind: 'system' },
      after: { disabled_reason: 'gone' },
    })
    const before = to.received.length
    await ask(agent, 'after')
    await fannedOut(org_id)
    expect((await admin.post(`/webhooks/${made.webhook_id}/test`, {})).status).toBe(409)
    to.answer = (response) => response.end()
    await admin.patch(`/webhooks/${made.webhook_id}`, { is_enabled: true })
    await admin.post(`/webhooks/${made.webhook_id}/test`, {})
    await until(async () => (to.events.includes('webhook.tested') ? true : null))
    expect(to.received.slice(before).map(({ body }) => body.type)).toEqual(['webhook.tested'])
  })

  it('for three days is disabled; then enabled and replayed, it has lost nothing', async () => {
    const { admin, org_id } = await organization()
    const { agent } = await agentOf(admin)
    const to = await receiver((response) => response.writeHead(500).end())
    const made = await hook(admin, to)
    const from = new Date(Date.now() - 1000).toISOString()
    await ask(agent, 'lost-1')
    await settledAttempts(admin, made, 1)
    // As after nine pauses: the next attempt is the last.
    await owner.query(
      "UPDATE deliveries SET attempts = 9, created_at = now() - interval '3 days' WHERE destination_id = $1",
      [made.webhook_id],
    )
    await owner.query("UPDATE webhooks SET failing_since = now() - interval '3 days' WHERE webhook_id = $1", [
      made.webhook_id,
    ])
    await hurry(made)
    await until(async () => {
      const { body } = await admin.get<Hook>(`/webhooks/${made.webhook_id}`)
      return body.disabled_reason === 'failing' ? true : null
    })
    await ask(agent, 'lost-2')
    await fannedOut(org_id)
    to.answer = (response) => response.end()
    to.received.length = 0
    await admin.patch(`/webhooks/${made.webhook_id}`, { is_enabled: true })
    const replayed = await admin.post<{ queued: number }>(`/webhooks/${made.webhook_id}/replay`, { from })
    expect([replayed.status, replayed.body.queued]).toEqual([202, 2])
    await to.arrived(2)
    expect(to.received.map(({ body }) => (body.data.resource as { raw: string }).raw).sort()).toEqual([
      'lost-1',
      'lost-2',
    ])
  })

  it('does not hold up another one', async () => {
    const { admin } = await organization()
    const { agent } = await agentOf(admin)
    const hanging = await receiver(() => undefined)
    const quick = await receiver()
    await hook(admin, hanging)
    await hook(admin, quick)
    for (let i = 0; i < 12; i++) await ask(agent, `file-${i}`)
    await quick.arrived(12)
    expect(hanging.received.length).toBeLessThanOrEqual(4)
  })
})

/** Waits until a delivery of the webhook was attempted that often, and has failed. */
const settledAttempts = (admin: Client, made: Hook, attempts: number) =>
  until(async () => {
    const [delivery] = await deliveriesOf(admin, made)
    return delivery && delivery.attempts >= attempts && delivery.error !== null ? delivery : null
  })

describe('order', () => {
  const order = (to: Receiver) => to.received.map(({ body }) => (body.data.resource as { raw: string }).raw)

  it('is kept where it is asked for, also when one of them fails', async () => {
    const { admin } = await organization()
    const { agent } = await agentOf(admin)
    let failures = 2
    const to = await receiver((response, request) => {
      const fails = request.text.includes('file-3"') && failures-- > 0
      response.writeHead(fails ? 500 : 200).end()
    })
    const made = await hook(admin, to, { ordered: true })
    const files = Array.from({ length: 10 }, (_, i) => `file-${i}`)
    for (const file of files) await ask(agent, file)
    await until(async () => (await hurry(made), to.received.length >= 12 || null))
    expect(order(to)).toEqual([...files.slice(0, 4), 'file-3', 'file-3', ...files.slice(4)])
  })
})

describe('a webhook that is deleted', () => {
  it('gets nothing more, also not what waits for its next attempt', async () => {
    const { admin } = await organization()
    const { agent } = await agentOf(admin)
    const to = await receiver((response) => response.writeHead(500).end())
    const made = await hook(admin, to)
    await ask(agent, 'one')
    await settledAttempts(admin, made, 1)
    await admin.delete(`/webhooks/${made.webhook_id}`)
    await owner.query(
      "UPDATE deliveries SET status = 'pending', next_attempt_at = now() WHERE destination_id = $1",
      [made.webhook_id],
    )
    await ask(agent, 'two')
    await until(async () => {
      const { rows } = await owner.query('SELECT status FROM deliveries WHERE destination_id = $1', [
        made.webhook_id,
      ])
      return rows.every(({ status }) => status === 'cancelled') ? true : null
    })
    expect(to.received).toHaveLength(1)
    expect((await admin.get(`/webhooks/${made.webhook_id}/deliveries`)).status).toBe(404)
  })
})

describe('a replay', () => {
  it('sends named deliveries again under the same id, and only this webhook’s own', async () => {
    const { admin } = await organization()
    const { agent } = await agentOf(admin)
    const [to, other] = [await receiver(), await receiver()]
    const made = await hook(admin, to)
    const second = await hook(admin, other)
    await ask(agent, 'one')
    await ask(agent, 'two')
    const sent = await settled(admin, made, 'delivered', 2)
    const theirs = await settled(admin, second, 'delivered', 2)
    const ids = [sent[0]!.delivery_id, theirs[1]!.delivery_id]
    const answer = await admin.post<{ queued: number }>(`/webhooks/${made.webhook_id}/replay`, {
      delivery_ids: ids,
    })
    expect([answer.status, answer.body.queued]).toEqual([202, 1])
    await to.arrived(3)
    expect(to.received.filter(({ headers }) => headers['webhook-id'] === ids[0])).toHaveLength(2)
    expect(other.received).toHaveLength(2)
    for (const body of [
      {},
      { delivery_ids: ids, from: '2026-01-01T00:00:00Z' },
      { to: '2026-01-01T00:00:00Z' },
      { delivery_ids: ['x'] },
    ])
      expect((await admin.post(`/webhooks/${made.webhook_id}/replay`, body)).status).toBe(422)
  })
})
