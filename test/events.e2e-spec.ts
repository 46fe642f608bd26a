import { request as httpRequest, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import { EventsService } from '../src/events/events.service.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client } from './support/client.js'
import { until } from './support/proofs.js'

interface Bot {
  agent_id: string
  key_id: string
  api_key: string
}
interface Sent {
  id: string
  type: string
  subject?: string
  data: { index: number; event: string; type: string; subject?: { team: string } }
}

let app: RunningApp
let other: RunningApp
let root: Client
let org_id: string
let owner: string
const open = new Set<Stream>()

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
  ;({ org_id, owner } = await tenant())
})
afterEach(() => open.forEach((stream) => stream.cut()))

async function tenant(): Promise<{ org_id: string; owner: string }> {
  const { body } = await root.post<{ org_id: string }>('/organizations', { name: 'org' })
  return { org_id: body.org_id, owner: await keyOf('owner', body.org_id) }
}

async function keyOf(role: string, org = org_id, more: object = {}): Promise<string> {
  const made = await root.post<{ api_key: string }>(
    '/admin-keys',
    { name: role, role, ...more },
    { 'X-Org-ID': org },
  )
  return made.body.api_key
}

const as = (key: string, url = app.url) => new Client(url, { 'X-Admin-Key': key })

async function bot(owner_team = 'ops', key = owner): Promise<Bot> {
  const { body } = await as(key).post<Bot>('/agents', { name: 'bot', owner_team, environment: 'prod' })
  await as(key).put(`/agents/${body.agent_id}/policy`, { allow: [{ action: 'read:*' }] })
  return body
}

/** Asks as a client does: again, where a busy machine could not record the decision in its two seconds. */
async function asked<T>({ api_key }: Bot, url: string, path: string, body: object): Promise<T> {
  const agent = new Client(url, { 'X-Agent-Key': api_key })
  return until(async () => {
    const answer = await agent.post<T>(path, body)
    if (answer.status !== 200 && answer.status !== 503) throw new Error(answer.text)
    return answer.status === 200 ? answer.body : null
  })
}

const ask = async (one: Bot, url = app.url): Promise<number> => {
  const body = { action: 'read:file', context: { secret: 'erasable-text' } }
  return (await asked<{ log: { index: number } }>(one, url, '/enforce', body)).log.index
}

/** A server-sent event stream as a client reads it: the last id, and what came. */
class Stream {
  readonly events: Sent[] = []
  status = 0
  last_id: string | undefined
  reason: string | undefined
  ended = false
  text = ''
  headers: IncomingMessage['headers'] = {}
  private pending = ''
  private response: IncomingMessage | undefined
  private readonly outgoing

  constructor(
    url: string,
    headers: Record<string, string>,
    private readonly options: { last_id?: string | undefined; paused?: boolean } = {},
  ) {
    open.add(this)
    const resume = options.last_id === undefined ? {} : { 'Last-Event-ID': options.last_id }
    this.last_id = options.last_id
    this.outgoing = httpRequest(url, { headers: { ...headers, ...resume }, agent: false }, (response) => {
      this.response = response
      this.status = response.statusCode ?? 0
      this.headers = response.headers
      response.setEncoding('utf8')
      response.on('close', () => (this.ended = true))
      response.on('error', () => (this.ended = true))
      if (options.paused) response.pause()
      else response.on('data', (chunk: string) => this.take(chunk))
    })
    this.outgoing.on('error', () => (this.ended = true))
    this.outgoing.end()
  }

  async opened(): Promise<this> {
    await until(() => Promise.resolve(this.status !== 0 || null))
    return this
  }

  /** Waits for this many events. */
  async count(count: number, timeout_ms?: number): Promise<Sent[]> {
    await until(() => Promise.resolve(this.events.length >= count || null), timeout_ms)
    return this.events
  }

  /** Of one that was paused: begins to read. */
  resume(): void {
    const { response } = this
    response?.on('data', (chunk: string) => this.take(chunk))
    response?.resume()
  }

