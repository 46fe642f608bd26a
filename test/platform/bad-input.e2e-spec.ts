import { Body, Controller, Get, Param, Post, Put, Query } from '@nestjs/common'
import { Type } from 'class-transformer'
import { IsArray, ValidateNested } from 'class-validator'
import fc from 'fast-check'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import { Access } from '../../src/platform/access/access.decorator'
import {
  EnvironmentField,
  Instant,
  Optional,
  QueryBoolean,
  QueryInt,
  Text,
} from '../../src/platform/http/fields'
import { LargeBody } from '../../src/platform/http/input.interceptor'
import { AGENT_KEY, ROOT_KEY, startPlatform, type PlatformApp } from '../support/platform'

class RuleDto {
  @Text(1, 20)
  action: string
}

class ThingDto {
  @Text(1, 50)
  name: string

  @Optional()
  @EnvironmentField()
  environment?: string

  @Optional()
  @Instant()
  at?: Date

  @Optional()
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => RuleDto)
  deny?: RuleDto[]
}

class ThingQuery {
  @QueryInt({ min: 1, max: 100 })
  limit?: number

  @QueryBoolean()
  deep?: boolean
}

let received: unknown[] = []

@Controller('things')
class ThingsController {
  @Post()
  @Access('agents:write')
  create(@Body() body: ThingDto): ThingDto {
    received.push(body)
    return body
  }

  @Put(':id/policy')
  @Access('policies:write')
  @LargeBody()
  put(@Body() body: ThingDto) {
    received.push(body)
    return { length: body.name.length }
  }

  @Post(':id/rotate')
  @Access('agents:write')
  rotate() {
    received.push('rotate')
    return {}
  }

  @Get()
  @Access('agents:read')
  list(@Query() query: ThingQuery) {
    return query
  }

  @Get(':id')
  @Access('agents:read')
  get(@Param('id') id: string) {
    return { id }
  }

  @Post('reports')
  @Access('logs:create', 'agent')
  report(@Body() body: ThingDto) {
    return body
  }
}

let platform: PlatformApp
const ADMIN = { 'x-admin-key': ROOT_KEY }
const JSON_ADMIN = { ...ADMIN, 'content-type': 'application/json' }

beforeAll(async () => {
  platform = await startPlatform([ThingsController])
})
afterAll(() => platform.close())
beforeEach(() => {
  received = []
})

const post = (body: RequestInit['body'], headers: Record<string, string> = JSON_ADMIN, path = '/things') =>
  fetch(platform.url + path, { method: 'POST', body, headers })

interface ProblemDocument {
  type: string
  title: string
  status: number
  detail: string
  code: string
  request_id: string
  errors?: { path: string; message: string }[]
}

/** Checks that an answer is a whole problem document of this status and code, and that nothing reached a handler. */
async function expectProblem(response: Response, status: number, code: string): Promise<ProblemDocument> {
  const problem = (await response.json()) as ProblemDocument
  expect({ status: response.status, code: problem.code }).toEqual({ status, code })
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  expect(problem).toMatchObject({
    type: expect.any(String),
    title: expect.any(String),
    detail: expect.any(String),
    status,
  })
  expect(problem.request_id).toBe(response.headers.get('x-request-id'))
  expect(received).toEqual([])
  return problem
}

it('takes a correct body, with or without /v1, plain or gzipped (the control for all refusals)', async () => {
  for (const path of ['/things', '/v1/things']) {
    const response = await post('{"name":"a","environment":"production"}', JSON_ADMIN, path)
    expect(response.status).toBe(201)
    expect(await response.json()).toEqual({ name: 'a', environment: 'prod' })
  }
  const packed = await post(gzipSync('{"name":"zipped"}'), { ...JSON_ADMIN, 'content-encoding': 'gzip' })
  expect(packed.status).toBe(201)
  expect(received).toHaveLength(3)
})

