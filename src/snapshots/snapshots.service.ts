import { Injectable } from '@nestjs/common'
import { canonicalize, type Json } from '../core/ledger/canonical.js'
import type { ConfigVersions, Subject } from '../core/ledger/entry.js'
import { AGENT_PERMISSIONS } from '../core/permissions.js'
import { type CompiledPolicy, compilePolicy } from '../core/policy/compile.js'
import type { Facts, PolicyRef } from '../core/policy/decide.js'
import type { AgentFacts } from '../core/policy/stage.js'
import { compileKills } from '../core/policy/stages/kill.js'
import { Problem } from '../core/problems.js'
import type { AgentPrincipal } from '../platform/access/principal.js'
import { within } from '../platform/clock/within.js'
import { isZone } from '../platform/clock/zones.js'
import { Settings } from '../platform/config/settings.js'
import { Database } from '../platform/database/database.service.js'
import { LedgerService } from '../ledger/ledger.service.js'
import { SharedTexts } from './shared-texts.js'
import { SnapshotCache } from './snapshot-cache.js'
import * as queries from './snapshots.queries.js'

/** What one key's decisions are made from: identity, versions, compiled policies. Immutable once made. */
export interface AgentSnapshot {
  readonly principal: AgentPrincipal
  /** Milliseconds after which the key is expired; null: never. */
  readonly not_after: number | null
  readonly subject: Subject & AgentFacts & { readonly team: string }
  readonly versions: Required<ConfigVersions>
  /** Origin of the organization's log. */
  readonly log: string
  readonly policies: readonly PolicyRef[]
  /** Who asks, for `decide`: the subject and the key. */
  readonly asker: AgentFacts
  /** What every decision is made from besides: the active kill switches. */
  readonly facts: Facts
}

/** Without a sign of life from the database for this long, nothing kept is used (the freshness fuse). */
const FUSE_MS = 1_000
/** A request does not wait longer for a load: it must be answered within 2 s. The load goes on for the next one. */
const LOAD_MS = 700
const NO_KILLS: Facts = { kill: [] }

/**
 * The configuration as the decision path sees it, in memory. A snapshot may be stale: the append compares its
 * versions under the head lock and refuses it then; the poll and in-process news only make that rare.
 */
@Injectable()
export class SnapshotsService {
  private readonly snapshots: SnapshotCache
  /** Loads under way; one that overlaps a change is used once and not kept. */
  private readonly loading = new Map<string, { promise: Promise<AgentSnapshot | null>; overtaken: boolean }>()
  private readonly texts = new SharedTexts()
  private last_contact = -Infinity

  constructor(
    private readonly database: Database,
    ledger: LedgerService,
    settings: Settings,
  ) {
    this.snapshots = new SnapshotCache(settings.snapshot_cache_agents)
    ledger.onRaised(({ org_id, agent_id }) => {
      if (org_id === null) this.dropAll()
      else if (agent_id === null) this.dropOrganization(org_id)
      else this.dropAgent(org_id, agent_id)
    })
  }

  /**
   * The snapshot of the agent that holds this key, or null when no active key of an active agent of an active
   * organization has this hash. Loaded on demand.
   */
  async byKey(key_hash: string): Promise<AgentSnapshot | null> {
    return this.known(key_hash) ?? this.load(key_hash)
  }

  /** The same as far as memory may be believed now; undefined says nothing about the key. */
  known(key_hash: string): AgentSnapshot | undefined {
    const known = this.snapshots.get(key_hash)
    return known && performance.now() - this.last_contact < FUSE_MS ? known : undefined
  }

  /** As `byKey`, but compared with the database's present versions: for what is not checked again at a commit. */
  async confirmed(key_hash: string): Promise<AgentSnapshot | null> {
    const known = this.snapshots.get(key_hash)
    if (!known) return this.load(key_hash)
    const { org_id, agent_id } = known.principal
    const versions = await queries.selectVersions(this.database.hot, org_id, agent_id)
    const same =
      versions?.agent === known.versions.agent &&
      versions.organization === known.versions.organization &&
      versions.installation === known.versions.installation
    return same && known.not_after === null ? known : this.reload(key_hash)
  }

  /**
   * The same for a caller that was admitted.
   * @throws Problem `invalid_credentials` when key, agent or organization are not active any more
   */
  async assertConfirmed({ key_hash }: AgentPrincipal): Promise<AgentSnapshot> {
    const snapshot = await this.confirmed(key_hash)
    if (!snapshot) throw new Problem('invalid_credentials')
    return snapshot
  }

  /**
   * What an active agent's decisions are made from now, whichever of its keys asks; null when agent or organization is
   * not active. For people to look at: nothing of it is kept.
   */
  async ofAgent(org_id: string, agent_id: string): Promise<AgentSnapshot | null> {
    const row = await queries.selectAgent(this.database.hot, org_id, agent_id)
    return row && this.snapshotOf(row, '')
  }

  /** The documents of policies in their canonical form, each digest once. */
  async documents(
    org_id: string,
    policies: readonly Omit<PolicyRef, 'compiled'>[],
  ): Promise<{ sha256: string; document: string }[]> {
    const digests = new Map(policies.map((policy) => [policy.sha256, policy]))
    return Promise.all(
      Array.from(digests.values(), async ({ id, version, sha256 }) => {
        const document = await queries.selectPolicyDocument(this.database.hot, org_id, id, version)
        return { sha256, document: canonicalize(document as Json) }
      }),
    )
  }

