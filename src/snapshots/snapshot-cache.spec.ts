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
  return made({ org_id: 'org_a', agent_id: `agt_${n}`, key_hash: `hash-${n}` }, [1, 1], policies)
}

function made(
  principal: { org_id: string; agent_id: string; key_hash: string },
  [installation, organization]: [number, number],
  policies: unknown[] = [],
): AgentSnapshot {
  const versions = { installation, organization, agent: 1 }
  return { principal, policies, versions } as unknown as AgentSnapshot
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

it('drops what was made from other versions of the organization or the installation, whatever came in between', () => {
  const cache = new SnapshotCache(1_000)
  const keep = (org_id: string, n: number, versions: [number, number]) =>
    cache.keep(made({ org_id, agent_id: `agt_${n % 5}`, key_hash: `${org_id}-${n}` }, versions))
  const kept = (org_id: string) =>
    Array.from({ length: 20 }, (_, n) => n).filter((n) => cache.get(`${org_id}-${n}`) !== undefined)
  for (let n = 0; n < 20; n++) keep('org_a', n, [1, n < 10 ? 4 : 5]) // changed while they were loaded
  for (let n = 0; n < 20; n++) keep('org_b', n, [n % 2, 7])

  expect(cache.keepOnly('org_a', { installation: 1, organization: 5 })).toBe(true)
  expect(kept('org_a')).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19])
  expect(cache.keepOnly('org_a', { installation: 1, organization: 5 })).toBe(false)
  keep('org_a', 3, [1, 4]) // a load that took long
  expect(cache.keepOnly('org_a', { installation: 1, organization: 5 })).toBe(true)
  expect(kept('org_a')).toHaveLength(10)
  expect(cache.ofAgent('org_a', 'agt_3')).toHaveLength(2)

  // The poll named the organizations before this one had something here: its own version is not known.
  expect(cache.keepOnly('org_b', { installation: 1, organization: undefined })).toBe(true)
  expect(kept('org_b')).toEqual([1, 3, 5, 7, 9, 11, 13, 15, 17, 19])
  keep('org_b', 1, [1, 6])
  expect(cache.keepOnly('org_b', { installation: 1, organization: undefined })).toBe(false)
  expect(cache.keepOnly('org_b', { installation: 1, organization: 7 })).toBe(true)
  expect(kept('org_b')).toEqual([3, 5, 7, 9, 11, 13, 15, 17, 19])
  expect(cache.keepOnly('org_b', { installation: 2, organization: 7 })).toBe(true)
  expect(cache.organizations()).toEqual(['org_a'])
  cache.dropOrganization('org_a')
  expect([cache.size, cache.organizations()]).toEqual([0, []])
})