  cut(): void {
    this.outgoing.destroy()
    open.delete(this)
  }

  private take(chunk: string): void {
    this.text += chunk
    this.pending += chunk
    for (let at = this.pending.indexOf('\n\n'); at >= 0; at = this.pending.indexOf('\n\n')) {
      const block = this.pending.slice(0, at)
      this.pending = this.pending.slice(at + 2)
      const fields = Object.fromEntries(
        block
          .split('\n')
          .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      )
      if (fields.id !== undefined) this.last_id = fields.id
      if (fields.event === 'end') this.reason = (JSON.parse(fields.data ?? '{}') as { reason: string }).reason
      else if (fields.data !== undefined) this.events.push(JSON.parse(fields.data) as Sent)
    }
  }
}

/** Listens as a client does: again, where a busy machine could not open the stream in time. */
const listen = (key: string, query = '', url = app.url, last_id?: string): Promise<Stream> =>
  until(async () => {
    const stream = await new Stream(`${url}/events${query}`, { 'X-Admin-Key': key }, { last_id }).opened()
    if (stream.status !== 503) return stream
    stream.cut()
    return null
  })

it('tells what is committed, on another replica too, without what can be erased', async () => {
  const one = await bot()
  const [here, there] = [await listen(owner), await listen(owner, '', other.url)]
  expect([here.status, here.headers['content-type'], here.headers['x-accel-buffering']]).toEqual([
    200,
    'text/event-stream; charset=utf-8',
    'no',
  ])
  const index = await ask(one)
  for (const stream of [here, there]) {
    const [event] = await stream.count(1)
    expect(event).toMatchObject({
      specversion: '1.0',
      id: String(index),
      type: 'dev.agentguard.decision.made.v1',
      subject: one.agent_id,
      data: { index, event: 'decision.made', decision: { effect: 'allow' } },
    })
    expect(stream.text).not.toContain('erasable-text')
  }
  await as(owner).post('/kill-switch/activate', { scope: 'agent', target: one.agent_id, reason: 'x' })
  const [, kill] = await here.count(2)
  expect(kill).toMatchObject({
    type: 'dev.agentguard.kill_switch.activated.v1',
    data: { kill: { scope: 'agent' } },
  })
})

it('resumes without loss or repetition: 2,000 entries over 2 replicas, and the connection is cut 20 times', async () => {
  const one = await bot()
  const written: number[] = []
  // The place from which on everything must come.
  let last = String((await ask(one)) - 1)
  let writing = true
  const work = Array.from({ length: 8 }, async (_, i) => {
    while (written.length < 2_000) written.push(await ask(one, i % 2 ? app.url : other.url))
  })
  const done = Promise.all(work).then(() => (writing = false))
  const received: number[] = []
  let cuts = 0
  const isComplete = (last_id = '-1') => !writing && Number(last_id) >= Math.max(...written)
  for (; cuts <= 20; cuts++) {
    const stream = await listen(owner, '?types=decision', cuts % 2 ? app.url : other.url, last)
    const target = 50 + Math.floor(Math.random() * 40)
    const enough = () => (cuts < 20 ? stream.events.length >= target : isComplete(stream.last_id))
    await until(() => Promise.resolve(enough() || null), 90_000)
    stream.cut()
    received.push(...stream.events.map(({ id }) => Number(id)))
    last = stream.last_id ?? last
  }
  await done
  expect(cuts).toBe(21)
  // Nothing but decisions was written meanwhile: every index once, in order, and among them all that was answered.
  expect(received).toEqual(received.map((_, i) => (received[0] ?? 0) + i))
  const got = new Set(received)
  expect(written.filter((index) => !got.has(index))).toEqual([])
})

