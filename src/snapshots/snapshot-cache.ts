import { PolicyCache } from './policy-cache.js'
import type { AgentSnapshot } from './snapshots.service.js'

/** About 100 MB of compiled rules, less where policies say the same things. */
const MAX_RULES = 200_000

interface Kept {
  readonly snapshot: AgentSnapshot
  /** Asked for since it was last looked at for eviction. */
  used: boolean
}

/** The versions above an agent's own, as far as they are known. */
export interface WiderVersions {
  readonly installation: number
  /** Undefined: not known, so not compared. */
  readonly organization: number | undefined
}

/** What is kept of one organization. */
interface Organization {
  /** Of every key of an agent; nearly all have one. */
  readonly agents: Map<string, readonly Kept[]>
  /** Of every snapshot, unless `mixed`. */
  readonly versions: WiderVersions
  mixed: boolean
}

/**
 * Snapshots by key, bounded by their number and by the rules of their policies. Who goes is found by the clock
 * algorithm (second chance): as good as least recently used, and a hit costs one write instead of two in a map.
 */
export class SnapshotCache {
  readonly policies = new PolicyCache()
  private readonly kept = new Map<string, Kept>()
  private readonly by_organization = new Map<string, Organization>()

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
    const kept = this.by_organization.get(org_id)?.agents.get(agent_id) ?? []
    return kept.map(({ snapshot }) => snapshot)
  }

  /** The organizations of which something is kept. */
  organizations(): string[] {
    return [...this.by_organization.keys()]
  }

  keep(snapshot: AgentSnapshot): void {
    const { org_id, agent_id, key_hash } = snapshot.principal
    this.drop(key_hash)
    this.makeRoom()
    const kept: Kept = { snapshot, used: false }
    this.kept.set(key_hash, kept)
    this.policies.use(snapshot.policies)
    const organization = this.organizationOf(org_id, snapshot.versions)
    organization.agents.set(agent_id, [...(organization.agents.get(agent_id) ?? []), kept])
    if (!isOf(snapshot.versions, organization.versions)) organization.mixed = true
  }

  drop(key_hash: string): void {
    const kept = this.kept.get(key_hash)
    if (!kept) return
    const { policies, principal } = kept.snapshot
    const { org_id, agent_id } = principal
    this.kept.delete(key_hash)
    this.policies.release(policies)
    const agents = this.by_organization.get(org_id)?.agents
    const others = (agents?.get(agent_id) ?? []).filter((other) => other !== kept)
    if (others.length > 0) agents?.set(agent_id, others)
    else agents?.delete(agent_id)
    if (agents?.size === 0) this.by_organization.delete(org_id)
  }

  dropOrganization(org_id: string): void {
    this.dropWhere(org_id, () => true)
  }

  /**
   * Drops what was made from other versions of the organization or the installation than these. Nearly always that is
   * nothing, and known without looking at the snapshots: it is asked four times a second, of thousands of them.
   * @returns whether there was something
   */
  keepOnly(org_id: string, present: WiderVersions): boolean {
    const organization = this.by_organization.get(org_id)
    if (!organization || (!organization.mixed && isOf(organization.versions, present))) return false
    const had = this.kept.size
    this.dropWhere(org_id, ({ versions }) => !isOf(versions, present))
    // What is left is of one version again, unless that of the organization was not known.
    const [[left] = []] = organization.agents.values()
    if (left && present.organization !== undefined) {
      this.by_organization.set(org_id, { agents: organization.agents, versions: widerOf(left.snapshot.versions), mixed: false }) // prettier-ignore
    }
    return this.kept.size < had
  }

  private dropWhere(org_id: string, is: (snapshot: AgentSnapshot) => boolean): void {
    for (const kept of this.by_organization.get(org_id)?.agents.values() ?? []) {
      for (const { snapshot } of kept) if (is(snapshot)) this.drop(snapshot.principal.key_hash)
    }
  }

  private organizationOf(org_id: string, versions: AgentSnapshot['versions']): Organization {
    const known = this.by_organization.get(org_id)
    if (known) return known
    const organization = { agents: new Map(), versions: widerOf(versions), mixed: false }
    this.by_organization.set(org_id, organization)
    return organization
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

const widerOf = ({ installation, organization }: AgentSnapshot['versions']): WiderVersions => ({
  installation,
  organization,
})

const isOf = (versions: WiderVersions, present: WiderVersions): boolean =>
  versions.installation === present.installation &&
  (present.organization === undefined || versions.organization === present.organization)
