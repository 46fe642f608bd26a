import { Controller, Get, Post } from '@nestjs/common'
import { Access } from '../../src/platform/access/access.decorator'
import { By, Person, type Principal } from '../../src/platform/access/principal'
import {
  AGENT_KEY,
  AUDITOR_KEY,
  ROOT_KEY,
  SESSION,
  startPlatform,
  type PlatformApp,
} from '../support/platform'

@Controller('doors')
class DoorsController {
  @Get('admin')
  @Access('agents:read')
  admin(@By() { kind, org_id }: Principal) {
    return { kind, org_id }
  }

  @Post('admin')
  @Access('agents:write')
  change(@By() { kind }: Principal) {
    return { kind }
  }

  @Get('agent')
  @Access('logs:create', 'agent')
  agent(@By() { kind }: Principal) {
    return { kind }
  }

  @Get('self')
  @Access('self')
  self(@By() { kind }: Principal) {
    return { kind }
  }

  @Get('member')
  @Access('self', 'member')
  member(@Person() { kind }: Principal) {
    return { kind }
  }

  @Get('either')
  @Access('logs:read', 'either')
  either(@By() { kind }: Principal) {
    return { kind }
  }
}

let platform: PlatformApp
beforeAll(async () => {
  // Signed in on http://localhost, where the cookie has no prefix.
  platform = await startPlatform([DoorsController], { public_url: undefined })
})
afterAll(() => platform.close())

async function knock(path: string, headers: Record<string, string> = {}, method = 'GET') {
  const response = await fetch(`${platform.url}/doors/${path}`, { method, headers })
  const body = (await response.json()) as Record<string, unknown>
  return { status: response.status, headers: response.headers, body }
}

const admin = (key: string) => ({ 'x-admin-key': key })
const agent = (key: string) => ({ 'X-AGENT-KEY': key })

it.each([
  ['admin', 'Admin authentication required. Provide X-Admin-Key header.'],
  ['agent', 'Agent authentication required. Provide X-Agent-Key header.'],
  ['either', 'Authentication required. Provide X-Admin-Key or X-Agent-Key header.'],
])('asks for credentials on %s routes in the documented words', async (path, detail) => {
  for (const headers of [{}, admin('')]) {
    const { status, body, headers: answered } = await knock(path, headers)
    expect(status).toBe(401)
    expect(body).toMatchObject({ code: 'unauthenticated', detail })
    expect(answered.get('www-authenticate')).toBeTruthy()
  }
})

it('lets the right principals in (the control)', async () => {
  expect((await knock('admin', admin(ROOT_KEY))).body).toEqual({ kind: 'root', org_id: 'org_default' })
  expect((await knock('admin', { ...admin(ROOT_KEY), 'x-org-id': 'org_b' })).body).toMatchObject({
    org_id: 'org_b',
  })
  expect((await knock('admin', admin(AUDITOR_KEY))).body).toMatchObject({ kind: 'admin_key' })
  expect((await knock('agent', agent(AGENT_KEY))).body).toEqual({ kind: 'agent' })
  expect((await knock('either', agent(AGENT_KEY))).body).toEqual({ kind: 'agent' })
  expect((await knock('either', { ...admin(ROOT_KEY), ...agent(AGENT_KEY) })).body).toEqual({ kind: 'root' })
})

it('tries the agent key when the admin key is wrong, only where either will do', async () => {
  const both = { ...admin('wrong'), ...agent(AGENT_KEY) }
  expect((await knock('either', both)).status).toBe(200)
  expect((await knock('admin', both)).body).toMatchObject({ status: 401, code: 'invalid_credentials' })
})

it('answers every key that does not authenticate with the same bytes', async () => {
  const answers = []
  for (const path of ['admin', 'agent', 'either'])
    for (const headers of [
      admin('wrong'),
      agent('wrong'),
      admin('adk_nobody'),
      { ...admin('x'), ...agent('y') },
    ])
      answers.push((await knock(path, headers)).body)
  const withoutId = answers.map(({ request_id: _, ...rest }) => JSON.stringify(rest))
  expect(new Set(withoutId).size).toBe(1)
  expect(answers[0]).toMatchObject({ status: 401, code: 'invalid_credentials' })
})

it('answers a valid principal of the wrong kind, or without the permission, with 403 and what is missing', async () => {
  expect((await knock('admin', agent(AGENT_KEY))).body).toMatchObject({ status: 403, code: 'forbidden' })
  expect((await knock('agent', admin(ROOT_KEY))).body).toMatchObject({ status: 403 })
  const { body } = await knock('admin', admin(AUDITOR_KEY), 'POST')
  expect(body).toMatchObject({
    status: 403,
    code: 'forbidden',
    detail: expect.stringContaining('agents:write'),
  })
})

it('lets a session in as an administrator, and keys not where only a person will do', async () => {
  const cookie = { cookie: `agentguard_session=${SESSION}` }
  for (const path of ['admin', 'either', 'self', 'member'])
    expect((await knock(path, cookie)).body).toEqual(
      path === 'admin' ? { kind: 'member', org_id: 'org_default' } : { kind: 'member' },
    )
  expect((await knock('agent', cookie)).body).toMatchObject({ status: 403 })
  expect((await knock('self', admin(AUDITOR_KEY))).body).toEqual({ kind: 'admin_key' })
  expect((await knock('self', agent(AGENT_KEY))).status).toBe(403)
  expect((await knock('member', admin(ROOT_KEY))).body).toMatchObject({ status: 403, code: 'forbidden' })
  expect((await knock('member')).body).toMatchObject({ status: 401, code: 'unauthenticated' })
  expect((await knock('member', { cookie: 'agentguard_session=x' })).body).toMatchObject({ status: 401 })
})

it('counts failures by type', async () => {
  const before = await failures()
  await knock('admin', admin('wrong'))
  await knock('agent')
  await knock('either', agent('wrong'))
  const after = await failures()
  expect([after.admin - before.admin, after.agent - before.agent]).toEqual([1, 2])
})

async function failures(): Promise<{ admin: number; agent: number }> {
  const text = await (await fetch(`${platform.url}/metrics`, { headers: admin(ROOT_KEY) })).text()
  const read = (type: string) =>
    Number(
      new RegExp(`agentguard_authentication_failures_total\\{type="${type}"\\} (\\d+)`).exec(text)?.[1] ?? 0,
    )
  return { admin: read('admin'), agent: read('agent') }
}

it('does not boot while a route declares no access, and names it', async () => {
  @Controller('open')
  class OpenController {
    @Get()
    @Access('public')
    declared() {
      return {}
    }

    @Get('undeclared')
    undeclared() {
      return {}
    }
  }
  await expect(startPlatform([OpenController])).rejects.toThrow('OpenController.undeclared')
})