it('is filtered by permission, team, agent and type, and walls organizations', async () => {
  const [ours, theirs] = [await bot('ops'), await bot('sales')]
  const stranger = await tenant()
  const streams = {
    viewer: await listen(await keyOf('viewer')),
    lead: await listen(await keyOf('auditor', org_id, { team: 'sales' })),
    stranger: await listen(stranger.owner),
    kills: await listen(owner, '?types=kill'),
    owner: await listen(owner),
    agent: await new Stream(`${app.url}/events`, { 'X-Agent-Key': ours.api_key }).opened(),
  }
  await ask(ours)
  await ask(theirs)
  await as(owner).put(`/agents/${ours.agent_id}/policy`, { allow: [] })
  await as(owner).post('/kill-switch/activate', { scope: 'agent', target: theirs.agent_id, reason: 'x' })
  await streams.owner.count(4)
  await streams.kills.count(1)
  await streams.lead.count(2)
  await streams.viewer.count(2)
  await streams.agent.count(1)
  const names = (stream: Stream) => stream.events.map(({ data }) => data.event)
  expect(names(streams.owner)).toEqual([
    'decision.made',
    'decision.made',
    'policy.updated',
    'kill_switch.activated',
  ])
  expect(names(streams.viewer)).toEqual(['decision.made', 'decision.made'])
  expect(names(streams.lead)).toEqual(['decision.made', 'kill_switch.activated'])
  expect(streams.lead.events.every(({ subject }) => subject === theirs.agent_id)).toBe(true)
  expect(names(streams.kills)).toEqual(['kill_switch.activated'])
  expect(streams.agent.events.map(({ subject }) => subject)).toEqual([ours.agent_id])
  expect(names(streams.stranger)).toEqual([])
})

it('tells an agent that asks for it that its bundle may have changed, and nothing more', async () => {
  const [ours, theirs] = [await bot('ops'), await bot('sales')]
  const headers = { 'X-Agent-Key': ours.api_key }
  const stream = await new Stream(`${app.url}/events?types=bundle`, headers).opened()
  await ask(ours)
  await as(owner).put(`/agents/${theirs.agent_id}/policy`, { allow: [{ action: 'canary' }] })
  await as(owner).put(`/agents/${ours.agent_id}/policy`, { allow: [] })
  await as(owner).put('/organization/policy', { deny: [{ action: 'canary' }] })
  await as(owner).post('/kill-switch/activate', { scope: 'agent', target: ours.agent_id, reason: 'canary' })
  await stream.count(3)
  expect(stream.events.map(({ id, type, subject, data }) => ({ type, subject, data, id }))).toEqual(
    stream.events.map(({ id }) => ({
      type: 'dev.agentguard.bundle.changed.v1',
      subject: undefined,
      data: { index: Number(id) },
      id,
    })),
  )
  expect(stream.text).not.toContain('canary')
})

it('refuses like any route: no credentials, no permission, ids and types that are none', async () => {
  const key = await keyOf('approver')
  const statusOf = async (headers: Record<string, string>, query = '') =>
    (await new Stream(`${app.url}/events${query}`, headers).opened()).status
  expect(await statusOf({})).toBe(401)
  expect(await statusOf({ 'X-Admin-Key': key }, '?types=NOPE')).toBe(422)
  expect(await statusOf({ 'X-Admin-Key': key }, '?token=x')).toBe(422)
  expect(await statusOf({ 'X-Admin-Key': key, 'Last-Event-ID': 'x' })).toBe(422)
  expect(await statusOf({ 'X-Admin-Key': key, 'Last-Event-ID': '999999' })).toBe(422)
})

it('ends within 5 s when the key is revoked, and says so', async () => {
  const made = await root.post<{ api_key: string; admin_id: string }>(
    '/admin-keys',
    { name: 'x', role: 'viewer' },
    { 'X-Org-ID': org_id },
  )
  const stream = await listen(made.body.api_key)
  const socket = new WebSocket(`${app.url.replace('http', 'ws')}/ws`, {
    headers: { 'X-Admin-Key': made.body.api_key },
  })
  await new Promise((resolve) => socket.once('open', resolve))
  const closed = new Promise<number>((resolve) => socket.once('close', resolve))
  const began = performance.now()
  await as(owner).delete(`/admin-keys/${made.body.admin_id}`)
  await until(() => Promise.resolve(stream.ended || null))
  expect(stream.reason).toBe('credentials')
  expect(await closed).toBe(4003)
  expect(performance.now() - began).toBeLessThan(10_000) // 4 s, and what a busy machine adds
})

