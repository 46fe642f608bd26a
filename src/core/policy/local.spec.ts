import { decide, ENGINE, type PolicyRef } from './decide.js'
import { canonicalDocument, compilePolicy } from './compile.js'
import { decideLocally, encodeManifest, type Manifest, readLease, readManifest } from './local.js'
import { readRequest } from './request.js'
import type { AgentFacts } from './stage.js'
import { compileKills } from './stages/kill.js'

const NOW = Date.UTC(2026, 0, 5, 12)
const AGENT: AgentFacts = { agent_id: 'agt_a', environment: 'prod', team: 'ops', key_id: 'key_a' }

function policy(document: unknown, scope: PolicyRef['scope'] = 'agent'): PolicyRef {
  const compiled = compilePolicy(document, { isZone: () => true })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.errors))
  return { scope, id: `pol_${scope}`, version: 1, sha256: '', compiled: compiled.value }
}

function asked(action: string, more: object = {}) {
  const request = readRequest({ action, ...more })
  if (!request.ok) throw new Error(JSON.stringify(request.errors))
  return request.value
}

const OWN = policy({ allow: [{ action: '*' }], deny: [{ action: 'drop' }] })
const local = (policies: PolicyRef[], action: string, more = {}) =>
  decideLocally(policies, asked(action, more), AGENT, NOW, [])

describe('decideLocally', () => {
  it('decides as the service does', () => {
    for (const action of ['read:file', 'drop']) {
      expect(local([OWN], action)).toEqual({
        decision: decide([OWN], asked(action), AGENT, NOW, { kill: [] }),
      })
    }
    const kill = compileKills([{ id: 'kil_a', scope: 'key', target: 'key_a' }])
    expect(decideLocally([OWN], asked('read:file'), AGENT, NOW, kill)).toMatchObject({
      decision: { effect: 'deny', code: 'kill_switch_active' },
    })
  })

  it('leaves to the service what any policy says is to be asked online, in every spelling', () => {
    const organization = policy({ require_online: ['send:*'] }, 'organization')
    for (const action of ['send:email', 'Send Email', 'SEND/email'])
      expect([action, local([OWN, organization], action)]).toEqual([action, { online: 'require_online' }])
    expect(local([OWN, organization], 'read:file')).toHaveProperty('decision')
    expect(local([policy({ require_online: ['*'] })], 'read:file')).toEqual({ online: 'require_online' })
  })

  it('leaves to the service what people decide, and what needs a fact that only it has', () => {
    const asks = policy({ require_approval: [{ action: 'pay' }] })
    expect(local([asks], 'pay')).toEqual({ online: 'approval' })
    expect(local([OWN], 'read:file', { approval_id: 'apr_a' })).toEqual({ online: 'approval' })
    const zoned = policy({
      allow: [
        { action: 'read', conditions: { time_range: { start: '09:00', end: '17:00', tz: 'Europe/Berlin' } } },
      ],
    })
    expect(local([zoned], 'read')).toEqual({ online: 'facts' })
    const utc = policy({
      allow: [{ action: 'read', conditions: { time_range: { start: '09:00', end: '17:00' } } }],
    })
    expect(local([utc], 'read')).toMatchObject({ decision: { effect: 'allow' } })
  })
})

describe('require_online', () => {
  it('is in the canonical form only with something in it, so that older digests stay', () => {
    expect(canonicalDocument({ require_online: [] })).toEqual({ allow: [], deny: [], require_approval: [] })
    expect(canonicalDocument({ require_online: ['*'] })).toEqual({
      allow: [],
      deny: [],
      require_approval: [],
      require_online: ['*'],
    })
  })

  it('is refused with its path when it cannot be read', () => {
    for (const [require_online, path] of [
      ['*', 'require_online'],
      [[' '], 'require_online[0]'],
      [['send:*', 1], 'require_online[1]'],
      [Array.from({ length: 1001 }, () => '*'), 'require_online'],
    ] as const) {
      const compiled = compilePolicy({ require_online }, { isZone: () => true })
      expect(compiled).toMatchObject({ ok: false, errors: [{ path }] })
    }
  })
})

describe('readManifest and readLease', () => {
  const manifest: Manifest = {
    v: 1,
    org_id: 'org_a',
    log: 'agentguard.local/x/org_a/e1',
    agent: { agent_id: 'agt_a', environment: 'prod', team: 'ops', key_id: 'key_a' },
    config: { installation: 1, organization: 2, agent: 3 },
    engine: ENGINE,
    policies: [{ scope: 'agent', id: 'pol_a', version: 1, sha256: 'aa' }],
    kill: [{ id: 'kil_a', scope: 'organization' }],
  }

  it('give back what was written, and refuse everything else', () => {
    expect(readManifest(encodeManifest(manifest))).toEqual({ ok: true, value: manifest })
    for (const wrong of [
      { v: 2 },
      { agent: { ...manifest.agent, environment: 'production' } },
      { config: { installation: 1, organization: 2 } },
      { policies: [{ ...manifest.policies[0], scope: 'other' }] },
      { kill: undefined },
      { kill: [{ id: 'kil_a', scope: 'galaxy' }] },
      { engine: null },
      { log: 1 },
    ])
      expect(readManifest(JSON.stringify({ ...manifest, ...wrong })).ok).toBe(false)
    expect(readManifest('nonsense').ok).toBe(false)
    expect(readLease('{"v":1,"manifest":"aa","issued_at":1,"lease_until":2}').ok).toBe(true)
    expect(readLease('{"v":1,"manifest":"aa","issued_at":1}').ok).toBe(false)
  })
})
