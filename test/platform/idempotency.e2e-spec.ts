import { randomUUID } from 'node:crypto'
import { Body, Controller, Delete, Get, Post } from '@nestjs/common'
import { Problem } from '../../src/core/problems'
import { Access } from '../../src/platform/access/access.decorator'
import { Clock } from '../../src/platform/clock/clock'
import { connectionsOfLogins } from '../../src/platform/database/connections'
import { Database } from '../../src/platform/database/database.service'
import { Text } from '../../src/platform/http/fields'
import { PostgresIdempotencyStore } from '../../src/platform/idempotency/postgres-idempotency.store'
import { AGENT_KEY, ROOT_KEY, startPlatform, type PlatformApp } from '../support/platform'
import { createTestDatabase, type TestDatabase } from '../support/postgres'

class MakeDto {
  @Text(1, 20)
  name: string
}

let made = 0
let wait: Promise<void> = Promise.resolve()
let failWith: Problem | undefined

@Controller('secrets')
class SecretsController {
  @Post()
  @Access('agents:write')
  async make(@Body() { name }: MakeDto) {
    await wait
    if (failWith) throw failWith
    made++
    return { id: made, name, api_key: 'agk_once', nested: [{ key: 'agk_also', secret: 'and this' }] }
  }

  @Delete()
  @Access('agents:write')
  delete(): void {
    made++
  }

  @Get()
  @Access('agents:read')
  get() {
    return { made: ++made }
  }

  @Post('asks')
  @Access('decisions:create', 'agent')
  ask() {
    return { made: ++made }
  }
}

let platform: PlatformApp
beforeAll(async () => {
  platform = await startPlatform([SecretsController])
})
afterAll(() => platform.close())
beforeEach(() => {
  made = 0
  wait = Promise.resolve()
  failWith = undefined
})