  /** One version of a policy, also an old one, ready to decide with; null when this organization has none such. */
  async compiled(
    org_id: string,
    { id, version, sha256 }: Pick<PolicyRef, 'id' | 'version' | 'sha256'>,
  ): Promise<CompiledPolicy | null> {
    const row = await queries.selectPolicyDigest(this.database.hot, org_id, id, version)
    return row === sha256 ? this.compile(org_id, id, version, sha256) : null
  }

  /** Drops what is kept of this key and loads it again. */
  reload(key_hash: string): Promise<AgentSnapshot | null> {
    this.snapshots.drop(key_hash)
    return this.load(key_hash)
  }

  /** A successful poll or append: the database is there. */
  touch(): void {
    this.last_contact = performance.now()
  }

  dropAgent(org_id: string, agent_id: string): void {
    this.overtake()
    for (const { principal } of this.snapshots.ofAgent(org_id, agent_id))
      this.snapshots.drop(principal.key_hash)
  }

  dropOrganization(org_id: string): void {
    this.overtake()
    this.snapshots.dropOrganization(org_id)
  }

  dropAll(): void {
    this.overtake()
    for (const org_id of this.snapshots.organizations()) this.snapshots.dropOrganization(org_id)
  }

  /** Drops every kept snapshot whose versions differ from what the poll saw. */
  dropStale(changes: queries.ChangesRow): void {
    for (const [org_id, agent_id, version] of changes.agents ?? []) {
      const [kept] = this.snapshots.ofAgent(org_id, agent_id)
      if (!kept || kept.versions.agent !== version) this.dropAgent(org_id, agent_id)
    }
    const organizations = new Map(changes.organizations ?? [])
    for (const org_id of this.snapshots.organizations()) {
      const present = { installation: changes.installation, organization: organizations.get(org_id) }
      if (this.snapshots.keepOnly(org_id, present)) this.overtake()
    }
  }

  /** Snapshots kept, at most `SNAPSHOT_CACHE_AGENTS`. */
  get kept(): number {
    return this.snapshots.size
  }

  /** The organizations of which something is kept. */
  organizations(): string[] {
    return this.snapshots.organizations()
  }

  private load(key_hash: string): Promise<AgentSnapshot | null> {
    return within(LOAD_MS, this.loadOnce(key_hash))
  }

  private loadOnce(key_hash: string): Promise<AgentSnapshot | null> {
    const underway = this.loading.get(key_hash)
    if (underway && !underway.overtaken) return underway.promise
    const load = { promise: this.read(key_hash), overtaken: false }
    this.loading.set(key_hash, load)
    const kept = load.promise
      .then((snapshot) => {
        if (snapshot && !load.overtaken) this.snapshots.keep(snapshot)
        return snapshot
      })
      .finally(() => {
        if (this.loading.get(key_hash) === load) this.loading.delete(key_hash)
      })
    load.promise = kept
    return kept
  }

  private async read(key_hash: string): Promise<AgentSnapshot | null> {
    const row = await queries.selectAgentByKey(this.database.hot, key_hash)
    this.touch()
    return row && this.snapshotOf(row, key_hash)
  }

  private async snapshotOf(row: queries.AgentRow, key_hash: string): Promise<AgentSnapshot> {
    const policies: PolicyRef[] = []
    for (const { scope, id, version, sha256, document } of row.policies ?? []) {
      const compiled =
        document === null
          ? await this.compile(row.org_id, id, version, sha256)
          : this.compileDocument(id, version, sha256, document)
      policies.push({ scope, id, version, sha256, compiled })
    }
    const org_id = this.texts.of(row.org_id)
    const { agent_id, key_id, environment } = row
    const team = this.texts.of(row.owner_team)
    return {
      principal: { kind: 'agent', org_id, agent_id, key_id, key_hash, permissions: AGENT_PERMISSIONS },
      not_after: row.not_after,
      subject: { agent_id, environment, team },
      versions: { installation: row.installation, organization: row.organization, agent: row.agent },
      log: this.texts.of(row.origin),
      policies,
      asker: { agent_id, environment, team, key_id },
      facts: row.kills ? { kill: compileKills(row.kills) } : NO_KILLS,
    }
  }

  private async compile(
    org_id: string,
    policy_id: string,
    version: number,
    sha256: string,
  ): Promise<CompiledPolicy> {
    const known = this.snapshots.policies.get(sha256)
    if (known) return known
    const document = await queries.selectPolicyDocument(this.database.hot, org_id, policy_id, version)
    return this.compileDocument(policy_id, version, sha256, document)
  }

  private compileDocument(
    policy_id: string,
    version: number,
    sha256: string,
    document: unknown,
  ): CompiledPolicy {
    const known = this.snapshots.policies.get(sha256)
    if (known) return known
    const result = compilePolicy(document, { isZone })
    // It compiled when it was stored; if it does not now, nothing may be decided from it.
    if (!result.ok) throw new Error(`policy ${policy_id} version ${version} does not compile`)
    this.snapshots.policies.add(sha256, result.value)
    return result.value
  }

  private overtake(): void {
    for (const load of this.loading.values()) load.overtaken = true
  }
}
