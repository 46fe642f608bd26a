import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { OpenAPIObject } from '@nestjs/swagger'
import {
  AGENT_PERMISSIONS,
  permissionsOf,
  ROLE_PERMISSIONS,
  ROLES,
  ROOT_PERMISSIONS,
} from '../src/core/permissions.js'
import { Client as Postgres } from 'pg'
import { Prisma } from '../src/generated/prisma/client.js'
import { buildDocument } from '../src/openapi-document.js'
import { MovedClock } from './support/clock.js'
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

const clock = new MovedClock()
let app: RunningApp
let owner: Postgres
let root: Client
let operations: readonly MatrixOperation[]

beforeAll(async () => {
  app = await startApp({ clock })
  owner = new Postgres({ connectionString: app.database.owner_url })
  await owner.connect()
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
  operations = readOperations(buildDocument(app.app)).map((operation) => ({
    ...operation,
    path: nowhere(operation),
    fields: fieldsOf(operation),
  }))
})
afterAll(async () => {
  await owner?.end()
  await app?.close()
})

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

async function agentOf(): Promise<{ client: Client; agent_id: string }> {
  const agent = { name: 'asker', owner_team: 'matrix', environment: 'dev' }
  const { body } = await root.post<{ agent_id: string; api_key: string }>('/agents', agent)
  return { client: root.with({ 'X-Agent-Key': body.api_key }), agent_id: body.agent_id }
}

const bearer = (jwt: string): Client => root.with({ Authorization: `Bearer ${jwt}` })

/** The same holder, by a token. */
async function tokenOf({ headers }: Client): Promise<Client> {
  const agent_key = headers['X-Agent-Key']
  const body = agent_key === undefined ? { admin_key: headers['X-Admin-Key'] } : { agent_key }
  const made = await new Client(app.url).post<{ access_token: string }>('/token', body)
  expect(made.status).toBe(200)
  return bearer(made.body.access_token)
}

/** A key with a role of the organization's own that has these permissions. */
async function holderOf(role: string, permissions: readonly string[]): Promise<Client> {
  expect((await root.post('/roles', { role, permissions })).status).toBe(201)
  return (await keyOf({ role })).client
}

/** Operations that let this caller in though they should not, or the other way round. */
async function misjudged(
  client: Client,
  who: string,
  walked: readonly MatrixOperation[],
  wanted: (operation: Operation) => boolean,
): Promise<unknown[]> {
  const answers = await inBatches(
    walked,
    async (operation) => [operation, await send(client, operation)] as const,
  )
  return answers
    .filter(([operation, answer]) => admitted(answer) !== wanted(operation))
    .map(([{ id }, { status, text }]) => [who, id, status, text])
}

/** A few at a time: one after the other they mostly wait. */
async function inBatches<T, R>(all: readonly T[], work: (one: T) => Promise<R>): Promise<R[]> {
  const done: R[] = []
  for (let from = 0; from < all.length; from += 8) {
    done.push(...(await Promise.all(all.slice(from, from + 8).map(work))))
  }
  return done
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
  it.each(ROLES)(
    '%s, as a key and as a token, may call exactly what the table of permissions says',
    async (role) => {
      const { client } = await keyOf({ role })
      const held: ReadonlySet<string> = permissionsOf(role)
      const wanted = ({ permission = '', schemes }: Operation) =>
        schemes.has('admin_key') && (held.has(permission) || permission === 'self')
      for (const caller of [client, await tokenOf(client)]) {
        expect(await misjudged(caller, role, guarded().filter(isSafe), wanted)).toEqual([])
      }
    },
  )

  it('of the organization’s own with a single permission may call what needs it, and nothing else', async () => {
    const faults: unknown[] = []
    for (const permission of ROLE_PERMISSIONS) {
      const only = await holderOf(`only-${permission.replace(':', '-')}`, [permission])
      const wanted = ({ permission: needed, schemes }: Operation) =>
        schemes.has('admin_key') && (needed === permission || needed === 'self')
      faults.push(...(await misjudged(only, permission, guarded().filter(isSafe), wanted)))
    }
    expect(faults).toEqual([])
  })

  it('of the organization’s own with every other permission may not', async () => {
    const faults: unknown[] = []
    const needed = new Set<string>()
    for (const permission of ROLE_PERMISSIONS) {
      const others = ROLE_PERMISSIONS.filter((other) => other !== permission)
      const lacking = await holderOf(`all-but-${permission.replace(':', '-')}`, others)
      const theirs = guarded().filter((operation) => operation.permission === permission)
      for (const { id } of theirs) needed.add(id)
      faults.push(...(await misjudged(lacking, `all but ${permission}`, theirs, () => false)))
    }
    expect(faults).toEqual([])
    // What no role can hold is the root key's and the agents'.
    const rest = guarded().filter(({ id, permission }) => !needed.has(id) && permission !== 'self')
    const kinds = new Set(rest.map(({ permission }) => permission))
    expect([...kinds].sort()).toEqual([
      'decisions:create',
      'logs:create',
      'organizations:read',
      'organizations:write',
    ])
  })
})

