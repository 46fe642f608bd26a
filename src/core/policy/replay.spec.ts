import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { hash } from 'node:crypto'
import { join } from 'node:path'
import { parse } from 'yaml'
import { makeLog, MadeLog } from '../../../test/support/bundle.js'
import { canonicalize, type Json } from '../ledger/canonical.js'
import type { DecisionEntry } from '../ledger/entry.js'
import { type CompiledPolicy, compilePolicy } from './compile.js'
import { decide, ENGINE, factsNeeded } from './decide.js'
import { compileRecorded, recordedDecision, replayDecision, type ReplayPayload } from './replay.js'
import { readRequest } from './request.js'

const DOCUMENT = { allow: [{ action: 'read:*' }], deny: [{ action: 'read:secret' }], require_approval: [] }

function decision(over: object = {}): DecisionEntry {
  const log = new MadeLog()
  log.policy('agt_a', DOCUMENT)
  log.decide('agt_a', { action: 'read:file', resource: 'a', arguments: { x: 1 } }, { entry: over })
  const entry = log.entries[log.size - 1]?.entry
  if (entry?.type !== 'decision') throw new Error('no decision')
  return entry
}

const compiled = compileRecorded(canonicalize(DOCUMENT))
const replay = (
  entry: DecisionEntry,
  payload: ReplayPayload = { arguments: { x: 1 } },
  policyOf: () => CompiledPolicy | null = () => compiled,
) => replayDecision(entry, payload, policyOf)

describe('a decision that is made again', () => {
  it('comes out the same for every entry of a log', () => {
    const policies = new Map<string, CompiledPolicy | null>()
    const log = makeLog(400, 3)
    const seen = new Set<string>()
    for (const line of log.lines()) {
      const { kind, sha256, document } = JSON.parse(line) as {
        kind: string
        sha256: string
        document: string
      }
      if (kind === 'policy') policies.set(sha256, compileRecorded(document))
    }
    for (const { entry, payload } of log.entries) {
      if (entry.type !== 'decision') continue
      const opened = payload ? (JSON.parse(payload.text) as Record<string, Json>) : 'none'
      expect(replayDecision(entry, opened, (sha256) => policies.get(sha256) ?? null)).toEqual({
        outcome: 'same',
      })
      seen.add(entry.decision.code)
    }
    expect(seen).toEqual(new Set(['allow_rule', 'deny_rule', 'approval_rule', 'default_deny']))
  })

  it.each([
    ['effect', { effect: 'deny' }, ['decision.effect']],
    ['code', { code: 'deny_rule' }, ['decision.code']],
    ['reason', { reason: 'Because' }, ['decision.reason']],
    ['finding', { findings: [] }, ['decision.findings']],
  ])('differs when another %s is recorded', (_, change, fields) => {
    const entry = decision()
    const changed = { ...entry, decision: { ...entry.decision, ...change } } as DecisionEntry
    expect(replay(changed)).toMatchObject({ outcome: 'differs', fields, decision: entry.decision })
  })

  it('differs when the recorded reading of the request is another one', () => {
    const entry = decision()
    expect(replay({ ...entry, action: { raw: 'read:secret', key: entry.action.key } })).toMatchObject({
      outcome: 'differs',
      fields: ['action.key', 'decision.effect', 'decision.code', 'decision.reason', 'decision.findings'],
    })
    expect(replay({ ...entry, resource: { raw: 'a', key: 'b' } })).toMatchObject({ fields: ['resource.key'] })
  })

  it('differs when the policy of that digest says something else', () => {
    const other = compileRecorded('{"allow":[],"deny":[],"require_approval":[]}')
    expect(replay(decision(), 'none', () => other)).toMatchObject({
      outcome: 'differs',
      decision: { effect: 'deny', code: 'default_deny' },
    })
  })

  it('uses the recorded offset of a zone, whatever zones this machine knows', () => {
    const document = {
      allow: [
        { action: 'read', conditions: { time_range: { start: '13:00', end: '13:59', tz: 'Moon/Tycho' } } },
      ],
    }
    const policy = compileRecorded(JSON.stringify(document))
    const at = { ts: '2026-01-01T12:30:00.000Z', action: { raw: 'read', key: 'read' } }
    const entry = { ...decision(at), facts: { rules: { tz: { 'Moon/Tycho': 60 } } } }
    const here = replay(entry, 'none', () => policy)
    const there = replay({ ...entry, facts: { rules: { tz: { 'Moon/Tycho': 0 } } } }, 'none', () => policy)
    expect(here).toMatchObject({ decision: { effect: 'allow', code: 'allow_rule' } })
    expect(there).toMatchObject({ decision: { effect: 'deny', code: 'default_deny' } })
  })

  it('needs what the request carried where rules look at it', () => {
    const document = { allow: [{ action: 'read:*', conditions: { request: { '/arguments/x': 1 } } }] }
    const asking = () => compileRecorded(JSON.stringify(document))
    const entry = decision()
    expect(replay(entry, { arguments: { x: 1 } }, asking)).toEqual({ outcome: 'same' })
    expect(replay(entry, { arguments: { x: '1' } }, asking)).toMatchObject({
      outcome: 'differs',
      decision: { code: 'default_deny' },
    })
    expect(replay(entry, 'redacted', asking)).toMatchObject({ outcome: 'not_replayable', why: 'redacted' })
  })

  it('is not possible without the payload, the policy, or the engine', () => {
    const entry = decision()
    expect(replay(entry, 'redacted')).toMatchObject({ outcome: 'not_replayable', why: 'redacted' })
    expect(replay(entry, 'none', () => null)).toMatchObject({ why: 'policy' })
    expect(replay({ ...entry, engine: { ...entry.engine, semantics: 2 } })).toMatchObject({
      why: 'engine',
      detail: 'it was decided with semantics 2, this program has 1',
    })
    expect(replay({ ...entry, engine: { semantics: 1, stages: { rules: 1, risk: 1 } } })).toMatchObject({
      why: 'engine',
    })
    expect(replay({ ...entry, action: { raw: '--', key: '' } })).toMatchObject({ why: 'entry' })
    expect(replay({ ...entry, subject: { ...entry.subject, environment: 'moon' } })).toMatchObject({
      why: 'entry',
    })
    expect(compileRecorded('{')).toBeNull()
    expect(compileRecorded('{"allow":[{}]}')).toBeNull()
  })
})

