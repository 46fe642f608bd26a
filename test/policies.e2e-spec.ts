import { createHash } from 'node:crypto'
import type { CreatedAdminKey } from '../src/admin-keys/admin-keys.dto.js'
import type { CreatedAgent } from '../src/agents/agents.dto.js'
import type { Organization } from '../src/organizations/organizations.dto.js'
import type { Policy, PolicyVersion, PolicyVersionSummary } from '../src/policies/policies.dto.js'
import { canonicalize, type Json } from '../src/core/ledger/canonical.js'
import { LedgerService } from '../src/ledger/ledger.service.js'
import { Database } from '../src/platform/database/database.service.js'
import { type RunningApp, startApp } from './support/app.js'
import { Client, withoutNames } from './support/client.js'
import { recorded, versions } from './support/recorded.js'

const ORG = 'org_default'
let app: RunningApp
let root: Client

beforeAll(async () => {
  app = await startApp()
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
})
afterAll(() => app?.close())
afterEach(() => jest.restoreAllMocks())

async function makeAgent(by = root): Promise<string> {
  const body = { name: 'bot', owner_team: 'ops', environment: 'prod' }
  return (await by.post<CreatedAgent>('/agents', body)).body.agent_id
}

const pathOf = (agent_id: string): string => `/agents/${agent_id}/policy`
const put = (agent_id: string, document: unknown, headers?: Record<string, string>) =>
  root.put<Policy>(pathOf(agent_id), document, headers)
const rollback = (agent_id: string, version: unknown, headers?: Record<string, string>) =>
  root.post<Policy>(`${pathOf(agent_id)}/rollback`, { version }, headers)
const versionsOf = async (agent_id: string): Promise<PolicyVersionSummary[]> =>
  (await root.get<PolicyVersionSummary[]>(`${pathOf(agent_id)}/versions?limit=1000`)).body
const agentVersion = async (agent_id: string): Promise<number> =>
  (await versions(app.app, ORG, agent_id))[1] ?? 0
const entriesOf = async (agent_id: string) =>
  (await recorded(app.app)).filter(
    ({ change, subject }) => change.kind === 'policy' && subject?.agent_id === agent_id,
  )

async function holderOf(role: string, org_id = ORG): Promise<Client> {
  const { body } = await root.post<CreatedAdminKey>(
    '/admin-keys',
    { name: role, role },
    { 'X-Org-ID': org_id },
  )
  return root.with({ 'X-Admin-Key': body.api_key })
}

/** What anybody can compute from the answer: RFC 8785 over the three lists. */
const digestOf = ({ allow, deny, require_approval }: Policy | PolicyVersion): string =>
  createHash('sha256')
    .update(canonicalize({ allow, deny, require_approval } as unknown as Json))
    .digest('hex')

const FULL = {
  allow: [
    { action: 'Read Files', resource: 's3://reports/*' },
    { action: 'send-email', conditions: { env: ['dev', 'prod'], day_of_week: 'Mon' } },
  ],
  deny: [{ action: 'delete:*', resource: '' }],
  require_approval: [
    {
      action: '*:payment',
      conditions: { env: 'prod', time_range: { start: '22:00', end: '06:00', tz: 'Europe/Berlin' } },
    },
  ],
}