it('holds each principal to 50 streams', async () => {
  const key = await keyOf('viewer')
  const streams = await Promise.all(Array.from({ length: 55 }, () => listen(key)))
  expect(streams.filter(({ status }) => status === 200)).toHaveLength(50)
  expect(streams.filter(({ status }) => status === 429)).toHaveLength(5)
  expect((await listen(owner)).status).toBe(200)
})

describe('many and slow clients', () => {
  /** Big entries, a hundred in a commit. */
  async function write(one: Bot, batches: number): Promise<number> {
    const requests = Array.from({ length: 100 }, (_, i) => ({
      action: 'read:file',
      resource: `s3://docs/${i}/${'x'.repeat(1_900)}`,
    }))
    let last = -1
    for (let i = 0; i < batches; i++) {
      type Batch = { results: { log: { index: number } }[] }
      const { results } = await asked<Batch>(one, app.url, '/enforce/batch', { requests })
      last = results.at(-1)?.log.index ?? last
    }
    return last
  }

  it('costs bounded memory to read nothing: it is cut off, others are not, and it resumes without loss', async () => {
    const one = await bot()
    const sockets = new Set<Socket>()
    const server = app.app.getHttpServer()
    server.on('connection', (socket: Socket) => sockets.add(socket))
    const first = await ask(one)
    const slow = new Stream(`${app.url}/events?types=decision`, { 'X-Admin-Key': owner }, { paused: true })
    await slow.opened()
    const quick = await listen(owner, '?types=decision', app.url, String(first))
    const streams = app.app.get(EventsService)
    let most = 0
    const watch = setInterval(() => {
      for (const { writableLength } of sockets) most = Math.max(most, writableLength)
    }, 5)
    try {
      const open_before = streams.count
      let last = first
      // As much as the buffers of the operating system take, and more.
      const cut = () => streams.count < open_before
      for (let i = 0; i < 30 && !cut(); i++) last = await write(one, 4)
      await until(() => Promise.resolve(cut() || null), 40_000)
      await quick.count(last - first, 40_000)
      expect(quick.events.map(({ id }) => Number(id))).toEqual(
        Array.from({ length: last - first }, (_, i) => first + 1 + i),
      )
      // 256 KiB, and what one more event and its frame are.
      expect(most).toBeGreaterThan(0)
      expect(most).toBeLessThan(300 * 1024)

      slow.resume()
      await until(() => Promise.resolve(slow.ended || null), 40_000)
      const again = await listen(owner, '?types=decision', other.url, slow.last_id)
      await again.count(last - Number(slow.last_id), 40_000)
      const got = [...slow.events, ...again.events].map(({ id }) => Number(id))
      expect(got).toEqual(Array.from({ length: last - first }, (_, i) => first + 1 + i))
    } finally {
      clearInterval(watch)
    }
  })

  it('tells 200 subscribers on two replicas everything, in order', async () => {
    const one = await bot()
    const keys = await Promise.all(Array.from({ length: 4 }, () => keyOf('viewer')))
    const streams = await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        listen(keys[i % 4] ?? '', '?types=decision', i % 2 ? app.url : other.url),
      ),
    )
    expect(streams.filter(({ status }) => status !== 200)).toEqual([])
    const written: number[] = []
    for (let i = 0; i < 100; i++) written.push(await ask(one, i % 2 ? app.url : other.url))
    const [first = 0, last = 0] = [written[0], written.at(-1)]
    for (const stream of streams) {
      await until(() => Promise.resolve(Number(stream.last_id ?? -1) >= last || stream.reason || null))
      expect(stream.reason).toBeUndefined() // none of them was sent away meanwhile
      // Nothing but decisions was written: every index once, in order.
      const ids = stream.events.map(({ id }) => Number(id))
      expect(ids).toEqual(Array.from({ length: last + 1 - first }, (_, i) => first + i))
    }
  })
})

