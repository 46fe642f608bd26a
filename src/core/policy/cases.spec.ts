import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { compilePolicy } from './compile.js'
import { decide, factsNeeded, type Decision, type PolicyRef } from './decide.js'
import { readRequest } from './request.js'
import type { AgentFacts, Environment } from './stage.js'

interface Case {
  name: string
  policy: unknown
  agent?: { environment: Environment; team: string }
  now?: string
  zones?: Record<string, number>
  request: { action: string; resource?: string; arguments?: object; context?: object }
  want: {
    status: 'allowed' | 'denied' | 'pending'
    code: string
    reason: string
    matched_rule?: { list: string; index: number } | null
  }
}

const FOLDER = join(__dirname, 'testdata')
const FILES = readdirSync(FOLDER).filter((file) => file.endsWith('.yaml'))
const STATUS = { allow: 'allowed', deny: 'denied', pending: 'pending' } as const
const NOW = '2025-01-06T12:00:00Z'

const load = (file: string): Case[] => parse(readFileSync(join(FOLDER, file), 'utf8')) as Case[]

/** Minutes east of UTC by the platform's own zone data. */
function offset(zone: string, at: number): number {
  const format = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' })
  const text = format.formatToParts(at).find(({ type }) => type === 'timeZoneName')?.value ?? ''
  const match = /^GMT(?:([+-])(\d\d):(\d\d))?$/.exec(text)
  if (!match) throw new Error(`cannot read the offset ${text}`)
  return (match[1] === '-' ? -1 : 1) * (Number(match[2] ?? 0) * 60 + Number(match[3] ?? 0)) || 0
}

function isZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }) !== null
  } catch {
    return false
  }
}

function policiesOf(document: unknown): PolicyRef[] {
  if (document === null) return []
  const compiled = compilePolicy(document, { isZone })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.errors))
  return [{ scope: 'agent', id: 'pol_1', version: 7, sha256: '00', compiled: compiled.value }]
}

function run(test: Case, explain = false): Decision {
  const request = readRequest(test.request)
  if (!request.ok) throw new Error(JSON.stringify(request.errors))
  const agent: AgentFacts = { agent_id: 'agt_1', ...(test.agent ?? { environment: 'dev', team: 'support' }) }
  const policies = policiesOf(test.policy)
  const asked = factsNeeded(policies, request.value, agent).map(({ zone }) => zone)
  const tz = Object.fromEntries(asked.map((zone) => [zone, test.zones?.[zone] ?? NaN]))
  return decide(
    policies,
    request.value,
    agent,
    Date.parse(test.now ?? NOW),
    { kill: [], rules: { tz } },
    { explain },
  )
}

const shown = ({ effect, code, reason, matched_rule }: Decision): Case['want'] => ({
  status: STATUS[effect],
  code,
  reason,
  matched_rule: matched_rule && { list: matched_rule.list, index: matched_rule.index },
})

describe.each(FILES)('the cases of %s', (file) => {
  const cases = load(file)

  it.each(cases.map((test) => [test.name, test] as const))('%s', (_, test) => {
    const decision = run(test)
    const want = { ...test.want, matched_rule: test.want.matched_rule ?? null }
    expect(shown(decision)).toEqual(want)
    expect(decision.policy_version).toBe(test.policy === null ? null : 7)
    expect(shown(run(test, true))).toEqual(want)
  })

  it('name their cases once, and give true zone offsets, because an e2e test runs them with real zone data', () => {
    expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length)
    for (const { now, zones = {} } of cases) {
      for (const [zone, minutes] of Object.entries(zones)) {
        expect(minutes).toBe(offset(zone, Date.parse(now ?? NOW)))
      }
    }
  })
})

describe('the cases together', () => {
  const all = FILES.flatMap(load)

  it('give every status and every code of the rules stage that needs no failure', () => {
    expect(new Set(all.map(({ want }) => want.status))).toEqual(new Set(['allowed', 'denied', 'pending']))
    expect(new Set(all.map(({ want }) => want.code))).toEqual(
      new Set(['allow_rule', 'deny_rule', 'approval_rule', 'default_deny', 'no_policy']),
    )
  })

  it('control: would notice lists that are swapped, zones that are not applied and a clock that stands still', () => {
    const wrong = (change: (test: Case) => Case): number =>
      all.filter((test) => JSON.stringify(shown(run(change(test)))) !== JSON.stringify(shown(run(test))))
        .length
    const swapped = wrong((test) => {
      const { allow, deny } = (test.policy ?? {}) as { allow?: unknown; deny?: unknown }
      return { ...test, policy: test.policy === null ? null : { allow: deny ?? [], deny: allow ?? [] } }
    })
    const unzoned = wrong((test) => ({
      ...test,
      ...(test.zones && { zones: Object.fromEntries(Object.keys(test.zones).map((zone) => [zone, 0])) }),
    }))
    const still = wrong((test) => ({ ...test, now: NOW }))
    expect(swapped).toBeGreaterThan(100)
    expect(unzoned).toBeGreaterThan(5)
    expect(still).toBeGreaterThan(10)
  })
})
