import fc from 'fast-check'
import { MadeLog } from '../../../test/support/bundle.js'
import { canonicalize, type Json } from '../ledger/canonical.js'
import type { DecisionEntry } from '../ledger/entry.js'
import { compilePolicy } from './compile.js'
import { decide, ENGINE, type Facts, NO_FACTS, type PolicyRef } from './decide.js'
import { recordedDecision, recordedFacts, compileRecorded, replayDecision } from './replay.js'
import { readRequest } from './request.js'
import type { AgentFacts, CanonicalRequest } from './stage.js'
import { compileKills, KILL_SCOPES, type KillFact, readKillFacts } from './stages/kill.js'

const AGENT: AgentFacts = { agent_id: 'agt_1', environment: 'prod', team: 'ops', key_id: 'key_1' }
const DOCUMENT = { allow: [{ action: '*' }], deny: [], require_approval: [] }

function request(action: string): CanonicalRequest {
  const read = readRequest({ action, resource: 'a' })
  if (!read.ok) throw new Error(JSON.stringify(read.errors))
  return read.value
}

function open(): PolicyRef[] {
  const compiled = compilePolicy(DOCUMENT, { isZone: () => true })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.errors))
  return [{ scope: 'agent', id: 'pol_1', version: 1, sha256: '00', compiled: compiled.value }]
}

const asked = (facts: Facts, action = 'read:file', agent = AGENT, explain = false) =>
  decide(open(), request(action), agent, 0, facts, { explain })
const kills = (...facts: KillFact[]): Facts => ({ kill: compileKills(facts) })

describe('a kill switch', () => {
  it.each<[string, KillFact]>([
    ['installation', { id: 'kil_1', scope: 'installation' }],
    ['organization', { id: 'kil_1', scope: 'organization' }],
    ['environment prod', { id: 'kil_1', scope: 'environment', target: 'prod' }],
    ['team ops', { id: 'kil_1', scope: 'team', target: 'ops' }],
    ['agent agt_1', { id: 'kil_1', scope: 'agent', target: 'agt_1' }],
    ['key key_1', { id: 'kil_1', scope: 'key', target: 'key_1' }],
    ['action read:*', { id: 'kil_1', scope: 'action', target: 'read:*' }],
  ])('for the %s denies before every rule', (named, kill) => {
    expect(asked(NO_FACTS).effect).toBe('allow')
    expect(asked(kills(kill))).toMatchObject({
      effect: 'deny',
      code: 'kill_switch_active',
      reason: `A kill switch is active for the ${named}`,
      matched_rule: null,
      findings: [{ stage: 'kill', rule: 'kil_1', policy: null }],
    })
  })

  it.each<KillFact>([
    { id: 'kil_1', scope: 'environment', target: 'dev' },
    { id: 'kil_1', scope: 'team', target: 'sales' },
    { id: 'kil_1', scope: 'agent', target: 'agt_2' },
    { id: 'kil_1', scope: 'key', target: 'key_2' },
    { id: 'kil_1', scope: 'action', target: 'write:*' },
  ])('for something else leaves the agent alone: %j', (kill) => {
    expect(asked(kills(kill)).code).toBe('allow_rule')
  })

  it('for an action matches as widely as a deny rule, in every spelling', () => {
    const kill = kills({ id: 'kil_1', scope: 'action', target: 'delete:user' })
    for (const action of ['delete:user', 'DeleteUser', 'delete_users_now', 'DELETE USER', 'delete']) {
      const rule = compilePolicy({ allow: [], deny: [{ action: 'delete:user' }] }, { isZone: () => true })
      if (!rule.ok) throw new Error('does not compile')
      const denied = decide(
        [{ scope: 'agent', id: 'p', version: 1, sha256: '', compiled: rule.value }],
        request(action),
        AGENT,
        0,
        NO_FACTS,
      )
      expect([action, asked(kill, action).code === 'kill_switch_active']).toEqual([
        action,
        denied.code === 'deny_rule',
      ])
    }
    expect(asked(kill, 'DeleteUser').code).toBe('kill_switch_active')
    // A pattern that cannot be read stops everything.
    expect(asked(kills({ id: 'kil_1', scope: 'action', target: '' })).code).toBe('kill_switch_active')
  })

  it('that is the widest is reported, and explain names all', () => {
    const all = KILL_SCOPES.map((scope, i): KillFact => {
      const target = { environment: 'prod', team: 'ops', agent: 'agt_1', key: 'key_1', action: '*' }
      return { id: `kil_${i}`, scope, ...(scope in target && { target: target[scope as 'team'] }) }
    })
    fc.assert(
      fc.property(fc.shuffledSubarray(all, { minLength: 1 }), (some) => {
        const widest = Math.min(...some.map(({ id }) => Number(id.slice(4))))
        expect(asked(kills(...some)).findings.map(({ rule }) => rule)).toEqual([`kil_${widest}`])
        const explained = asked(kills(...some), 'read:file', AGENT, true)
        expect(explained.findings.filter(({ stage }) => stage === 'kill')).toHaveLength(some.length)
        expect(explained.findings[0]?.rule).toBe(`kil_${widest}`)
      }),
    )
  })

  it('on any key stops who does not say which key asks, and no facts at all deny', () => {
    const { key_id: _, ...nameless } = AGENT
    expect(asked(kills({ id: 'k', scope: 'key', target: 'key_2' }), 'a', nameless).effect).toBe('deny')
    expect(asked({} as Facts).code).toBe('fact_missing')
  })
})