describe('replacing (row AG-30)', () => {
  it('answers the policy as typed, with version, digest and ETag', async () => {
    const agent_id = await makeAgent()
    const { status, body, headers } = await put(agent_id, FULL)
    expect(status).toBe(200)
    expect(body).toEqual({
      scope: 'agent',
      agent_id,
      team: null,
      policy_id: expect.stringMatching(/^pol_[\w-]{16}$/),
      version: 1,
      sha256: digestOf(body),
      ...FULL,
      created_at: expect.any(String),
      updated_at: body.created_at,
    })
    expect(headers.get('ETag')).toBe('"1"')
    const got = await root.get<Policy>(pathOf(agent_id))
    expect([got.body, got.headers.get('ETag')]).toEqual([body, '"1"'])
  })

  it('replaces the whole: what is left out is gone (rows AG-30, AG-36)', async () => {
    const agent_id = await makeAgent()
    const first = await put(agent_id, FULL)
    const second = await put(agent_id, { deny: [{ action: '*' }] })
    expect(second.body).toMatchObject({
      policy_id: first.body.policy_id,
      version: 2,
      allow: [],
      deny: [{ action: '*' }],
      require_approval: [],
      created_at: first.body.created_at,
    })
    expect(second.body.updated_at > first.body.updated_at).toBe(true)
    const third = await put(agent_id, {})
    expect(third.body).toMatchObject({ version: 3, allow: [], deny: [], require_approval: [] })
  })

  it('raises the agent and records digest, version, before and after', async () => {
    const agent_id = await makeAgent()
    const version = await agentVersion(agent_id)
    const first = await put(agent_id, FULL)
    const second = await put(agent_id, { allow: [{ action: 'read:*' }] })
    expect(await agentVersion(agent_id)).toBe(version + 2)
    const empty = { allow: [], deny: [], require_approval: [] }
    expect(await entriesOf(agent_id)).toMatchObject(
      [first.body, second.body].map(({ policy_id, sha256 }, n) => ({
        event: 'policy.updated',
        actor: { kind: 'root', id: 'root' },
        subject: { agent_id, environment: 'prod', team: 'ops' },
        change: { kind: 'policy', id: policy_id, op: 'updated', scope: 'agent', version: n + 1, sha256 },
        config: { agent: version + n + 1 },
      })),
    )
    const [one, two] = await entriesOf(agent_id)
    expect(one?.opened).toEqual({ after: { ...empty, ...FULL } })
    expect(two?.opened).toEqual({
      before: { ...empty, ...FULL },
      after: { ...empty, allow: [{ action: 'read:*' }] },
    })
  })

  it('answers identical content with the current version and records nothing', async () => {
    const agent_id = await makeAgent()
    const first = await put(agent_id, { allow: [{ action: 'read:*', resource: 'a' }] })
    const before = [await agentVersion(agent_id), (await entriesOf(agent_id)).length]
    const same = await put(agent_id, { deny: [], allow: [{ resource: 'a', action: 'read:*' }] })
    expect([same.status, same.body]).toEqual([200, first.body])
    expect([await agentVersion(agent_id), (await entriesOf(agent_id)).length]).toEqual(before)
    // Another spelling is another document, though it means the same.
    expect((await put(agent_id, { allow: [{ action: 'Read *', resource: 'a' }] })).body.version).toBe(2)
  })

  it('reports every mistake at once with its path, and stores nothing', async () => {
    const agent_id = await makeAgent()
    await put(agent_id, FULL)
    const answer = await root.put(pathOf(agent_id), {
      allow_rules: [{ action: 'read:*' }],
      allow: [{ action: 'read:file' }, { resource: 'x' }, { action: 7 }, 'read'],
      deny: [
        { action: '  ' },
        { action: 'a', effect: 'deny' },
        {
          action: 'b',
          conditions: {
            env: 'moon',
            time_range: { start: '25:00', end: '06:00', tz: 'Mars/Olympus' },
            hour: 1,
          },
        },
      ],
      require_approval: {},
    })
    expect([answer.status, answer.body.code]).toEqual([422, 'validation_failed'])
    expect(new Set(answer.body.errors?.map(({ path }) => path))).toEqual(
      new Set([
        'allow_rules',
        'allow[1].action',
        'allow[2].action',
        'allow[3]',
        'deny[0].action',
        'deny[1].effect',
        'deny[2].conditions.env',
        'deny[2].conditions.time_range.start',
        'deny[2].conditions.time_range.tz',
        'deny[2].conditions.hour',
        'require_approval',
      ]),
    )
    expect((await root.get<Policy>(pathOf(agent_id))).body.version).toBe(1)
    expect(await entriesOf(agent_id)).toHaveLength(1)
  })

  it.each(['null', '[]', '"allow"', '7'])('refuses the body %s', async (text) => {
    const agent_id = await makeAgent()
    expect((await root.call('PUT', pathOf(agent_id), { text })).status).toBe(422)
    expect((await root.get(pathOf(agent_id))).status).toBe(404)
  })

  it.each(['UTC', 'utc', 'US/Pacific', 'Asia/Calcutta'])('takes the zone %s', async (tz) => {
    const time_range = { start: '09:00', end: '17:00', tz }
    const answer = await put(await makeAgent(), { allow: [{ action: 'a', conditions: { time_range } }] })
    expect(answer.status).toBe(200)
  })

  it('takes 10,000 rules in a body of more than 1 MB, refuses 10,001, and records a large one by digest', async () => {
    const agent_id = await makeAgent()
    const rules = Array.from({ length: 10_001 }, (_, n) => ({
      action: `read:thing${n}`,
      resource: 'x'.repeat(150),
    }))
    const large = await put(agent_id, { allow: rules.slice(1) })
    expect([large.status, large.body.allow.length, large.body.sha256]).toEqual([
      200,
      10_000,
      digestOf(large.body),
    ])
    const [entry] = await entriesOf(agent_id)
    expect([entry?.change.sha256, entry?.opened]).toEqual([large.body.sha256, null])
    expect((await root.put(pathOf(agent_id), { allow: rules })).body.code).toBe('validation_failed')

    // Small again: the large one before is left out of the payload, the small one after is in it.
    await put(agent_id, { allow: [{ action: 'a' }] })
    expect((await entriesOf(agent_id)).at(-1)?.opened).toEqual({
      after: { allow: [{ action: 'a' }], deny: [], require_approval: [] },
    })
  })

  it('refuses a body beyond MAX_REQUEST_SIZE with 413', async () => {
    const text = JSON.stringify({ allow: [{ action: 'a', resource: 'x'.repeat(10_485_760) }] })
    expect((await root.call('PUT', pathOf(await makeAgent()), { text })).status).toBe(413)
  })

  it('answers an unknown or inactive agent with 404', async () => {
    const agent_id = await makeAgent()
    await put(agent_id, FULL)
    await root.delete(`/agents/${agent_id}`)
    for (const id of [agent_id, 'agt_unknown']) {
      for (const answer of [await put(id, {}), await rollback(id, 1)]) {
        expect(answer.body).toMatchObject({
          status: 404,
          code: 'agent_not_found',
          detail: `Agent ${id} not found`,
        })
      }
    }
    // The history of a deleted agent stays (C2).
    expect((await root.get<Policy>(pathOf(agent_id))).body).toMatchObject(FULL)
    expect(await versionsOf(agent_id)).toHaveLength(1)
  })

  it('makes dense versions of many writes at once, from the very first on', async () => {
    const agent_id = await makeAgent()
    const writes = 10
    const answers = await Promise.all(
      Array.from({ length: writes }, (_, n) => put(agent_id, { allow: [{ action: `read:n${n}` }] })),
    )
    expect(answers.map(({ status }) => status)).toEqual(Array(writes).fill(200))
    const wanted = Array.from({ length: writes }, (_, n) => n + 1)
    expect(answers.map(({ body }) => body.version).sort((a, b) => a - b)).toEqual(wanted)
    expect((await versionsOf(agent_id)).map(({ version }) => version)).toEqual([...wanted].reverse())
    expect((await entriesOf(agent_id)).map(({ change }) => change.version)).toEqual(wanted)
    const last = answers.find(({ body }) => body.version === writes)
    expect((await root.get(pathOf(agent_id))).body).toEqual(last?.body)
  })

  it('leaves nothing when the entry cannot be appended, neither at first nor later', async () => {
    const agent_id = await makeAgent()
    const seal = () =>
      jest.spyOn(app.app.get(LedgerService).sealer, 'seal').mockRejectedValue(new Error('none today'))
    seal()
    expect((await put(agent_id, FULL)).status).toBe(500)
    jest.restoreAllMocks()
    expect((await root.get(pathOf(agent_id))).status).toBe(404)
    await put(agent_id, FULL)
    const version = await agentVersion(agent_id)
    seal()
    expect((await put(agent_id, {})).status).toBe(500)
    jest.restoreAllMocks()
    expect((await root.get<Policy>(pathOf(agent_id))).body).toMatchObject({ version: 1, ...FULL })
    expect(await versionsOf(agent_id)).toHaveLength(1)
    expect(await agentVersion(agent_id)).toBe(version)
  })
})