describe('/ws', () => {
  const connect = (path: string, headers: Record<string, string>): Promise<number | Sent[]> =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(app.url.replace('http', 'ws') + path, { headers })
      const events: Sent[] = []
      socket.on('unexpected-response', (request, response) => {
        resolve(response.statusCode ?? 0)
        request.destroy()
      })
      socket.on('error', reject)
      socket.on('message', (data: Buffer) => {
        events.push(JSON.parse(data.toString()) as Sent)
        if (events.length < 2) return
        socket.close()
        resolve(events)
      })
    })

  it('gives the same events, from where the client was', async () => {
    const one = await bot()
    const index = await ask(one)
    await ask(one)
    const events = await connect(`/ws?types=decision&last_event_id=${index - 1}`, { 'X-Admin-Key': owner })
    expect(events).toEqual([
      expect.objectContaining({ id: String(index), type: 'dev.agentguard.decision.made.v1' }),
      expect.objectContaining({ id: String(index + 1) }),
    ])
  })

  it.each([
    [1, 403, 401],
    [false, 101, 429],
  ] as const)('believes proxies as HTTP does: TRUST_PROXY_HEADERS=%s', async (trusted, page, second) => {
    const limits = { ...app.settings.rate_limits, default: [{ name: 'few', limit: 2, seconds: 60 }] }
    const settings = {
      ledger_kek: app.settings.ledger_kek,
      trust_proxy_headers: trusted,
      rate_limit_enabled: true,
      rate_limits: limits,
    }
    const behind = await startApp({ database: app.database, settings })
    const dial = (headers: Record<string, string>): Promise<number> =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(`${behind.url.replace('http', 'ws')}/ws`, { headers })
        socket.on('unexpected-response', (request, response) => {
          resolve(response.statusCode ?? 0)
          request.destroy()
        })
        socket.on('error', reject)
        socket.on('open', () => {
          resolve(101)
          socket.terminate()
        })
      })
    try {
      const wrong = (address: string) => dial({ 'X-Admin-Key': 'adk_nope', 'X-Forwarded-For': address })
      for (let i = 0; i < 3; i++) await wrong('192.0.2.1')
      expect([await wrong('192.0.2.1'), await wrong('192.0.2.2')]).toEqual([429, second])
      // A page that was loaded in plain text is not one of a service that is reached over TLS.
      const plain = { 'X-Admin-Key': owner, 'X-Forwarded-Proto': 'https', Origin: behind.url }
      expect(await dial(plain)).toBe(page)
    } finally {
      await behind.close()
    }
  })

  it('refuses before the handshake: credentials, origin, parameters, path', async () => {
    const key = { 'X-Admin-Key': owner }
    expect(await connect('/ws', {})).toBe(401)
    expect(await connect('/ws', { 'X-Admin-Key': 'adk_nope' })).toBe(401)
    expect(await connect('/ws', { ...key, Origin: 'https://evil.example' })).toBe(403)
    expect(await connect('/ws?token=x', key)).toBe(422)
    expect(await connect('/ws?types=A', key)).toBe(422)
    expect(await connect('/nope', key)).toBe(404)
  })
})

it('ends when the service closes, and the client can go on elsewhere', async () => {
  const third = await startApp({ database: app.database, settings: { ledger_kek: app.settings.ledger_kek } })
  const one = await bot()
  const stream = await listen(owner, '', third.url)
  await ask(one)
  await stream.count(1)
  await third.close()
  await until(() => Promise.resolve(stream.ended || null))
  expect(stream.reason).toBe('shutdown')
  const index = await ask(one)
  const next = await listen(owner, '', app.url, stream.last_id)
  expect((await next.count(1))[0]?.id).toBe(String(index))
})
