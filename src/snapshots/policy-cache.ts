import type { CompiledPolicy } from '../core/policy/compile.js'

interface Kept {
  readonly policy: CompiledPolicy
  /** Snapshots that hold it; without one it stays for the next, as long as there is room. */
  users: number
}

const rulesOf = (policy: CompiledPolicy): number => policy.rules.count

/**
 * Compiled policies by digest, shared by all snapshots that use them. Their memory is in their rules, up to half
 * a KiB each, so rules are what is counted.
 */
export class PolicyCache {
  private readonly kept = new Map<string, Kept>()
  /** Those that no snapshot holds, longest unused first. */
  private readonly idle = new Set<string>()
  private rule_count = 0

  /** Rules of all policies kept. */
  get rules(): number {
    return this.rule_count
  }

  get(sha256: string): CompiledPolicy | undefined {
    return this.kept.get(sha256)?.policy
  }

  add(sha256: string, policy: CompiledPolicy): void {
    if (this.kept.has(sha256)) return
    this.kept.set(sha256, { policy, users: 0 })
    this.idle.add(sha256)
    this.rule_count += rulesOf(policy)
  }

  /** A snapshot that holds these policies is kept; they may have been forgotten while it was loaded. */
  use(policies: readonly { readonly sha256: string; readonly compiled: CompiledPolicy }[]): void {
    for (const { sha256, compiled } of policies) {
      this.add(sha256, compiled)
      const kept = this.kept.get(sha256)
      if (kept) kept.users++
      this.idle.delete(sha256)
    }
  }

  /** A snapshot that held them is gone. */
  release(policies: readonly { readonly sha256: string }[]): void {
    for (const { sha256 } of policies) {
      const kept = this.kept.get(sha256)
      if (kept && --kept.users === 0) this.idle.add(sha256)
    }
  }

  /** Forgets the policy that was longest without a snapshot; false when every one is in use. */
  forgetIdle(): boolean {
    const [oldest] = this.idle
    const kept = oldest === undefined ? undefined : this.kept.get(oldest)
    if (oldest === undefined || !kept) return false
    this.rule_count -= rulesOf(kept.policy)
    this.kept.delete(oldest)
    return this.idle.delete(oldest)
  }
}