describe('bodies that cannot be read', () => {
  const cases: [string, RequestInit['body'], string][] = [
    ['no JSON', '{"name":', 'ends too early'],
    ['white space only', '  ', 'empty'],
    ['trailing comma', '{"name":"a",}', 'position'],
    ['a duplicate key', '{"name":"a","name":"b"}', 'twice in one object, at position 12'],
    ['a duplicate key in another spelling', '{"name":"a","n\\u0061me":"b"}', 'twice'],
    ['a duplicate key deep inside', '{"name":"a","deny":[{"action":"x","action":"y"}]}', 'twice'],
    ['__proto__', '{"name":"a","__proto__":{"x":1}}', '__proto__'],
    ['__proto__ in another spelling', '{"name":"a","\\u005f_proto__":{"x":1}}', '__proto__'],
    ['constructor', '{"constructor":{"prototype":{}}}', 'constructor'],
    ['33 levels', `{"name":${'['.repeat(32)}${']'.repeat(32)}}`, 'deeper than 32'],
    ['a million levels', '['.repeat(1_000_000), 'deeper than 32'],
    ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 'UTF-8'],
    ['half a surrogate pair', '{"name":"\\ud800"}', 'surrogate'],
    ['a number beyond a double', '{"name":1e400}', 'too large'],
    ['a byte order mark', '\ufeff{"name":"a"}', 'not valid JSON'],
  ]
  it.each(cases)('answers %s with 400 and says where', async (_, body, detail) => {
    const problem = await expectProblem(await post(body), 400, 'malformed_json')
    expect(problem.detail).toContain(detail)
  })

  it('accepts 32 levels (the control of 33)', async () => {
    const problem = await post(`{"name":${'['.repeat(31)}${']'.repeat(31)}}`)
    expect(problem.status).toBe(422)
  })
})

describe('bodies that can be read and are wrong', () => {
  it.each(['null', '[]', '"text"', '1', 'true'])('answers %s with 422', async (body) => {
    const problem = await expectProblem(await post(body), 422, 'validation_failed')
    expect(problem.errors).toEqual([{ path: '', message: 'must be a JSON object' }])
  })

  it('reports every field at once with its path', async () => {
    const body = {
      name: '',
      deny: [{ action: 'ok' }, { action: 7, extra: 1 }],
      unknown: true,
      at: '2026-02-30T00:00:00Z',
    }
    const problem = await expectProblem(await post(JSON.stringify(body)), 422, 'validation_failed')
    expect(problem.errors?.map((error) => error.path)).toEqual(
      expect.arrayContaining(['at', 'deny[1].action', 'deny[1].extra', 'name', 'unknown']),
    )
    expect(problem.errors).toContainEqual({ path: 'unknown', message: 'is not a known field' })
  })

  it('treats an absent body as an empty object: the fields are missing', async () => {
    const problem = await expectProblem(await post(undefined, ADMIN), 422, 'validation_failed')
    expect(problem.errors?.[0]?.path).toBe('name')
  })

  it('refuses NUL, which no text column can hold, and null for an optional field', async () => {
    await expectProblem(await post('{"name":"a\\u0000b"}'), 422, 'validation_failed')
    const problem = await expectProblem(
      await post('{"name":"a","environment":null}'),
      422,
      'validation_failed',
    )
    expect(problem.errors?.[0]?.path).toBe('environment')
  })

  it('takes no body, or an empty object, where none is wanted, and refuses fields there', async () => {
    expect((await post(undefined, ADMIN, '/things/1/rotate')).status).toBe(201)
    expect((await post('{}', JSON_ADMIN, '/things/1/rotate')).status).toBe(201)
    received = []
    await expectProblem(
      await post('{"force":true}', JSON_ADMIN, '/things/1/rotate'),
      422,
      'validation_failed',
    )
  })
})

