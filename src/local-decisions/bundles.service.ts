import { Injectable } from '@nestjs/common'
import { hash } from 'node:crypto'
import { AgentsService } from '../agents/agents.service.js'
import { ENGINE } from '../core/policy/decide.js'
import {
  encodeManifest,
  type Lease,
  LEASE_TYPE,
  type Manifest,
  MANIFEST_TYPE,
  NONCE,
} from '../core/policy/local.js'
import { agentNotFound, Problem } from '../core/problems.js'
import type { Principal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { Settings } from '../platform/config/settings.js'
import { Database } from '../platform/database/database.service.js'
import { type AgentSnapshot, SnapshotsService } from '../snapshots/snapshots.service.js'
import { StatementsService } from './statements.service.js'
import type { Bundle } from './local-decisions.dto.js'

/** A bundle whose documents are read only when they are sent. */
export interface SignedBundle {
  readonly etag: string
  /** Null for who may look at it and not decide from it. */
  readonly lease: string | null
  readonly bundle: () => Promise<Bundle>
}

/** Hands out what agents decide from by themselves, and for how long. */
@Injectable()
export class BundlesService {
  /** One snapshot has one manifest, and Ed25519 one signature of it: most answers are a lease only. */
  private readonly manifests = new WeakMap<AgentSnapshot, { readonly kid: string; readonly jws: string }>()

  constructor(
    private readonly snapshots: SnapshotsService,
    private readonly agents: AgentsService,
    private readonly statements: StatementsService,
    private readonly database: Database,
    private readonly clock: Clock,
    private readonly settings: Settings,
  ) {}

  /**
   * @throws Problem `agent_not_found`, also for another agent and for an inactive one; `forbidden` without
   * `agents:read`, and while the installation lets no agent decide by itself; `invalid_credentials`
   */
  async get(principal: Principal, agent_id: string, nonce: string | undefined): Promise<SignedBundle> {
    if (nonce !== undefined && !NONCE.test(nonce)) {
      const errors = [{ path: 'AgentGuard-Nonce', message: 'must be 16 to 64 letters, digits, - and _' }]
      throw new Problem('validation_failed', { errors })
    }
    // Before anything is read: what the lease says was read after it began.
    const issued_at = this.clock.now()
    const snapshot = await this.snapshotFor(principal, agent_id)
    const { org_id } = principal
    const manifest = await this.manifestOf(snapshot)
    const lease_until = Math.min(issued_at + this.settings.local_lease_ms, snapshot.not_after ?? Infinity)
    const lease: Lease = {
      v: 1,
      manifest: hash('sha256', manifest, 'hex'),
      issued_at,
      lease_until,
      ...(nonce !== undefined && { nonce }),
    }
    return {
      etag: `"${hash('sha256', manifest, 'base64url')}"`,
      lease:
        principal.kind === 'agent' ? await this.statements.sign(LEASE_TYPE, JSON.stringify(lease)) : null,
      bundle: async () => ({
        manifest,
        policies: await this.snapshots.documents(org_id, snapshot.policies),
      }),
    }
  }

  private async snapshotFor(principal: Principal, agent_id: string): Promise<AgentSnapshot> {
    if (principal.kind === 'agent') {
      if (principal.agent_id !== agent_id) throw agentNotFound(agent_id)
      if (this.settings.local_lease_ms === 0) {
        throw new Problem('forbidden', {
          detail: 'Agents may not decide by themselves here (LOCAL_LEASE_MS).',
        })
      }
      return this.snapshots.assertConfirmed(principal)
    }
    if (!principal.permissions.has('agents:read')) {
      throw new Problem('forbidden', { detail: 'Bundles need policies:read and agents:read.' })
    }
    await this.database.withOrg(principal, (tx) => this.agents.find(tx, principal, agent_id))
    const snapshot = await this.snapshots.ofAgent(principal.org_id, agent_id)
    if (!snapshot) throw agentNotFound(agent_id)
    return snapshot
  }

  private async manifestOf(snapshot: AgentSnapshot): Promise<string> {
    const kid = await this.statements.kid()
    const known = this.manifests.get(snapshot)
    if (known?.kid === kid) return known.jws
    const jws = await this.statements.sign(MANIFEST_TYPE, encodeManifest(manifestOf(snapshot)))
    this.manifests.set(snapshot, { kid, jws })
    return jws
  }
}

function manifestOf({ principal, log, subject, versions, policies, facts }: AgentSnapshot): Manifest {
  const { agent_id, environment, team } = subject
  const { org_id, key_id } = principal
  return {
    v: 1,
    org_id,
    log,
    agent: { agent_id, environment, team, ...(key_id !== '' && { key_id }) },
    config: versions,
    engine: ENGINE,
    policies: policies.map(({ scope, id, version, sha256 }) => ({ scope, id, version, sha256 })),
    kill: facts.kill.map(({ id, scope, target }) => ({ id, scope, ...(target !== undefined && { target }) })),
  }
}