describe('each kind of principal', () => {
  it('is let through where its permissions and the operation’s schemes say so', async () => {
    const agent = (await agentOf()).client
    const as_root: ReadonlySet<string> = ROOT_PERMISSIONS
    const as_agent: ReadonlySet<string> = AGENT_PERMISSIONS
    const walked = guarded().filter(isSafe)
    for (const [kind, client, held, scheme] of [
      ['root', root, as_root, 'admin_key'],
      ['token of root', await tokenOf(root), as_root, 'admin_key'],
      ['agent', agent, as_agent, 'agent_key'],
      ['token of agent', await tokenOf(agent), as_agent, 'agent_key'],
    ] as const) {
      const wanted = ({ permission = '', schemes }: Operation) =>
        schemes.has(scheme) && (held.has(permission) || permission === 'self')
      expect(await misjudged(client, kind, walked, wanted)).toEqual([])
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
  it('are one 401 with the same bytes at every operation, by keys and by tokens', async () => {
    const [revoked, expired, ended] = [
      await keyOf({ role: 'owner' }),
      await keyOf({ role: 'owner', expires_at: new Date(Date.now() + 3_600_000).toISOString() }),
      await agentOf(),
    ]
    const keys = [revoked.client, expired.client, ended.client]
    const dead = await Promise.all(keys.map(tokenOf))
    const [old, withdrawn] = [
      [await tokenOf(root), await tokenOf((await agentOf()).client)],
      await tokenOf(root),
    ]
    // The control: each of them was somebody.
    for (const client of [...keys, ...dead, ...old, withdrawn]) {
      expect((await client.get('/logs')).status).toBe(200)
    }
    await root.delete(`/admin-keys/${revoked.admin_id}`)
    await root.delete(`/agents/${ended.agent_id}`)
    await owner.query('UPDATE admin_keys SET expires_at = now() WHERE admin_id = $1', [expired.admin_id])
    expect((await withdrawn.post('/token/revoke', undefined)).status).toBe(200)
    const [header, payload] = (old[0]?.headers.Authorization ?? '').split('.')
    const kinds = {
      keys: [
        ...keys,
        root.with({ 'X-Admin-Key': 'nonsense' }),
        root.with({ 'X-Agent-Key': `agk_${'0'.repeat(49)}` }),
      ],
      tokens: [...dead, bearer('nonsense'), root.with({ Authorization: `${header}.${payload}.AAAA` })],
      withdrawn: [withdrawn],
      nobody: [new Client(app.url)],
    }
    for (const [kind, clients] of Object.entries(kinds)) {
      expect([kind, await refusals(clients)]).toEqual([kind, 1 + Number(kind === 'nobody') * 3])
    }
    clock.ahead_ms = 28_801_000
    const gone = await refusals(old)
    clock.ahead_ms = 0
    expect(gone).toBe(1)
    expect((await old[0]?.get('/agents'))?.status).toBe(200) // the control: it was the time
  })
})

/** How many different refusals these are given, at every operation: 401, and nothing else. */
async function refusals(clients: readonly Client[]): Promise<number> {
  const bodies = new Set<string>()
  for (const operation of guarded()) {
    const answers = await Promise.all(clients.map((client) => send(client, operation)))
    for (const { status, body } of answers) {
      expect([operation.id, status]).toEqual([operation.id, 401])
      if (!hasOwnStandard(operation)) bodies.add(JSON.stringify({ ...body, request_id: '' }))
    }
  }
  return bodies.size
}

describe('mass assignment', () => {
  it('is refused for every field of every model in every body', async () => {
    const columns = [...new Set(Object.values(Prisma).flatMap((value) => scalarsOf(value)))]
    expect(columns).toEqual(
      expect.arrayContaining(['org_id', 'key_hash', 'created_by', 'is_active', 'version']),
    )
    const agent = (await agentOf()).client
    const checked: string[] = []
    for (const operation of operations.filter(({ fields }) => fields !== null)) {
      if (hasOwnStandard(operation)) continue
      const added = columns.filter((name) => !operation.fields?.has(name))
      const client = operation.schemes.has('agent_key') ? agent : root
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
