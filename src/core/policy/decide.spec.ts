import fc from 'fast-check'
import { compilePolicy } from './compile.js'
import { decide, decideWith, ENGINE, factsNeeded, NO_FACTS, type PolicyRef, type Scope } from './decide.js'
import { MAX_DEPTH, readRequest } from './request.js'
import {
  STAGE_ORDER,
  type AgentFacts,
  type CanonicalRequest,
  type Effect,
  type Finding,
  type Stage,
} from './stage.js'
import { perPolicy, rulesRunner, type Runner } from './stages/runner.js'

const AGENT: AgentFacts = { agent_id: 'agt_1', environment: 'prod', team: 'support' }
const NOW = Date.UTC(2025, 0, 6, 12)
const BERLIN = { time_range: { start: '09:00', end: '17:00', tz: 'Europe/Berlin' } }
const MISSING = 'Cannot evaluate the condition of'

function ref(scope: Scope, document: unknown, version = 1): PolicyRef {
  const compiled = compilePolicy(document, { isZone: () => true })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.errors))
  return { scope, id: `pol_${scope}`, version, sha256: '00', compiled: compiled.value }
}

function request(action: string, resource?: string): CanonicalRequest {
  const read = readRequest({ action, resource })
  if (!read.ok) throw new Error(JSON.stringify(read.errors))
  return read.value
}

const READ = request('read:file', 'a/b')

describe('several policies', () => {
  const rule = (action: string): unknown => ({ action })
  const three = (list: string): PolicyRef[] => [
    ref('agent', { [list]: [rule('read:*')] }, 3),
    ref('organization', { [list]: [rule('*')] }, 1),
    ref('team', { [list]: [rule('read:file')] }, 2),
  ]

  it.each([
    ['deny', 'organization', 1],
    ['require_approval', 'organization', 1],
    ['allow', 'agent', 3],
  ])('%s: the rule of the %s is reported', (list, scope, version) => {
    for (const policies of [three(list), three(list).reverse()]) {
      for (const explain of [false, true]) {
        const decision = decide(policies, READ, AGENT, NOW, NO_FACTS, { explain })
        expect(decision.matched_rule).toMatchObject({ scope, list, index: 0, version, id: `pol_${scope}` })
        expect(decision.policy_version).toBe(version)
      }
    }
  })

  it('join as a union: a deny of the organization beats the allow of the agent, and the other way round', () => {
    const policies = [ref('organization', { deny: [rule('read:*')] }), ref('agent', { allow: [rule('*')] })]
    expect(decide(policies, READ, AGENT, NOW, NO_FACTS).code).toBe('deny_rule')
    const turned = [ref('organization', { allow: [rule('*')] }), ref('agent', { deny: [rule('read:*')] })]
    expect(decide(turned, READ, AGENT, NOW, NO_FACTS).code).toBe('deny_rule')
  })

  it('report the approval of the organization before that of the agent, and name all approvals', () => {
    const policies = [
      ref('organization', { require_approval: [rule('send:*'), rule('read:*')] }),
      ref('agent', { require_approval: [rule('*'), rule('read:file')], allow: [rule('*')] }),
    ]
    const decision = decide(policies, READ, AGENT, NOW, NO_FACTS)
    expect(decision.matched_rule).toMatchObject({ scope: 'organization', index: 1 })
    expect(decision.findings.map(({ policy, rule }) => [policy, rule])).toEqual([
      [0, 'require_approval/1'],
      [1, 'require_approval/0'],
      [1, 'require_approval/1'],
    ])
  })

  it('give the version of the own policy when no rule decided, and null without one', () => {
    const other = ref('team', {}, 5)
    expect(decide([other, ref('agent', {}, 9)], READ, AGENT, NOW, NO_FACTS).policy_version).toBe(9)
    expect(decide([other], READ, AGENT, NOW, NO_FACTS)).toMatchObject({
      policy_version: null,
      code: 'default_deny',
    })
    expect(decide([], READ, AGENT, NOW, NO_FACTS)).toMatchObject({ policy_version: null, code: 'no_policy' })
  })

  it('a default deny is a finding', () => {
    const reason = 'No matching allow rule (default deny)'
    expect(decide([ref('agent', {})], READ, AGENT, NOW, NO_FACTS).findings).toEqual([
      { stage: 'rules', effect: 'deny', code: 'default_deny', reason, policy: null, rule: '' },
    ])
  })
})