describe('If-Match', () => {
  it('lets a change through only on the version that is named', async () => {
    const agent_id = await makeAgent()
    await put(agent_id, FULL)
    const stale = await put(agent_id, {}, { 'If-Match': '"2"' })
    expect(stale.body).toMatchObject({
      status: 409,
      code: 'conflict',
      detail: 'The policy is at version 1, not 2. Get it again and apply your change to that.',
    })
    expect((await put(agent_id, {}, { 'If-Match': '"1"' })).body.version).toBe(2)
    expect((await put(agent_id, FULL, { 'If-Match': '*' })).body.version).toBe(3)
    expect((await rollback(agent_id, 2, { 'If-Match': '"1"' })).status).toBe(409)
    expect((await rollback(agent_id, 2, { 'If-Match': '"3"' })).body.version).toBe(4)
  })

  it('lets one of several through that were made from the same version', async () => {
    const agent_id = await makeAgent()
    await put(agent_id, {})
    const answers = await Promise.all(
      Array.from({ length: 5 }, (_, n) =>
        put(agent_id, { allow: [{ action: `a${n}` }] }, { 'If-Match': '"1"' }),
      ),
    )
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409, 409])
  })

  it.each(['1', 'W/"1"', '"0"', '"one"', '"1", "2"'])('refuses %s', async (header) => {
    const answer = await root.put(pathOf(await makeAgent()), {}, { 'If-Match': header })
    expect([answer.status, answer.body.errors?.[0]?.path]).toEqual([422, 'If-Match'])
  })

  it.each(['"1"', '*'])('%s is a 409 while there is no policy', async (header) => {
    const agent_id = await makeAgent()
    expect((await put(agent_id, {}, { 'If-Match': header })).status).toBe(409)
    expect((await root.get(pathOf(agent_id))).status).toBe(404)
  })
})

