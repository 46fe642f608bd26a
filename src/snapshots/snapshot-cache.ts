import { PolicyCache } from './policy-cache.js'
import type { AgentSnapshot } from './snapshots.service.js'

/** About 200 MB of compiled rules. */
const MAX_RULES = 200_000

interface Kept {
  readonly snapshot: AgentSnapshot
  /** Asked for since it was last looked at for eviction. */
  used: boolean
}

/**
 * Snapshots by key, bounded by their number and by the rules of their policies. Who goes is found by the clock
 * algorithm (second chance): as good as least recently used, and a hit costs one write instead of two in a map.
 */
export class SnapshotCache {
  readonly policies = new PolicyCache()
  private readonly kept = new Map<string, Kept>()
  private readonly hashes = new Map<string, Set<string>>()

  constructor(
    private readonly max_snapshots: number,
    private readonly max_rules = MAX_RULES,
  ) {}

  get size(): number {
    return this.kept.size
  }

  get(key_hash: string): AgentSnapshot | undefined {
    const kept = this.kept.get(key_hash)
    if (!kept) return undefined
    kept.used = true
    return kept.snapshot
  }

  /** Of every key of this agent. */
  ofAgent(org_id: string, agent_id: string): AgentSnapshot[] {
    const hashes = this.hashes.get(nameOf(org_id, agent_id)) ?? []
    return [...hashes].flatMap((hash) => this.kept.get(hash)?.snapshot ?? [])
  }

  all(): AgentSnapshot[] {
    return Array.from(this.kept.values(), ({ snapshot }) => snapshot)
  }

  keep(snapshot: AgentSnapshot): void {
    const { principal } = snapshot
    this.drop(principal.key_hash)
    this.makeRoom()
    this.kept.set(principal.key_hash, { snapshot, used: false })
    this.policies.use(snapshot.policies)
    const name = nameOf(principal.org_id, principal.agent_id)
    const hashes = this.hashes.get(name)
    if (hashes) hashes.add(principal.key_hash)
    else this.hashes.set(name, new Set([principal.key_hash]))
  }

  drop(key_hash: string): void {
    const snapshot = this.kept.get(key_hash)?.snapshot
    if (!snapshot) return
    this.kept.delete(key_hash)
    this.policies.release(snapshot.policies)
    const name = nameOf(snapshot.principal.org_id, snapshot.principal.agent_id)
    const hashes = this.hashes.get(name)
    hashes?.delete(key_hash)
    if (hashes?.size === 0) this.hashes.delete(name)
  }

  /** Policies that nobody holds go first; what one snapshot holds always fits, so that it can be kept at all. */
  private makeRoom(): void {
    while (this.kept.size >= this.max_snapshots) this.evict()
    while (this.policies.rules > this.max_rules) {
      if (this.policies.forgetIdle()) continue
      if (this.kept.size === 0) return
      this.evict()
    }
  }

  /** The first that was not used since the hand last passed goes; the others get their second chance at the end. */
  private evict(): void {
    for (const [key_hash, kept] of this.kept) {
      if (!kept.used) {
        this.drop(key_hash)
        return
      }
      kept.used = false
      this.kept.delete(key_hash)
      this.kept.set(key_hash, kept)
    }
  }
}

const nameOf = (org_id: string, agent_id: string): string => `${org_id}/${agent_id}`