describe('a missing fact', () => {
  const zoned = { action: 'read:*', resource: 'a/*', conditions: BERLIN }

  it('denies on a deny or approval rule whose action and resource match', () => {
    for (const list of ['deny', 'require_approval']) {
      const policies = [ref('agent', { allow: [{ action: '*' }], [list]: [zoned] })]
      const name = list === 'deny' ? 'deny' : 'approval'
      expect(decide(policies, READ, AGENT, NOW, NO_FACTS)).toMatchObject({
        effect: 'deny',
        code: 'fact_missing',
        reason: `${MISSING} ${name} rule: read:* on a/* (deny)`,
        matched_rule: { list, index: 0 },
      })
      expect(decide(policies, request('read:file', 'b'), AGENT, NOW, NO_FACTS).code).toBe('allow_rule')
      expect(decide(policies, request('write:file', 'a/b'), AGENT, NOW, NO_FACTS).code).toBe('allow_rule')
      expect(
        decide(policies, READ, AGENT, NOW, { kill: [], rules: { tz: { 'Europe/Berlin': 600 } } }).code,
      ).toBe('allow_rule')
    }
  })

  it('does not deny where another condition of the rule says no already', () => {
    const rule = { ...zoned, conditions: { ...BERLIN, env: 'dev' } }
    const policies = [ref('agent', { allow: [{ action: '*' }], deny: [rule] })]
    expect(decide(policies, READ, AGENT, NOW, NO_FACTS).code).toBe('allow_rule')
    expect(decide(policies, READ, { ...AGENT, environment: 'dev' }, NOW, NO_FACTS).code).toBe('fact_missing')
  })

  it('keeps an allow rule from allowing, and is said only if nothing else decides', () => {
    const own = ref('agent', { allow: [zoned] })
    expect(decide([own], READ, AGENT, NOW, NO_FACTS)).toMatchObject({ effect: 'deny', code: 'fact_missing' })
    const next = ref('agent', { allow: [zoned, { action: 'read:file' }] })
    expect(decide([next], READ, AGENT, NOW, NO_FACTS).matched_rule).toMatchObject({ list: 'allow', index: 1 })
    for (const [list, code] of [
      ['allow', 'allow_rule'],
      ['require_approval', 'approval_rule'],
      ['deny', 'deny_rule'],
    ]) {
      const other = ref('organization', { [list ?? '']: [{ action: '*' }] })
      const inner = ref('team', { [list ?? '']: [{ action: '*' }] })
      expect(decide([own, other], READ, AGENT, NOW, NO_FACTS).code).toBe(code)
      expect(decide([ref('organization', { allow: [zoned] }), inner], READ, AGENT, NOW, NO_FACTS).code).toBe(
        code,
      )
      const explained = decide([own, other], READ, AGENT, NOW, NO_FACTS, { explain: true })
      expect(explained.code).toBe(code)
      expect(explained.near_misses).toContainEqual({
        policy: 0,
        rule: 'allow/0',
        action: 'read:*',
        resource: 'a/*',
        missed: ['fact'],
      })
    }
  })

  it.each([NaN, Infinity, 1440, -1440])('an offset of %d minutes is no offset', (minutes) => {
    const facts = { kill: [], rules: { tz: { 'Europe/Berlin': minutes } } }
    expect(decide([ref('agent', { allow: [zoned] })], READ, AGENT, NOW, facts).code).toBe('fact_missing')
  })

  it('is not found on a prototype', () => {
    const tz = Object.create({ 'Europe/Berlin': 60 }) as Record<string, number>
    expect(
      decide([ref('agent', { allow: [zoned] })], READ, AGENT, NOW, { kill: [], rules: { tz } }).code,
    ).toBe('fact_missing')
  })

  it('is also a time that is no time, and an environment nobody knows', () => {
    const day = ref('agent', { allow: [{ action: '*', conditions: { day_of_week: 'Mon' } }] })
    expect(decide([day], READ, AGENT, NaN, NO_FACTS).code).toBe('fact_missing')
    const env = ref('agent', {
      allow: [{ action: '*' }],
      deny: [{ action: '*', conditions: { env: 'dev' } }],
    })
    const lost = { ...AGENT, environment: 'moon' } as unknown as AgentFacts
    expect(decide([env], READ, lost, NOW, NO_FACTS).code).toBe('fact_missing')
    const long = { ...AGENT, environment: 'development' } as unknown as AgentFacts
    expect(decide([env], READ, long, NOW, NO_FACTS).code).toBe('deny_rule')
  })

  it('is asked for beforehand, once a zone, only for rules whose action and resource match', () => {
    const tokyo = { time_range: { start: '09:00', end: '17:00', tz: 'Asia/Tokyo' } }
    const utc = { time_range: { start: '09:00', end: '17:00', tz: 'UTC' } }
    const policies = [
      ref('agent', {
        allow: [zoned, zoned, { action: 'send:email', conditions: tokyo }, { action: '*', conditions: utc }],
      }),
    ]
    expect(factsNeeded(policies, READ, AGENT)).toEqual([
      { stage: 'rules', kind: 'tz', zone: 'Europe/Berlin' },
    ])
    expect(factsNeeded(policies, request('send:email'), AGENT)).toEqual([
      { stage: 'rules', kind: 'tz', zone: 'Asia/Tokyo' },
    ])
    expect(factsNeeded(policies, request('write:file'), AGENT)).toEqual([])
    expect(factsNeeded([...policies, ref('team', { deny: [zoned] })], READ, AGENT).length).toBe(2)
  })
})

