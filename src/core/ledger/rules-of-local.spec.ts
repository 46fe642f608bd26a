import type { LocalDecision } from './entry.js'
import type { ReadEntry } from './read-entry.js'
import { LogRules } from './rules-of-log.js'

const AT = Date.UTC(2026, 0, 1)
const iso = (ms: number) => new Date(AT + ms).toISOString()
const config = (organization: number, agent: number) => ({ installation: 1, organization, agent })
const subject = { agent_id: 'agt_a', environment: 'prod', team: 'ops' }
const POLICY = { scope: 'agent', id: 'pol_a', version: 1, sha256: 'aa' }

type Made = Partial<ReadEntry> & { ms: number }

/** What is found in a log of these entries, by index. */
function findings(...entries: Made[]): string[] {
  const rules = new LogRules(true)
  return entries.flatMap(({ ms, ...entry }, index) =>
    rules
      .check(
        index,
        { log: '', id: '', ts: iso(ms), actor: { kind: 'root', id: '' }, ...entry } as ReadEntry,
        {
          after: { is_active: false },
        },
      )
      .map(({ kind }) => `${index} ${kind}`),
  )
}

const policy = (version: number, ms: number, agent = version): Made => ({
  ms,
  type: 'config',
  event: 'policy.updated',
  config: config(1, agent),
  subject,
  change: {
    kind: 'policy',
    id: 'pol_a',
    op: 'updated',
    scope: 'agent',
    version,
    sha256: version === 1 ? 'aa' : 'bb',
  },
})

const kill = (op: 'activated' | 'deactivated', organization: number, ms: number): Made => ({
  ms,
  type: 'kill',
  event: `kill_switch.${op}`,
  config: { installation: 1, organization },
  kill: { id: 'kil_a', op, scope: 'team', target: 'ops', reason: '' },
})

const local = (
  over: Partial<LocalDecision> & {
    ms?: number
    issued?: number
    decided?: number
    policies?: unknown[]
  } = {},
): Made => {
  const { ms = 60_000, issued = 1_000, decided = issued + 1, policies = [POLICY], ...rest } = over
  return {
    ms,
    type: 'decision',
    event: 'decision.local',
    actor: { kind: 'agent', id: 'agt_a', key_id: 'key_a' },
    config: config(9, 9),
    subject,
    action: { key: 'read', raw: 'read' },
    decision: { effect: 'allow' },
    policies: policies as ReadEntry['policies'] & object,
    local: {
      spool: 's',
      seq: 0,
      decided_at: iso(decided),
      issued_at: iso(issued),
      lease_until: iso(issued + 5_000),
      config: config(1, 1),
      agrees: true,
      ...rest,
    },
  }
}

describe('a decision that an agent made by itself', () => {
  it('may come after a no that its bundle was not given after', () => {
    expect(findings(policy(1, 0), policy(2, 2_000), kill('activated', 2, 2_500), local())).toEqual([])
  })

  it('is held to its lease', () => {
    expect(findings(policy(1, 0), local({ decided: 6_001 }))).toEqual(['1 lease'])
    expect(findings(policy(1, 0), local({ decided: 999 }))).toEqual(['1 lease'])
    expect(findings(policy(1, 0), local({ lease_until: iso(61_001) }))).toEqual(['1 lease'])
    expect(findings(policy(1, 0), local({ issued: 100_000 }))).toEqual(['1 lease'])
  })

  it('must not come from a bundle that was given after the no', () => {
    // Its versions say so.
    expect(findings(policy(1, 0), kill('activated', 2, 500), local({ config: config(2, 1) }))).toEqual([
      '2 killed',
    ])
    // Its versions deny it, the time does not.
    expect(findings(policy(1, 0), kill('activated', 2, 500), local({ issued: 20_000 }))).toEqual(['2 killed'])
    const ended = [policy(1, 0), kill('activated', 2, 500), kill('deactivated', 3, 90_000)]
    expect(findings(...ended, local({ issued: 20_000, ms: 99_000 }))).toEqual(['3 killed'])
    expect(findings(...ended, local({ issued: 91_000, ms: 99_000, config: config(3, 1) }))).toEqual([])
    expect(findings(policy(1, 0), policy(2, 500), local({ config: config(1, 2) }))).toEqual([
      '2 policy_stale',
    ])
    expect(findings(policy(1, 0), policy(2, 500), local({ issued: 20_000 }))).toEqual(['2 policy_stale'])
    const revoked: Made = {
      ms: 500,
      type: 'config',
      event: 'key.revoked',
      config: config(1, 2),
      subject,
      change: { kind: 'key', id: 'key_a', op: 'revoked' },
    }
    expect(findings(policy(1, 0), revoked, local({ config: config(1, 2) }))).toEqual(['2 revoked'])
    expect(findings(policy(1, 0), revoked, local())).toEqual([])
    const inactive: Made = {
      ms: 500,
      type: 'config',
      event: 'agent.updated',
      config: config(1, 2),
      change: { kind: 'agent', id: 'agt_a', op: 'updated' },
    }
    expect(findings(policy(1, 0), inactive, local({ config: config(1, 2) }))).toEqual(['2 inactive'])
    expect(findings(policy(1, 0), inactive, local())).toEqual([])
  })

  it('names policies that there were, and all that applied', () => {
    expect(findings(policy(1, 0), local({ policies: [{ ...POLICY, sha256: 'cc' }] }))).toEqual([
      '1 policy_stale',
    ])
    expect(findings(policy(1, 0), local({ policies: [{ ...POLICY, version: 7 }] }))).toEqual([
      '1 policy_stale',
    ])
    expect(findings(policy(1, 0), local({ policies: [] }))).toEqual(['1 policy_stale'])
  })

  it('is recorded with all that its spool holds', () => {
    expect(findings(policy(1, 0), local(), local({ seq: 1 }), local({ seq: 2 }))).toEqual([])
    expect(findings(policy(1, 0), local(), local({ seq: 2 }))).toEqual(['2 spool'])
    expect(findings(policy(1, 0), local({ seq: 1 }))).toEqual(['1 spool'])
    expect(findings(policy(1, 0), local(), local())).toEqual(['2 spool'])
  })
})