describe('media types and sizes', () => {
  it.each(['application/xml', 'text/plain', 'application/json; charset=latin1', 'application/jsonp', ''])(
    'answers %p with 415',
    async (type) => {
      const body = Buffer.from('{"name":"a"}')
      await expectProblem(await post(body, { ...ADMIN, 'content-type': type }), 415, 'unsupported_media_type')
    },
  )

  it('answers a body without Content-Type with 415', async () => {
    await expectProblem(await post(Buffer.from('{"name":"a"}'), ADMIN), 415, 'unsupported_media_type')
  })

  it('answers Content-Encoding: br with 415 and broken gzip with 400', async () => {
    const headers = (encoding: string) => ({ ...JSON_ADMIN, 'content-encoding': encoding })
    await expectProblem(await post('{}', headers('br')), 415, 'unsupported_media_type')
    await expectProblem(await post('{"name":"a"}', headers('gzip')), 400, 'bad_request')
  })

  const large = JSON.stringify({ name: 'x'.repeat(1_100_000) })

  it('answers 1.1 MB with 413, and takes it where large bodies are allowed', async () => {
    await expectProblem(await post(large), 413, 'payload_too_large')
    const put = await fetch(`${platform.url}/things/1/policy`, {
      method: 'PUT',
      body: large,
      headers: JSON_ADMIN,
    })
    // It was read: only its field is too long.
    await expectProblem(put, 422, 'validation_failed')
    const tooMuch = JSON.stringify({ name: 'x'.repeat(10_485_760) })
    const refused = await fetch(`${platform.url}/things/1/policy`, {
      method: 'PUT',
      body: tooMuch,
      headers: JSON_ADMIN,
    })
    await expectProblem(refused, 413, 'payload_too_large')
  })

  it('answers a chunked body that grows too large with 413', async () => {
    const chunks = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let i = 0; i < 20; i++) controller.enqueue(Buffer.alloc(100_000, 32))
        controller.close()
      },
    })
    const init = { method: 'POST', body: chunks, headers: JSON_ADMIN, duplex: 'half' }
    await expectProblem(await fetch(`${platform.url}/things`, init), 413, 'payload_too_large')
  })

  it('stops a gzip bomb at the limit: 1 MB that would be 1 GB', async () => {
    const bomb = gzipSync(Buffer.alloc(200_000_000, 32))
    expect(bomb.length).toBeLessThan(1_000_000)
    const before = process.memoryUsage().rss
    await expectProblem(
      await post(bomb, { ...JSON_ADMIN, 'content-encoding': 'gzip' }),
      413,
      'payload_too_large',
    )
    expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000)
  })
})

describe('queries', () => {
  const get = (query: string) => fetch(`${platform.url}/things${query}`, { headers: ADMIN })

  it('reads numbers and booleans (the control)', async () => {
    expect(await (await get('?limit=7&deep=true')).json()).toEqual({ limit: 7, deep: true })
  })

  it.each([
    '?limit=1e1',
    '?limit=0',
    '?limit=101',
    '?limit=',
    '?deep=1',
    '?limit=1&limit=2',
    '?unknown=1',
    '?__proto__=1',
  ])('answers %s with 422', async (query) => {
    const problem = await expectProblem(await get(query), 422, 'validation_failed')
    expect(problem.errors).toHaveLength(1)
  })

  it('refuses parameters on a route that takes none', async () => {
    await expectProblem(
      await fetch(`${platform.url}/things/1?x=1`, { headers: ADMIN }),
      422,
      'validation_failed',
    )
  })

  it.each(['/things/%00', '/things/%ff', '/things?limit=%zz', '/things/%c0%af'])(
    'answers %s with 400',
    async (path) => {
      await expectProblem(await fetch(platform.url + path, { headers: ADMIN }), 400, 'bad_request')
    },
  )
})

describe('what never reaches a route', () => {
  it('authenticates before it reads a body: a stranger with a bad body is a 401', async () => {
    await expectProblem(await post('{"a":', { 'content-type': 'text/plain' }), 401, 'unauthenticated')
  })

  it('answers unknown paths with 404 and other methods with 405 and Allow', async () => {
    await expectProblem(await fetch(`${platform.url}/nothing`, { headers: ADMIN }), 404, 'not_found')
    const response = await fetch(`${platform.url}/things/1/rotate`, { method: 'GET', headers: ADMIN })
    await expectProblem(response, 405, 'method_not_allowed')
    expect(response.headers.get('allow')).toBe('POST')
  })

  it('answers a repeated key header with 400 and names it', async () => {
    for (const name of ['X-Admin-Key', 'X-Agent-Key', 'X-Org-ID', 'Idempotency-Key']) {
      const key = name === 'X-Admin-Key' ? '' : `X-Admin-Key: ${ROOT_KEY}\r\n`
      const headers = `${key}${name}: ${ROOT_KEY}\r\n${name.toLowerCase()}: ${AGENT_KEY}\r\n`
      const answer = await raw(
        `POST /things HTTP/1.1\r\nHost: x\r\n${headers}Content-Length: 0\r\nConnection: close\r\n\r\n`,
      )
      expect(answer).toMatch(/^HTTP\/1\.1 400 /)
      expect(answer).toContain('"code":"duplicate_header"')
      expect(answer).toContain(name.toLowerCase())
    }
    expect(received).toEqual([])
  })

  it('answers a 10 MB header with 431 as a problem document', async () => {
    const answer = await raw(
      `GET /things HTTP/1.1\r\nHost: x\r\nX-Admin-Key: ${'k'.repeat(10_485_760)}\r\n\r\n`,
    )
    expect(answer).toMatch(/^HTTP\/1\.1 431 /)
    expect(answer).toContain('application/problem+json')
    expect(answer).toContain('"code":"headers_too_large"')
  })

  it('answers what is not HTTP with 400', async () => {
    for (const garbage of [
      '\0\0\0\r\n\r\n',
      'GET / HTTP/9.9\r\n\r\n',
      'GET /things HTTP/1.1\r\nBad Header\r\n\r\n',
    ]) {
      expect(await raw(garbage)).toMatch(/^HTTP\/1\.1 400 /)
    }
    // The control: the server still answers.
    expect((await fetch(`${platform.url}/health/live`)).status).toBe(200)
  })
})