describe('explain', () => {
  it('reports every matching rule, and near misses with what they missed', () => {
    const policy = ref('agent', {
      deny: [{ action: 'read:*', resource: 'z/*' }, { action: 'read:*' }, { action: 'write:*' }],
      require_approval: [{ action: 'read:file', conditions: { env: 'dev', day_of_week: ['Sun'] } }],
      allow: [
        { action: 'read:*', conditions: { time_range: { start: '13:00', end: '14:00' } } },
        { action: 'read:*', resource: 'z', conditions: { env: 'dev' } },
        { action: 'read:*' },
      ],
    })
    const decision = decide([policy], READ, AGENT, NOW, NO_FACTS, { explain: true })
    expect(decision.effect).toBe('deny')
    expect(decision.findings.map(({ rule }) => rule)).toEqual(['deny/1', 'allow/2'])
    expect(decision.near_misses?.map(({ rule, missed }) => [rule, missed])).toEqual([
      ['deny/0', ['resource']],
      ['require_approval/0', ['conditions.env', 'conditions.day_of_week']],
      ['allow/0', ['conditions.time_range']],
      ['allow/1', ['resource', 'conditions.env']],
    ])
    expect(decide([policy], READ, AGENT, NOW, NO_FACTS).near_misses).toBeUndefined()
  })
})