describe('replay', () => {
  const policy = compileRecorded(canonicalize(DOCUMENT))
  const replay = (entry: DecisionEntry) => replayDecision(entry, 'none', () => policy)

  function decision(): DecisionEntry {
    const log = new MadeLog()
    log.policy('agt_1', DOCUMENT)
    log.decide('agt_1', { action: 'read:file', resource: 'a' })
    const entry = log.entries[log.size - 1]?.entry
    if (entry?.type !== 'decision') throw new Error('no decision')
    return entry
  }

  it('makes the same deny from the switch that the entry records, and only from that', () => {
    const facts = kills(
      { id: 'kil_1', scope: 'team', target: 'ops' },
      { id: 'kil_2', scope: 'action', target: 'write:*' },
    )
    const made = asked(facts)
    const kill: Json = [{ id: 'kil_1', scope: 'team', target: 'ops' }]
    expect(recordedFacts(facts, made)).toEqual({ kill })
    const entry = { ...decision(), decision: recordedDecision(made), facts: { kill } }
    expect(replay(entry)).toEqual({ outcome: 'same' })
    const { facts: _, ...bare } = entry
    expect(replay(bare)).toMatchObject({ outcome: 'differs', decision: { effect: 'allow' } })
    const other: Json = [{ id: 'kil_1', scope: 'team', target: 'sales' }]
    expect(replay({ ...entry, facts: { kill: other } })).toMatchObject({ outcome: 'differs' })
    expect(replay({ ...entry, facts: { kill: 'x' } })).toMatchObject({ why: 'entry' })
  })

  it('records nothing where nothing was stopped', () => {
    const facts = kills({ id: 'kil_2', scope: 'action', target: 'write:*' })
    expect(recordedFacts(facts, asked(facts))).toBeUndefined()
  })

  it('makes entries from before the stage again without it', () => {
    const entry = decision()
    expect(entry.engine.stages).toEqual(ENGINE.stages)
    const before = { ...entry, engine: { semantics: 1, stages: { rules: 1 } } }
    expect(replay(before)).toEqual({ outcome: 'same' })
    // Nothing that such an entry claims about kill switches counts: it had no stage that reads it.
    expect(replay({ ...before, facts: { kill: [{ id: 'k', scope: 'organization' }] } })).toEqual({
      outcome: 'same',
    })
    expect(replay({ ...entry, engine: { semantics: 1, stages: { kill: 1 } } })).toMatchObject({
      why: 'engine',
    })
  })

  it('reads recorded switches strictly', () => {
    expect(readKillFacts(undefined)).toEqual([])
    for (const wrong of [1, {}, [1], [{ id: 1, scope: 'team' }], [{ id: 'a', scope: 'moon' }], [null]]) {
      expect(readKillFacts(wrong as Json)).toBeNull()
    }
  })
})