describe('getting (row AG-31)', () => {
  it('answers 404 with the row’s words when there is none', async () => {
    const agent_id = await makeAgent()
    expect((await root.get(pathOf(agent_id))).body).toMatchObject({
      status: 404,
      code: 'policy_not_found',
      detail: `No policy found for agent ${agent_id}`,
    })
    expect((await root.get('/agents/agt_unknown/policy')).body).toMatchObject({
      status: 404,
      code: 'agent_not_found',
    })
  })
})

describe('versions', () => {
  it('are listed newest first with their counts, in pages with the total', async () => {
    const agent_id = await makeAgent()
    const made = [
      (await put(agent_id, FULL)).body,
      (await put(agent_id, { allow: [{ action: 'a' }] })).body,
      (await put(agent_id, {})).body,
    ]
    const all = await root.get<PolicyVersionSummary[]>(`${pathOf(agent_id)}/versions`)
    expect(all.headers.get('X-Total-Count')).toBe('3')
    const counts = [
      { allow: 0, deny: 0, require_approval: 0 },
      { allow: 1, deny: 0, require_approval: 0 },
      { allow: 2, deny: 1, require_approval: 1 },
    ]
    expect(all.body).toEqual(
      counts.map((rules, n) => ({
        version: 3 - n,
        sha256: made[2 - n]?.sha256,
        rules,
        rollback_of: null,
        created_at: made[2 - n]?.updated_at,
        created_by: 'root',
      })),
    )
    const page = await root.get<PolicyVersionSummary[]>(`${pathOf(agent_id)}/versions?limit=1&offset=1`)
    expect([page.body, page.headers.get('X-Total-Count')]).toEqual([all.body.slice(1, 2), '3'])
  })

  it('keep their content for ever', async () => {
    const agent_id = await makeAgent()
    const { policy_id, sha256 } = (await put(agent_id, FULL)).body
    await put(agent_id, {})
    const { status, body } = await root.get<PolicyVersion>(`${pathOf(agent_id)}/versions/1`)
    expect([status, body]).toEqual([
      200,
      {
        scope: 'agent',
        agent_id,
        team: null,
        policy_id,
        version: 1,
        sha256,
        ...FULL,
        rollback_of: null,
        created_at: expect.any(String),
        created_by: 'root',
      },
    ])
    const change = app.app
      .get(Database)
      .withOrg({ org_id: ORG }, (tx) =>
        tx.policyVersion.updateMany({ where: { policy_id }, data: { sha256: '' } }),
      )
    await expect(change).rejects.toThrow(/permission denied/)
  })

  it('of an agent without a policy are none', async () => {
    const answer = await root.get(`${pathOf(await makeAgent())}/versions`)
    expect([answer.status, answer.body, answer.headers.get('X-Total-Count')]).toEqual([200, [], '0'])
  })

  it.each(['2', '0', '-1', '01', '1.0', '1e0', 'latest', '99999999999999999999'])(
    'that do not exist, such as %s, are 404',
    async (version) => {
      const agent_id = await makeAgent()
      await put(agent_id, FULL)
      expect((await root.get(`${pathOf(agent_id)}/versions/${version}`)).body).toMatchObject({
        status: 404,
        code: 'policy_version_not_found',
        detail: `No version ${version} of the policy of agent ${agent_id} found`,
      })
    },
  )
})