describe('the stages', () => {
  const said = (effect: Effect, code: Finding['code'] = 'time_limit'): Finding => ({
    effect,
    code,
    reason: 'said',
    policy: null,
    rule: 'x/0',
  })

  function stage(name: Stage<null, null>['name'], may: Effect[], evaluate: () => Finding[]): Runner {
    const made: Stage<null, null> = {
      name,
      version: 1,
      may,
      compile: () => ({ ok: true, value: null }),
      needs: () => [],
      evaluate: () => ({
        findings: evaluate(),
        guards: [{ kind: 'counter', key: name, window_ms: 1, limit: 1 }],
      }),
    }
    return perPolicy(
      made,
      () => null,
      () => null,
    )
  }

  const open = [ref('agent', { allow: [{ action: '*' }] })]
  const run = (runners: Runner[], explain = false) =>
    decideWith(runners, open, READ, AGENT, NOW, NO_FACTS, { explain })

  it('have an engine version each, and run in the order of the pipeline', () => {
    expect(ENGINE).toEqual({ semantics: 1, stages: { kill: 1, rules: 1 } })
    expect(STAGE_ORDER).toEqual(['kill', 'lifecycle', 'rules', 'temporal', 'code', 'compliance', 'risk'])
  })

  it('the strictest effect wins, whatever the rules allow', () => {
    expect(run([rulesRunner, stage('temporal', ['deny'], () => [])]).effect).toBe('allow')
    expect(run([rulesRunner, stage('risk', ['pending'], () => [said('pending')])]).effect).toBe('pending')
    const both = [rulesRunner, stage('risk', ['pending', 'deny'], () => [said('pending'), said('deny')])]
    expect(run(both)).toMatchObject({
      effect: 'deny',
      code: 'time_limit',
      matched_rule: null,
      policy_version: 1,
    })
  })

  it('stop at the first deny, unless explain is asked for', () => {
    const asked: string[] = []
    const kill = stage('kill', ['deny'], () => (asked.push('kill'), [said('deny', 'kill_switch_active')]))
    const risk = stage('risk', ['deny'], () => (asked.push('risk'), [said('deny')]))
    expect(run([kill, rulesRunner, risk])).toMatchObject({
      code: 'kill_switch_active',
      findings: { length: 1 },
    })
    expect(asked).toEqual(['kill'])
    const explained = run([kill, rulesRunner, risk], true)
    expect(explained).toMatchObject({
      code: 'kill_switch_active',
      findings: { length: 3 },
      guards: { length: 2 },
    })
  })

  it('stop at a default deny too: nothing after the rules may allow', () => {
    const risk = stage('risk', ['deny'], () => {
      throw new Error('asked')
    })
    expect(decideWith([rulesRunner, risk], [ref('agent', {})], READ, AGENT, NOW, NO_FACTS).code).toBe(
      'default_deny',
    )
  })

  it('a stage that says what it may not say denies', () => {
    const eager = stage('risk', ['deny'], () => [said('allow')])
    expect(run([rulesRunner, eager])).toMatchObject({
      effect: 'deny',
      code: 'stage_error',
      reason: 'The risk stage failed (deny)',
    })
    const odd = stage('risk', ['deny'], () => [said('maybe' as Effect)])
    expect(run([rulesRunner, odd])).toMatchObject({ effect: 'deny', code: 'stage_error' })
    expect(decideWith([eager], open, READ, AGENT, NOW, NO_FACTS).code).toBe('stage_error')
  })

  it('a stage that throws denies, and keeps what it threw for the log', () => {
    const failure = new Error('boom')
    const broken = stage('temporal', ['deny'], () => {
      throw failure
    })
    for (const explain of [false, true]) {
      const decision = run([rulesRunner, broken], explain)
      expect(decision).toMatchObject({
        effect: 'deny',
        code: 'stage_error',
        reason: 'The temporal stage failed (deny)',
      })
      expect(decision.failure).toBe(failure)
    }
  })

  it('no stage at all denies', () => {
    expect(run([])).toMatchObject({ effect: 'deny', code: 'default_deny', findings: { length: 1 } })
  })

  it('decide never throws, whatever it is given, and never allows what it cannot read', () => {
    const policies = [
      ref('agent', {
        allow: [{ action: 'read:*', resource: 'a/*', conditions: BERLIN }],
        deny: [{ action: 'x*', conditions: { env: 'dev' } }],
        require_approval: [{ action: '*:y', conditions: { day_of_week: 'Mon' } }],
      }),
    ]
    fc.assert(
      fc.property(fc.anything(), fc.anything(), fc.anything(), fc.anything(), (asked, agent, now, facts) => {
        const decision = decide(policies, asked as never, agent as never, now as never, facts as never)
        expect(decision.effect).toBe('deny')
        const other = decide(
          policies,
          READ,
          agent as never,
          now as never,
          { kill: [], rules: facts } as never,
        )
        expect(['allow', 'pending', 'deny']).toContain(other.effect)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('reading a request', () => {
  const pathsOf = (source: Parameters<typeof readRequest>[0]): string[] => {
    const read = readRequest(source)
    return read.ok ? [] : read.errors.map(({ path }) => path)
  }
  const nested = (depth: number): object => (depth === 1 ? {} : { in: nested(depth - 1) })

  it('reports all mistakes at once', () => {
    const source = { action: 'rêad', resource: '../../etc', arguments: [], context: 'x', approval_id: 7 }
    expect(pathsOf(source)).toEqual(['action', 'resource', 'arguments', 'context', 'approval_id'])
    expect(pathsOf({ action: undefined })).toEqual(['action'])
    expect(pathsOf({ action: null, resource: 3 })).toEqual(['action', 'resource'])
  })

  it('takes an absent, null or empty resource for a missing one', () => {
    for (const resource of [undefined, null, '']) {
      const read = readRequest({ action: 'read', resource })
      expect(read.ok && read.value.resource).toBeNull()
    }
  })

  it('keeps arguments and context as they are', () => {
    const args = JSON.parse('{"to":["a"],"__proto__":{"n":1.5}}') as unknown
    const read = readRequest({ action: 'send:email', arguments: args, context: {}, approval_id: 'apr_1' })
    expect(read.ok && read.value).toMatchObject({ context: {}, approval_id: 'apr_1' })
    expect(read.ok && read.value.arguments).toBe(args)
  })

  it(`takes ${MAX_DEPTH} levels and not one more, and says where canonical JSON ends`, () => {
    expect(pathsOf({ action: 'a', arguments: nested(MAX_DEPTH) })).toEqual([])
    expect(pathsOf({ action: 'a', arguments: nested(MAX_DEPTH + 1) })[0]).toMatch(/^arguments\.in/)
    expect(pathsOf({ action: 'a', context: { list: [1, '\ud800'] } })).toEqual(['context.list[1]'])
    expect(pathsOf({ action: 'a', context: { n: NaN } })).toEqual(['context.n'])
  })

  it('never throws', () => {
    const source = fc.record({
      action: fc.anything(),
      resource: fc.anything(),
      arguments: fc.anything(),
      context: fc.anything(),
    })
    fc.assert(
      fc.property(source, (value) => typeof readRequest(value).ok === 'boolean'),
      { numRuns: 2000 },
    )
  })
})
