import { type CompiledPolicy, compilePolicy } from '../core/policy/compile.js'
import { SnapshotCache } from './snapshot-cache.js'
import type { AgentSnapshot } from './snapshots.service.js'

function policyOf(rules: number): CompiledPolicy {
  const allow = Array.from({ length: rules }, (_, n) => ({ action: `read:file ${n}` }))
  const result = compilePolicy({ allow }, { isZone: () => true })
  if (!result.ok) throw new Error(JSON.stringify(result.errors))
  return result.value
}

const ten = policyOf(10)

function snapshot(n: number, ...digests: string[]): AgentSnapshot {
  const policies = digests.map((sha256) => ({
    scope: 'agent' as const,
    id: sha256,
    version: 1,
    sha256,
    compiled: ten,
  }))
  const principal = { org_id: 'org_a', agent_id: `agt_${n}`, key_hash: `hash-${n}` }
  return { principal, policies } as unknown as AgentSnapshot
}

it('keeps a number of snapshots, and of those the ones that are asked for', () => {
  const cache = new SnapshotCache(100)
  for (let n = 0; n < 100; n++) cache.keep(snapshot(n))
  for (let n = 100; n < 1_000; n++) {
    for (let hot = 0; hot < 10; hot++) expect(cache.get(`hash-${hot}`)).toBeDefined()
    cache.keep(snapshot(n))
    expect(cache.size).toBe(100)
  }
  expect(cache.get('hash-11')).toBeUndefined()
  expect(cache.ofAgent('org_a', 'agt_11')).toEqual([])
  expect(cache.ofAgent('org_a', 'agt_999')).toHaveLength(1)
})

it('bounds the rules of all policies, counting a shared one once', () => {
  const cache = new SnapshotCache(10_000, 1_000)
  for (let n = 0; n < 5_000; n++) cache.keep(snapshot(n, 'shared'))
  expect([cache.size, cache.policies.rules]).toEqual([5_000, 10])
  for (let n = 5_000; n < 9_000; n++) {
    cache.keep(snapshot(n, 'shared', `own-${n}`))
    expect(cache.policies.rules).toBeLessThanOrEqual(1_020)
  }
  expect(cache.policies.get('shared')).toBe(ten)
  expect(cache.policies.get('own-8999')).toBe(ten)
  expect(cache.policies.get('own-5000')).toBeUndefined()
})

it('keeps a policy for the next snapshot while there is room, as when an agent is loaded again', () => {
  const cache = new SnapshotCache(10, 100)
  cache.keep(snapshot(1, 'a'))
  cache.drop('hash-1')
  expect(cache.policies.get('a')).toBe(ten)
  for (let n = 0; n < 15; n++) cache.policies.add(`more-${n}`, ten)
  cache.keep(snapshot(2, 'b'))
  expect(cache.policies.get('a')).toBeUndefined()
  expect(cache.policies.rules).toBeLessThanOrEqual(110)
})