describe('rolling back', () => {
  it('makes a new version with the old content, says so, and raises the agent', async () => {
    const agent_id = await makeAgent()
    const first = (await put(agent_id, FULL)).body
    await put(agent_id, { deny: [{ action: '*' }] })
    const version = await agentVersion(agent_id)
    const { status, body, headers } = await rollback(agent_id, 1)
    expect(status).toBe(200)
    expect(body).toEqual({ ...first, version: 3, updated_at: body.updated_at })
    expect(headers.get('ETag')).toBe('"3"')
    expect((await root.get(pathOf(agent_id))).body).toEqual(body)
    expect((await versionsOf(agent_id)).map(({ rollback_of }) => rollback_of)).toEqual([1, null, null])
    expect((await root.get<PolicyVersion>(`${pathOf(agent_id)}/versions/3`)).body.rollback_of).toBe(1)
    expect(await agentVersion(agent_id)).toBe(version + 1)
    const { policy_id: id, sha256 } = first
    expect((await entriesOf(agent_id)).at(-1)).toMatchObject({
      event: 'policy.rolled_back',
      change: { kind: 'policy', id, op: 'rolled_back', scope: 'agent', version: 3, sha256 },
      opened: { before: { deny: [{ action: '*' }] }, after: FULL },
    })
  })

  it('to the current content changes nothing', async () => {
    const agent_id = await makeAgent()
    const { body } = await put(agent_id, FULL)
    const same = await rollback(agent_id, 1)
    expect([same.status, same.body]).toEqual([200, body])
    expect(await versionsOf(agent_id)).toHaveLength(1)
  })

  it('refuses content that no longer compiles, with the paths', async () => {
    const agent_id = await makeAgent()
    const { policy_id } = (await put(agent_id, FULL)).body
    // As an older release, with laxer rules, could have stored it.
    const document = { allow: [{ action: '' }], deny: [], require_approval: [] }
    await app.app.get(Database).withOrg({ org_id: ORG }, async (tx) => {
      const row = { org_id: ORG, policy_id, document, sha256: '0'.repeat(64), created_by: 'root' }
      await tx.policyVersion.create({ data: { ...row, version: 2 } })
      await tx.policy.updateMany({ where: { policy_id }, data: { version: 2 } })
    })
    await put(agent_id, {})
    const answer = await root.post(`${pathOf(agent_id)}/rollback`, { version: 2 })
    expect([answer.status, answer.body.errors?.[0]?.path]).toEqual([422, 'allow[0].action'])
    expect((await root.get<Policy>(pathOf(agent_id))).body.version).toBe(3)
  })

  it('answers a version that does not exist with 404', async () => {
    const agent_id = await makeAgent()
    expect((await rollback(agent_id, 1)).body).toMatchObject({
      status: 404,
      code: 'policy_version_not_found',
    })
    await put(agent_id, FULL)
    expect((await rollback(agent_id, 2)).body).toMatchObject({
      status: 404,
      code: 'policy_version_not_found',
    })
  })

  it.each([undefined, null, 0, -1, 1.5, '1', 2_147_483_648])('refuses the version %s', async (version) => {
    const agent_id = await makeAgent()
    await put(agent_id, FULL)
    expect((await rollback(agent_id, version)).status).toBe(422)
  })
})

describe('who may', () => {
  it('answers policies of another organization exactly as if they did not exist', async () => {
    const { body: other } = await root.post<Organization>('/organizations', { name: 'Other' })
    const theirs = await holderOf('owner', other.org_id)
    const foreign = await makeAgent(theirs)
    await theirs.put(pathOf(foreign), FULL)
    const random = 'agt_AAAAAAAAAAAAAAAA'
    const requests = [
      ['PUT', '', {}],
      ['GET', '', undefined],
      ['GET', '/versions', undefined],
      ['GET', '/versions/1', undefined],
      ['POST', '/rollback', { version: 1 }],
    ] as const
    for (const [method, path, body] of requests) {
      const found = await root.call(method, pathOf(foreign) + path, { body })
      const nobodys = await root.call(method, pathOf(random) + path, { body })
      expect(found.status).toBe(404)
      expect(withoutNames(found, foreign)).toEqual(withoutNames(nobodys, random))
    }
    expect((await theirs.get<Policy>(pathOf(foreign))).body.version).toBe(1)
  })

  it('lets admins write; developers and auditors read only', async () => {
    const agent_id = await makeAgent()
    const admin = await holderOf('admin')
    expect((await admin.put<Policy>(pathOf(agent_id), FULL)).body.version).toBe(1)
    expect((await versionsOf(agent_id))[0]?.created_by).toMatch(/^adm_/)
    for (const role of ['developer', 'auditor']) {
      const client = await holderOf(role)
      const reads = [await client.get(pathOf(agent_id)), await client.get(`${pathOf(agent_id)}/versions/1`)]
      expect(reads.map(({ status }) => status)).toEqual([200, 200])
      const writes = [
        await client.put(pathOf(agent_id), {}),
        await client.post(`${pathOf(agent_id)}/rollback`, { version: 1 }),
      ]
      expect(writes.map(({ body }) => [body.status, body.code])).toEqual(Array(2).fill([403, 'forbidden']))
    }
    expect(await versionsOf(agent_id)).toHaveLength(1)
  })
})
