import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parse } from 'yaml'
import type { Policy } from '../src/policies/policies.dto.js'
import { BundleVerifier } from '../src/core/ledger/verify.js'
import { type RunningApp, startApp } from './support/app.js'
import { TOOLS } from './support/bundle.js'
import { Client } from './support/client.js'
import { recorded } from './support/recorded.js'

/** Policies of teams and of the organization, beside those of agents (rows C4, C42, AG-41). */
let app: RunningApp
let root: Client
let names = 0

beforeAll(async () => {
  app = await startApp()
  root = new Client(app.url, { 'X-Admin-Key': app.admin_key })
})
afterAll(() => app?.close())

interface Place {
  readonly admin: Client
  readonly agent: Client
  readonly agent_id: string
  readonly team: string
  readonly org_id: string
}

/** An organization of its own with one agent, so that its policy meets nobody else's. */
async function makePlace(): Promise<Place> {
  const name = `place-${++names}`
  const { org_id } = (await root.post<{ org_id: string }>('/organizations', { name })).body
  const admin = root.with({ ...root.headers, 'X-Org-ID': org_id })
  const made = await admin.post<{ agent_id: string; api_key: string }>('/agents', {
    name,
    owner_team: 'support',
    environment: 'dev',
  })
  const agent = new Client(app.url, { 'X-Agent-Key': made.body.api_key })
  return { admin, agent, agent_id: made.body.agent_id, team: 'support', org_id }
}

const pathOf = (scope: string, { agent_id, team }: Place): string =>
  ({ agent: `/agents/${agent_id}/policy`, team: `/teams/${team}/policy` })[scope] ?? '/organization/policy'

interface Decided {
  status: string
  code: string
  matched_rule: { scope: string } | null
}

const ask = async (place: Place, action: string): Promise<Decided> =>
  (await place.agent.post<Decided>('/enforce', { action })).body

describe('the cases of scopes/merge.yaml, through POST /enforce', () => {
  const file = path.join(__dirname, '../src/core/policy/testdata/scopes/merge.yaml')
  const cases = parse(readFileSync(file, 'utf8')) as {
    name: string
    policies: Record<string, unknown>
    request: { action: string }
    want: { status: string; code: string; scope: string | null }
  }[]

  it.each(cases.map((one) => [one.name, one] as const))('%s', async (_, { policies, request, want }) => {
    const place = await makePlace()
    for (const [scope, document] of Object.entries(policies)) {
      expect((await place.admin.put(pathOf(scope, place), document)).status).toBe(200)
    }
    const { status, code, matched_rule } = await ask(place, request.action)
    expect({ status, code, scope: matched_rule?.scope ?? null }).toEqual(want)
  })
})

describe.each(['team', 'organization'])('the policy of the %s', (scope) => {
  it('has versions, a rollback and If-Match like an agent’s', async () => {
    const place = await makePlace()
    const at = pathOf(scope, place)
    expect((await place.admin.get(at)).body.code).toBe('policy_not_found')
    const first = await place.admin.put<Policy>(at, { deny: [{ action: 'send:*' }] })
    expect([first.status, first.headers.get('ETag'), first.body]).toEqual([
      200,
      '"1"',
      expect.objectContaining({
        scope,
        agent_id: null,
        team: scope === 'team' ? 'support' : null,
        version: 1,
      }),
    ])
    expect((await place.admin.put(at, {}, { 'If-Match': '"7"' })).status).toBe(409)
    expect((await place.admin.put<Policy>(at, {}, { 'If-Match': '"1"' })).body.version).toBe(2)
    const back = await place.admin.post<Policy>(`${at}/rollback`, { version: 1 })
    expect([back.body.version, back.body.sha256]).toEqual([3, first.body.sha256])
    expect((await place.admin.get<unknown[]>(`${at}/versions`)).body).toHaveLength(3)
    expect((await place.admin.get(`${at}/versions/2`)).status).toBe(200)
    expect((await place.admin.get(`${at}/versions/9`)).body.code).toBe('policy_version_not_found')
    const wrong = await place.admin.put(at, { deny: [{ action: '' }], extra: 1 })
    expect([wrong.status, wrong.body.errors?.length]).toEqual([422, 2])

    const entries = (await recorded(app.app, place.org_id)).filter(({ change }) => change.kind === 'policy')
    expect(entries.map(({ event, change }) => [event, change.scope, change.team, change.version])).toEqual([
      ['policy.updated', scope, scope === 'team' ? 'support' : undefined, 1],
      ['policy.updated', scope, scope === 'team' ? 'support' : undefined, 2],
      ['policy.rolled_back', scope, scope === 'team' ? 'support' : undefined, 3],
    ])
    const versions = entries.map(({ config }) => config.organization)
    expect(versions).toEqual([...new Set(versions)].sort((a, b) => a - b))
  })

  it('holds from the moment its PUT is answered: no allow from the old one follows', async () => {
    const place = await makePlace()
    const at = pathOf(scope, place)
    for (let round = 0; round < 20; round++) {
      await place.admin.put(at, { allow: [{ action: 'read' }] })
      expect((await ask(place, 'read')).status).toBe('allowed')
      const asking = { on: true }
      const background = (async () => {
        while (asking.on) await ask(place, 'read')
      })()
      try {
        await place.admin.put(at, { deny: [{ action: 'read' }] })
        expect((await ask(place, 'read')).status).toBe('denied')
      } finally {
        asking.on = false
        await background
      }
    }
    const log = await place.admin.get('/logs/export?format=ndjson')
    const verifier = new BundleVerifier(TOOLS)
    for (const line of log.text.trimEnd().split('\n')) verifier.line(line)
    const { findings, decisions } = verifier.finish()
    expect(findings).toEqual([])
    expect(decisions.allow).toBeGreaterThan(20)
    expect(decisions.deny).toBeGreaterThan(20)
  })

  it('changes one at a time, without gaps', async () => {
    const place = await makePlace()
    const at = pathOf(scope, place)
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        place.admin.put<Policy>(at, { deny: [{ action: `a${index}` }] }),
      ),
    )
    expect(answers.map(({ body }) => body.version).sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect(new Set(answers.map(({ body }) => body.policy_id)).size).toBe(1)
  })
})