async function send(
  key: string | undefined,
  body: unknown = { name: 'a' },
  path = '/secrets',
  method = 'POST',
) {
  const response = await fetch(platform.url + path, {
    method,
    headers: {
      'x-admin-key': ROOT_KEY,
      ...(path.endsWith('asks') ? { 'x-agent-key': AGENT_KEY } : {}),
      ...(body === null ? {} : { 'content-type': 'application/json' }),
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    },
    ...(body === null ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  return {
    status: response.status,
    replayed: response.headers.get('idempotent-replayed'),
    body: text === '' ? undefined : (JSON.parse(text) as Record<string, unknown>),
  }
}

it('gives the first answer again, with secrets as null, and does the work once', async () => {
  const key = randomUUID()
  const first = await send(key)
  expect(first).toMatchObject({ status: 201, replayed: null, body: { id: 1, api_key: 'agk_once' } })
  // The bare path and /v1 are one route.
  for (const path of ['/secrets', '/v1/secrets']) {
    const again = await send(key, { name: 'a' }, path)
    expect(again).toEqual({
      status: 201,
      replayed: 'true',
      body: { id: 1, name: 'a', api_key: null, nested: [{ key: null, secret: null }] },
    })
  }
  expect(made).toBe(1)
})

it('does the work twice without a key, or with another one (the control)', async () => {
  await send(undefined)
  await send(undefined)
  await send(randomUUID())
  expect(made).toBe(3)
})

it('replays an empty answer', async () => {
  const key = randomUUID()
  const answers = [await send(key, null, '/secrets', 'DELETE'), await send(key, null, '/secrets', 'DELETE')]
  expect(answers.map(({ status, replayed }) => [status, replayed])).toEqual([
    [200, null],
    [200, 'true'],
  ])
  expect(made).toBe(1)
})

it('refuses another request under the same key', async () => {
  const key = randomUUID()
  await send(key)
  expect(await send(key, { name: 'b' })).toMatchObject({
    status: 409,
    body: { code: 'idempotency_conflict' },
  })
  expect(made).toBe(1)
})

it('refuses a repetition while the first is still running', async () => {
  const key = randomUUID()
  let finish = () => {}
  wait = new Promise((resolve) => (finish = resolve))
  const first = send(key)
  while (
    platform.store.rows.size === 0 ||
    ![...platform.store.rows.keys()].some((name) => name.includes(key))
  )
    await new Promise(setImmediate)
  expect(await send(key)).toMatchObject({ status: 409, body: { code: 'idempotency_in_progress' } })
  finish()
  expect((await first).status).toBe(201)
  expect(await send(key)).toMatchObject({ status: 201, replayed: 'true' })
})

it('keeps no failure: the same key may be tried again', async () => {
  const key = randomUUID()
  failWith = new Problem('conflict')
  expect((await send(key)).status).toBe(409)
  failWith = undefined
  expect(await send(key)).toMatchObject({ status: 201, replayed: null })
  const invalid = randomUUID()
  expect((await send(invalid, { name: '' })).status).toBe(422)
  expect((await send(invalid)).status).toBe(201)
})

it('keeps answers for 24 hours', async () => {
  const key = randomUUID()
  await send(key)
  platform.clock.advance(24 * 3600 * 1000 - 1)
  expect((await send(key)).replayed).toBe('true')
  platform.clock.advance(1)
  expect((await send(key)).replayed).toBeNull()
})

it('ignores the header on reads and on what agents ask', async () => {
  const key = randomUUID()
  await send(key, null, '/secrets', 'GET')
  await send(key, null, '/secrets', 'GET')
  await send(key, null, '/secrets/asks')
  await send(key, null, '/secrets/asks')
  expect(made).toBe(4)
})

it.each(['x'.repeat(256), 'a b'])('refuses the key %p', async (key) => {
  expect(await send(key)).toMatchObject({ status: 400, body: { code: 'bad_request' } })
})

describe('the store in Postgres', () => {
  let test: TestDatabase
  let database: Database
  let store: PostgresIdempotencyStore
  const clock = new Clock()
  const fingerprint = Buffer.alloc(32, 1)
  const inAMinute = () => new Date(clock.now() + 60_000)
  const scope = (key: string = randomUUID(), org_id = 'org_a') => ({ org_id, principal: 'root', key })
  const claim = (where: ReturnType<typeof scope>, print: Uint8Array = fingerprint, now = clock.now()) =>
    store.claim(where, print, new Date(now), new Date(now + 60_000))

  beforeAll(async () => {
    test = await createTestDatabase()
    database = new Database(connectionsOfLogins(test), { max: 10, timeout_ms: 30_000, recycle_s: 3_600 })
    store = new PostgresIdempotencyStore(database)
  })
  afterAll(async () => {
    await database.close()
    await test.drop()
  })

  it('gives the key to exactly one of twenty at once', async () => {
    const where = scope()
    const claims = await Promise.all([...Array(20).keys()].map(() => claim(where)))
    expect(claims.filter(({ state }) => state === 'claimed')).toHaveLength(1)
    expect(claims.filter(({ state }) => state === 'in_progress')).toHaveLength(19)
  })

  it('keeps an answer, tells another request apart, and frees what was released or has expired', async () => {
    const where = scope()
    await claim(where)
    await store.keep(where, { status: 201, body: { id: 1, api_key: null } }, inAMinute())
    expect(await claim(where)).toEqual({ state: 'kept', status: 201, body: { id: 1, api_key: null } })
    expect(await claim(where, Buffer.alloc(32, 2))).toEqual({ state: 'conflict' })
    // Releasing is for claims; an answer stays.
    await store.release(where)
    expect((await claim(where)).state).toBe('kept')
    expect((await claim(where, fingerprint, clock.now() + 61_000)).state).toBe('claimed')

    const failed = scope()
    await claim(failed)
    await store.release(failed)
    expect((await claim(failed)).state).toBe('claimed')

    const empty = scope()
    await claim(empty)
    await store.keep(empty, { status: 204, body: undefined }, inAMinute())
    expect(await claim(empty)).toEqual({ state: 'kept', status: 204, body: null })
  })

  it('keeps organizations apart', async () => {
    const key = randomUUID()
    expect((await claim(scope(key, 'org_a'))).state).toBe('claimed')
    expect((await claim(scope(key, 'org_b'), Buffer.alloc(32, 9))).state).toBe('claimed')
  })
})
