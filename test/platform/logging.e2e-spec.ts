import { Controller, Get, Logger, Post, Req, Body } from '@nestjs/common'
import type { Request } from 'express'
import { Access } from '../../src/platform/access/access.decorator'
import { Text } from '../../src/platform/http/fields'
import { parseStrictJson } from '../../src/platform/http/strict-json'
import { note } from '../../src/platform/logging/request-facts'
import { RequestLog } from '../../src/platform/logging/request-log'
import { formatLine } from '../../src/platform/logging/text-format'
import { AGENT_KEY, ROOT_KEY, startPlatform, type PlatformApp } from '../support/platform'

class SecretDto {
  @Text(1, 100)
  password: string
}

@Controller('work')
class WorkController {
  private readonly logger = new Logger('work')

  @Post()
  @Access('decisions:create', 'agent')
  decide(@Req() request: Request, @Body() body: SecretDto) {
    note(request, { action: 'read:file', allowed: true })
    this.logger.log(
      { headers: request.headers, api_key: 'agk_secret', nested: { key: 'adk_secret' } },
      'careless',
    )
    return { length: body.password.length }
  }

  @Get('failing')
  @Access('agents:read')
  failing() {
    throw new Error('the inside', { cause: new Error('the reason') })
  }
}

let platform: PlatformApp
beforeAll(async () => {
  platform = await startPlatform([WorkController], { log_level: 'info' })
})
afterAll(() => platform.close())

type Line = Record<string, unknown>

/** The lines that a request caused; the line about itself is written when the answer has left. */
async function linesOf(run: () => Promise<Response>): Promise<Line[]> {
  const from = platform.lines.length
  const response = await run()
  await response.arrayBuffer()
  const parse = () => platform.lines.slice(from).map((line) => JSON.parse(line) as Line)
  while (!parse().some((line) => line.logger === 'http')) await new Promise(setImmediate)
  return parse()
}

const decide = () =>
  fetch(`${platform.url}/work?`, {
    method: 'POST',
    headers: {
      'x-agent-key': AGENT_KEY,
      'content-type': 'application/json',
      'x-request-id': 'r-1',
      cookie: 'session=1',
    },
    body: JSON.stringify({ password: 'hunter2' }),
  })

it('writes one line a request with everything that is known about it', async () => {
  const line = (await linesOf(decide)).find(({ logger }) => logger === 'http')
  expect(line).toEqual({
    timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    level: 'info',
    logger: 'http',
    message: 'POST /v1/work 201',
    request_id: 'r-1',
    method: 'POST',
    endpoint: '/v1/work',
    status: 201,
    duration_ms: expect.any(Number),
    org_id: 'org_default',
    agent_id: 'agt_one',
    action: 'read:file',
    allowed: true,
  })
})

it('puts the request id on lines written while the request is answered', async () => {
  const careless = (await linesOf(decide)).find(({ logger }) => logger === 'work')
  expect(careless).toMatchObject({ request_id: 'r-1', message: 'careless' })
})

it('never writes a key, a cookie or a body, even when somebody logs them', async () => {
  await linesOf(decide)
  const all = platform.lines.join('\n')
  expect(all).toContain('[redacted]')
  for (const secret of [AGENT_KEY, ROOT_KEY, 'agk_secret', 'adk_secret', 'session=1', 'hunter2'])
    expect(all).not.toContain(secret)
})

it('keeps what a 500 hides from the caller', async () => {
  const lines = await linesOf(() =>
    fetch(`${platform.url}/work/failing`, { headers: { 'x-admin-key': ROOT_KEY } }),
  )
  const problem = lines.find(({ logger }) => logger === 'problems')
  expect(problem).toMatchObject({
    level: 'error',
    code: 'internal_server_error',
    err: { message: expect.any(String) },
  })
  expect(JSON.stringify(problem)).toContain('the reason')
  expect(lines.find(({ logger }) => logger === 'http')).toMatchObject({ level: 'warn', status: 500 })
})

it('warns about slow requests', () => {
  const from = platform.lines.length
  const request = {
    method: 'GET',
    endpoint: '/v1/x',
    path: '/v1/x',
    status: 200,
    request_id: 'r',
    principal: undefined,
    facts: undefined,
  }
  platform.app.get(RequestLog).answered({ ...request, duration_ms: 999 })
  platform.app.get(RequestLog).answered({ ...request, duration_ms: 1_001 })
  const levels = platform.lines.slice(from).map((line) => (JSON.parse(line) as Line).level)
  expect(levels).toEqual(['info', 'warn'])
})

it('writes lines that any JSON reader takes: no key twice', async () => {
  await linesOf(decide)
  for (const line of platform.lines) expect(() => parseStrictJson(Buffer.from(line))).not.toThrow()
})

it('is readable as text', () => {
  const line = JSON.stringify({
    level: 'info',
    timestamp: '2026-01-01T12:00:00.000Z',
    logger: 'http',
    status: 200,
    message: 'GET /v1/agents 200',
  })
  expect(formatLine(line)).toBe('12:00:00.000 INFO  http     GET /v1/agents 200 status=200\n')
  expect(formatLine('not JSON\n')).toBe('not JSON\n')
})