/**
 * The outcomes of the present engine semantics, committed: a change of meaning that does not raise
 * `ENGINE.semantics` fails here, and with it replay of every log that exists. New cases are added to the file by
 * `UPDATE_GOLDEN=1`; what stands there already is never rewritten.
 */
describe(`engine semantics ${ENGINE.semantics}`, () => {
  const FOLDER = join(__dirname, 'testdata')
  const GOLDEN = join(FOLDER, `engine-semantics-${ENGINE.semantics}.json`)
  interface Case {
    name: string
    policy: unknown
    agent?: { environment: 'dev' | 'stage' | 'prod'; team: string }
    now?: string
    zones?: Record<string, number>
    request: { action: string; resource?: string; arguments?: object; context?: object }
  }

  const outcomeOf = ({ policy, agent, now, zones, request: source }: Case) => {
    const request = readRequest(source)
    if (!request.ok) throw new Error(JSON.stringify(request.errors))
    const facts = { agent_id: 'agt_1', ...(agent ?? { environment: 'dev', team: 'support' }) } as const
    const compiled = policy === null ? null : compilePolicy(policy, { isZone: () => true })
    if (compiled && !compiled.ok) throw new Error(JSON.stringify(compiled.errors))
    const policies = compiled
      ? [{ scope: 'agent', id: 'pol_1', version: 7, sha256: '00', compiled: compiled.value } as const]
      : []
    const asked = factsNeeded(policies, request.value, facts).map(({ zone }) => zone)
    const tz = Object.fromEntries(asked.map((zone) => [zone, zones?.[zone] ?? NaN]))
    const at = Date.parse(now ?? '2025-01-06T12:00:00Z')
    const made = decide(policies, request.value, facts, at, { kill: [], rules: { tz } })
    return {
      action: request.value.action.key,
      resource: request.value.resource?.canonical ?? null,
      decision: recordedDecision(made),
      matched_rule: made.matched_rule,
    }
  }

  it('still gives the outcomes it always gave, for every case of the YAML files', () => {
    const golden = (existsSync(GOLDEN) ? JSON.parse(readFileSync(GOLDEN, 'utf8')) : {}) as Record<
      string,
      unknown
    >
    const present: Record<string, unknown> = {}
    for (const file of readdirSync(FOLDER)
      .filter((name) => name.endsWith('.yaml'))
      .sort()) {
      for (const { name, policy, agent, now, zones, request } of parse(
        readFileSync(join(FOLDER, file), 'utf8'),
      ) as Case[]) {
        const input = {
          name,
          policy,
          ...(agent && { agent }),
          ...(now && { now }),
          ...(zones && { zones }),
          request,
        }
        // An edited case is a new one: the digest tells it from a changed engine.
        const digest = hash('sha256', JSON.stringify(input), 'hex').slice(0, 12)
        present[`${file}: ${name} (${digest})`] = outcomeOf(input)
      }
    }
    if (process.env.UPDATE_GOLDEN === '1') {
      const kept = Object.fromEntries(Object.entries(golden).filter(([name]) => name in present))
      const lines = Object.entries({ ...present, ...kept }).map(
        ([name, outcome]) => `${JSON.stringify(name)}:${JSON.stringify(outcome)}`,
      )
      writeFileSync(GOLDEN, `{\n${lines.join(',\n')}\n}\n`)
      return
    }
    expect(Object.keys(present).filter((name) => !(name in golden))).toEqual([])
    expect(present).toEqual(golden)
    expect(Object.keys(golden).length).toBeGreaterThan(200)
  })
})
