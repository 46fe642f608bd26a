import { compilePolicy } from './compile.js'
import { decide, NO_FACTS, type PolicyRef } from './decide.js'
import { readRequest } from './request.js'
import type { AgentFacts } from './stage.js'

const AGENT: AgentFacts = { agent_id: 'agt_1', environment: 'prod', team: 'ops', key_id: 'key_1' }

function decided(rules: object, approval: unknown) {
  const compiled = compilePolicy(rules, { isZone: () => true })
  const request = readRequest({ action: 'send:email' })
  if (!compiled.ok || !request.ok) throw new Error('the case does not compile')
  const policy: PolicyRef = { scope: 'agent', id: 'agt_1', version: 1, sha256: '', compiled: compiled.value }
  const facts = { ...NO_FACTS, approval: approval as never }
  const { effect, code, reason, matched_rule } = decide([policy], request.value, AGENT, 0, facts)
  return { effect, code, reason, matched_rule }
}

const ASKS = { require_approval: [{ action: 'send:email' }] }
const FULL = { full: 'agent', limit: 3 }

describe('when as many requests wait for people as may', () => {
  it('denies what a person must decide, with the limit and no rule', () => {
    expect(decided(ASKS, FULL)).toMatchObject({ effect: 'deny', code: 'approval_limit', matched_rule: null })
    expect(decided(ASKS, FULL).reason).toContain('(3)')
  })

  it('changes nothing of what needs no person', () => {
    expect(decided({ allow: [{ action: 'send:email' }] }, FULL)).toMatchObject({ code: 'allow_rule' })
    expect(decided({ deny: [{ action: 'send:email' }] }, FULL)).toMatchObject({ code: 'deny_rule' })
    expect(decided({}, FULL)).toMatchObject({ effect: 'deny', code: 'default_deny' })
  })

  it.each([
    { full: 'team', limit: 3 },
    { full: 'agent' },
    { full: true, limit: 3 },
    { full: 'agent', limit: '3' },
  ])('denies what it cannot read: %j', (fact) => {
    expect(decided(ASKS, fact)).toMatchObject({ effect: 'deny', code: 'fact_missing' })
    expect(decided({ allow: [{ action: 'send:email' }] }, fact)).toMatchObject({ code: 'fact_missing' })
  })
})
