import { startApp, type RunningApp } from '../support/app'

let app: RunningApp
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app.close())

it('boots the whole application over its own database and is ready', async () => {
  const response = await app.send('GET', '/health/ready')
  expect(await response.json()).toMatchObject({ status: 'ready', checks: { database: 'healthy' } })
  expect(response.status).toBe(200)
})

interface Document {
  paths: Record<
    string,
    Record<string, { operationId: string; security?: object[]; responses: Record<string, unknown> }>
  >
}

async function operations() {
  const { paths } = (await (await app.send('GET', '/openapi.json')).json()) as Document
  return Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, ...operation })),
  )
}

it('documents every route under /v1 with a unique name, a problem answer, and who may use it', async () => {
  const all = await operations()
  expect(all.length).toBeGreaterThan(10)
  expect(new Set(all.map(({ operationId }) => operationId)).size).toBe(all.length)
  for (const { path, operationId, responses } of all) {
    expect(path).toMatch(/^\/(v1|\.well-known|access\/v1)/)
    expect(operationId).toMatch(/^[A-Z][A-Za-z]+_[a-z][A-Za-z]*$/)
    // AuthZEN's standard wants text; its profile of access requests wants problem documents.
    const media = path.startsWith('/access/v1/evaluation') ? 'text/plain' : 'application/problem+json'
    expect(JSON.stringify(responses.default)).toContain(media)
  }
})

it('answers every protected route without credentials with 401', async () => {
  const guarded = (await operations()).filter(({ security }) => security?.length)
  expect(guarded.length).toBeGreaterThan(5)
  for (const { path, method } of guarded) {
    const url = path.replace(/\{\w+\}/g, 'x')
    const response = await app.send(method.toUpperCase(), url, undefined, {})
    expect({ method, url, status: response.status }).toEqual({ method, url, status: 401 })
  }
})

it('leaves open only what is meant to be open', async () => {
  const open = (await operations()).filter(({ security }) => !security?.length).map(({ path }) => path)
  expect(open.sort()).toEqual([
    '/.well-known/agentguard-keys.json', // public keys
    '/.well-known/authzen-configuration', // where the endpoints are
    '/.well-known/jwks.json', // public keys
    '/v1',
    '/v1/auth/login',
    '/v1/auth/oidc/callback', // what the browser brings back is the credential
    '/v1/auth/oidc/start',
    '/v1/health',
    '/v1/health/live',
    '/v1/health/ready',
    '/v1/health/stats',
    '/v1/invitations/accept', // the link's token is the credential
    '/v1/setup', // the same
    '/v1/token', // the key in the body is the credential
  ])
})