it('answers 2,000 malformed requests without one 5xx, and stays alive', async () => {
  const header = fc.constantFrom(
    'application/json',
    'text/plain',
    'application/xml',
    'multipart/form-data; boundary=x',
  )
  const json = fc.oneof(
    fc.jsonValue().map((value) => JSON.stringify(value)),
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc.json().map((text) => text.slice(1)),
    fc
      .object({ key: fc.constantFrom('name', '__proto__', 'constructor', 'deny', 'toString', 'at') })
      .map((value) => JSON.stringify(value)),
  )
  const path = fc.oneof(
    fc.constantFrom(
      '/things',
      '/v1/things',
      '/things/1/policy',
      '/things/1/rotate',
      '/things/reports',
      '//things',
      '/V1/THINGS/',
    ),
    fc.webPath(),
    fc.string({ maxLength: 30 }).map((text) => `/things/${encodeURIComponent(text)}`),
    fc.string({ maxLength: 30 }).map((text) => `/${text.replace(/[^!-~]/g, '%')}`),
  )
  const query = fc.oneof(
    fc.constant(''),
    fc.webQueryParameters().map((text) => `?${text}`),
  )
  const request = fc.record({
    method: fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', 'PROPFIND'),
    path,
    query,
    type: header,
    body: json,
    encoding: fc.constantFrom(undefined, undefined, 'gzip', 'identity', 'deflate'),
    key: fc.constantFrom(
      ['x-admin-key', ROOT_KEY],
      ['x-agent-key', AGENT_KEY],
      ['x-admin-key', 'wrong'],
      ['x-org-id', 'é'],
    ),
    id: fc.string({ maxLength: 20 }),
  })
  const statuses = new Map<number, number>()
  await fc.assert(
    fc.asyncProperty(request, async ({ method, path, query, type, body, encoding, key, id }) => {
      const bytes = Buffer.from(body)
      const lines = [
        `${method} ${path}${query} HTTP/1.1`,
        'Host: x',
        'Connection: close',
        `${key[0]}: ${key[1]}`,
        `X-Request-ID: ${id.replace(/[^\x20-\x7e]/g, '?')}`,
        `Content-Type: ${type}`,
        ...(encoding ? [`Content-Encoding: ${encoding}`] : []),
        `Content-Length: ${bytes.length}`,
      ]
      const answer = await raw(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), bytes]))
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1])
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      expect(status).toBeGreaterThanOrEqual(200)
      expect(status).toBeLessThan(500)
    }),
    { numRuns: 2_000 },
  )
  // The control: the requests were of many kinds, and not all stopped at the door.
  expect([...statuses.keys()]).toEqual(expect.arrayContaining([400, 401, 403, 404, 405, 415, 422]))
  expect((await fetch(`${platform.url}/health/live`)).status).toBe(200)
})

/** Sends bytes as they are and gives everything that comes back. */
function raw(request: string | Buffer): Promise<string> {
  return new Promise((resolve) => {
    let answer = ''
    const socket = connect(platform.port, '127.0.0.1', () => socket.write(request))
    socket.on('data', (chunk) => (answer += chunk.toString('latin1')))
    // A reset after the answer is the server closing while this side still sends.
    socket.on('error', () => resolve(answer))
    socket.on('close', () => resolve(answer))
  })
}
