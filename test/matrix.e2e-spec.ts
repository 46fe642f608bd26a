import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { OpenAPIObject } from '@nestjs/swagger'
import { AGENT_PERMISSIONS, permissionsOf, ROLES, ROOT_PERMISSIONS } from '../src/core/permissions.js'
import { Prisma } from '../src/generated/prisma/client.js'
import { buildDocument } from '../src/openapi-document.js'
import { type RunningApp, startApp } from './support/app.js'
import { type Answer, Client, type ProblemBody } from './support/client.js'
import { admitted, nowhere, type Operation, PUBLIC, readOperations } from './support/operations.js'

/**
 * Who may call what: every operation of `openapi.json` × every role and kind of principal. What is expected comes
 * from the operation's own `x-permission`, `x-within-team` and `security`, and from the table of permissions, so that
 * a new route is in the matrix as soon as it is served. Ids are random and bodies are empty: a principal that may call
 * the operation is let through to whatever is wrong with that, and one that may not never learns it.
 */
interface MatrixOperation extends Operation {
  /** Names of the members that its JSON body may have; null without a body, or for one that takes any. */
  readonly fields: ReadonlySet<string> | null
}

/** Operations without `x-permission`. Adding to this list is a decision; the last one checks by itself. */
const OPEN: ReadonlySet<string> = new Set([...PUBLIC, 'Metrics_get'])

let app: RunningApp
let root: Client
let operations: readonly MatrixOperation[]

beforeAll(async () => {
  app = await startApp()
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  operations = readOperations(buildDocument(app.app)).map((operation) => ({
    ...operation,
    path: nowhere(operation),
    fields: fieldsOf(operation),
  }))
})
afterAll(() => app?.close())

/**
 * Read from the committed document, whose being current CI checks (`npm run openapi:check`): tests are not compiled by
 * the plugin that describes every member.
 */
const committed = JSON.parse(readFileSync(join(__dirname, '..', 'openapi.json'), 'utf8')) as OpenAPIObject

function fieldsOf({ path, method }: Operation): ReadonlySet<string> | null {
  const key = method.toLowerCase() as Lowercase<Operation['method']>
  const body = committed.paths[path]?.[key]?.requestBody
  // A body may be one of several; what any of them takes is no field too many.
  const names = [...JSON.stringify(body ?? null).matchAll(/"#\/components\/schemas\/(\w+)"/g)]
  const schemas = names.map(([, name = '']) => committed.components?.schemas?.[name])
  const fields = schemas.flatMap((schema) =>
    schema && 'properties' in schema ? Object.keys(schema.properties ?? {}) : [],
  )
  return fields.length === 0 ? null : new Set(fields)
}

async function keyOf(body: object): Promise<{ client: Client; admin_id: string }> {
  const made = await root.post<{ api_key: string; admin_id: string }>('/admin-keys', { name: 'key', ...body })
  expect([body, made.status]).toEqual([body, 201])
  return { client: root.with({ 'X-Admin-Key': made.body.api_key }), admin_id: made.body.admin_id }
}

const send = (client: Client, { method, path }: MatrixOperation): Promise<Answer<ProblemBody>> =>
  client.call(method, path, method === 'GET' || method === 'DELETE' ? {} : { body: {} })

/** AuthZEN: errors are text and unknown members are ignored, as its standard wants (authzen.e2e-spec.ts). */
const hasOwnStandard = ({ path }: Operation): boolean => path.startsWith('/access/')

const guarded = (): readonly MatrixOperation[] =>
  operations.filter(({ permission }) => permission !== undefined)
/** What erases or ends what the other cases need is called last, by nobody who may. */
const isSafe = ({ id }: Operation): boolean => !/^Proofs_startEpoch$/.test(id)

it('has every operation: a permission, or a place among the public ones', () => {
  expect(operations.length).toBeGreaterThan(40)
  const open = operations.filter(({ permission }) => permission === undefined)
  expect(open.map(({ id }) => id).sort()).toEqual([...OPEN].sort())
})

describe('each role', () => {
  it.each(ROLES)('%s may call exactly what the table of permissions says', async (role) => {
    const { client } = await keyOf({ role })
    const held: ReadonlySet<string> = permissionsOf(role)
    for (const operation of guarded().filter(isSafe)) {
      const { permission = '', schemes } = operation
      const wanted = schemes.has('admin_key') && (held.has(permission) || permission === 'self')
      expect([role, operation.id, admitted(await send(client, operation))]).toEqual([
        role,
        operation.id,
        wanted,
      ])
    }
  })

  it('of the organization’s own gives its permissions and no other', async () => {
    for (const permission of ['agents:read', 'policies:write', 'logs:read']) {
      const role = `only-${permission.replace(':', '-')}`
      await root.post('/roles', { role, permissions: [permission] })
      const { client } = await keyOf({ role })
      for (const operation of guarded().filter(isSafe)) {
        const { schemes } = operation
        const wanted =
          schemes.has('admin_key') && (operation.permission === permission || operation.permission === 'self')
        expect([role, operation.id, admitted(await send(client, operation))]).toEqual([
          role,
          operation.id,
          wanted,
        ])
      }
    }
  })
})

describe('each kind of principal', () => {
  it('is let through where its permissions and the operation’s schemes say so', async () => {
    const made = await root.post<{ api_key: string }>('/agents', {
      name: 'asker',
      owner_team: 'matrix',
      environment: 'dev',
    })
    const agent = new Client(app.url, { 'X-Agent-Key': made.body.api_key })
    for (const operation of guarded().filter(isSafe)) {
      const { id, permission = '', schemes } = operation
      const as_root: ReadonlySet<string> = ROOT_PERMISSIONS
      const as_agent: ReadonlySet<string> = AGENT_PERMISSIONS
      expect([id, 'root', admitted(await send(root, operation))]).toEqual([
        id,
        'root',
        schemes.has('admin_key') && (as_root.has(permission) || permission === 'self'),
      ])
      expect([id, 'agent', admitted(await send(agent, operation))]).toEqual([
        id,
        'agent',
        schemes.has('agent_key') && (as_agent.has(permission) || permission === 'self'),
      ])
    }
  })

  it('that is held to a team is refused where the operation does not heed teams', async () => {
    const { client } = await keyOf({ role: 'admin', team: 'matrix' })
    const refused: string[] = []
    for (const operation of guarded().filter(isSafe)) {
      const { permission = '', schemes, within_team } = operation
      if (!schemes.has('admin_key') || !ROOT_PERMISSIONS.has(permission as 'agents:read')) continue
      if (permission.startsWith('organizations:')) continue
      const answer = await send(client, operation)
      const held = answer.status === 403 && answer.body.detail.startsWith('You are held to the team')
      if (within_team) continue // what its service says is the business of teams.e2e-spec.ts
      expect([operation.id, held]).toEqual([operation.id, true])
      refused.push(operation.id)
    }
    expect(refused.length).toBeGreaterThan(5)
  })
})

describe('credentials that do not authenticate', () => {
  it('are one 401 with the same bytes at every operation', async () => {
    const revoked = await keyOf({ role: 'owner' })
    await root.delete(`/admin-keys/${revoked.admin_id}`)
    const expired = await keyOf({ role: 'owner', expires_at: new Date(Date.now() + 400).toISOString() })
    while ((await expired.client.get('/agents')).status !== 401);
    const bodies = new Set<string>()
    for (const operation of guarded().filter((one) => !hasOwnStandard(one))) {
      for (const client of [
        revoked.client,
        expired.client,
        root.with({ 'X-Admin-Key': 'nonsense' }),
        root.with({ 'X-Agent-Key': `agk_${'0'.repeat(49)}` }),
      ]) {
        const answer = await send(client, operation)
        expect([operation.id, answer.status]).toEqual([operation.id, 401])
        bodies.add(JSON.stringify({ ...answer.body, request_id: '' }))
      }
      const nothing = await send(new Client(app.url), operation)
      expect([operation.id, nothing.status, nothing.body.code]).toEqual([
        operation.id,
        401,
        'unauthenticated',
      ])
    }
    expect([...bodies]).toHaveLength(1)
  })
})

describe('mass assignment', () => {
  it('is refused for every field of every model in every body', async () => {
    const columns = [...new Set(Object.values(Prisma).flatMap((value) => scalarsOf(value)))]
    expect(columns).toEqual(
      expect.arrayContaining(['org_id', 'key_hash', 'created_by', 'is_active', 'version']),
    )
    const agent = await root.post<{ api_key: string }>('/agents', {
      name: 'asker',
      owner_team: 'matrix',
      environment: 'dev',
    })
    const checked: string[] = []
    for (const operation of operations.filter(({ fields }) => fields !== null)) {
      if (hasOwnStandard(operation)) continue
      const added = columns.filter((name) => !operation.fields?.has(name))
      const client = operation.schemes.has('agent_key')
        ? root.with({ 'X-Agent-Key': agent.body.api_key })
        : root
      // People sign in with a cookie; their own routes are refused before the body is read.
      if (!operation.schemes.has('agent_key') && !operation.schemes.has('admin_key')) continue
      // An answer names at most a hundred errors.
      for (let from = 0; from < added.length; from += 50) {
        const names = added.slice(from, from + 50)
        const body = Object.fromEntries(names.map((name) => [name, 'mine']))
        const answer = await client.call(operation.method, operation.path, { body })
        // A policy's owner is looked up after its document was read, anything else's as well.
        expect([operation.id, answer.status]).toEqual([operation.id, 422])
        const named = new Set(answer.body.errors?.map(({ path }) => path.split('.')[0]))
        expect([operation.id, names.filter((name) => !named.has(name))]).toEqual([operation.id, []])
      }
      checked.push(operation.id)
    }
    expect(checked.length).toBeGreaterThan(10)
  })
})

/** The columns of a model, from the enumerations that Prisma makes of them. */
function scalarsOf(value: unknown): string[] {
  if (typeof value !== 'object' || value === null || !('org_id' in value)) return []
  const entries = Object.entries(value as Record<string, unknown>)
  return entries.every(([name, text]) => name === text) ? entries.map(([name]) => name) : []
}
