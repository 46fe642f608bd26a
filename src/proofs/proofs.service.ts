import { Injectable } from '@nestjs/common'
import { DEFAULT_ORG_ID } from '../authentication/authentication.service.js'
import { parseTilePath, type TilePath } from '../core/ledger/tiles.js'
import { isUuid } from '../core/ids.js'
import { isKeyName } from '../core/ledger/note.js'
import { agentNotFound, Problem } from '../core/problems.js'
import { LedgerService } from '../ledger/ledger.service.js'
import { TreeService } from '../ledger/tree.service.js'
import { type Principal, teamOf } from '../platform/access/principal.js'
import { agentsWithin, assertReaches } from '../platform/access/scope.js'
import { Database } from '../platform/database/database.service.js'
import { isEntryOfTeam } from './proofs.queries.js'
import type {
  ConsistencyProof,
  ConsistencyQuery,
  Epoch,
  EntryProof,
  StartEpoch,
  Verification,
  VerifierKey,
} from './proofs.dto.js'

/** Reading whole logs at once: more would only make each of them slower. */
const CHECKS_AT_ONCE = 2

/** What an outsider needs to check the log without trusting this service. */
@Injectable()
export class ProofsService {
  private checks = 0

  constructor(
    private readonly tree: TreeService,
    private readonly ledger: LedgerService,
    private readonly database: Database,
  ) {}

  /** The newest checkpoint, a signed note. @throws Problem `not_found` before the first one */
  async checkpoint(reader: Reader): Promise<string> {
    const newest = await this.tree.checkpoint(orgOf(reader))
    if (!newest) throw nothingSigned()
    return newest.note
  }

  /**
   * A tile or bundle by its path under `/ledger/`.
   * @throws Problem `not_found` for a path that names none, or one that no published tree has; `forbidden` for
   * entries, to whom may not read them all
   */
  async tile(reader: Reader, path: string): Promise<{ bytes: Buffer; tile: TilePath }> {
    const tile = parseTilePath(path)
    if (tile?.kind === 'entries' && (!reader.principal || reader.principal.kind === 'agent')) {
      if (reader.principal) {
        throw new Problem('forbidden', { detail: 'Bundles of entries need logs:read of an administrator.' })
      }
      throw new Problem('unauthenticated', { detail: 'Entries need logs:read of an administrator.' })
    }
    if (tile?.kind === 'entries' && reader.principal) assertReaches(reader.principal, null)
    const bytes = tile && (await this.tree.tile(orgOf(reader), tile))
    if (!tile || !bytes) throw new Problem('not_found', { detail: 'The published log has no such tile.' })
    return { bytes, tile }
  }

  /**
   * The proof that an entry is in the log. An agent gets those of its own entries, an administrator who is held to a
   * team those about its agents: a proof shows the bytes of its entry.
   * @throws Problem `log_not_found`; `not_ready` until the next checkpoint covers the entry
   */
  async entryProof(principal: Principal, log_id: string): Promise<EntryProof> {
    const agent_id = principal.kind === 'agent' ? principal.agent_id : null
    const found =
      isUuid(log_id) && (await this.isWithin(principal, log_id))
        ? await this.tree.entryProof(principal.org_id, log_id, agent_id)
        : ({ kind: 'missing' } as const)
    switch (found.kind) {
      case 'missing':
        throw new Problem('log_not_found', { detail: `Log entry ${log_id} not found` })
      case 'pending':
        throw new Problem('not_ready', {
          detail: 'The entry is recorded, and the next checkpoint will cover it. Try again in a moment.',
          retry_after: 1,
        })
      case 'proof':
        return { index: found.index, entry: found.entry.toString('base64'), proof: found.proof }
    }
  }

  /** @throws Problem `not_found` before the first checkpoint; `validation_failed` for sizes that were not signed */
  async consistency(reader: Reader, { from, to }: ConsistencyQuery): Promise<ConsistencyProof> {
    if (from === undefined) throw invalid('from', 'is required')
    const proof = await this.tree.consistency(orgOf(reader), from, to)
    if (!proof) throw nothingSigned()
    if (!proof.hashes) {
      throw invalid(
        from > proof.to ? 'from' : 'to',
        `must not be above ${Math.min(proof.to, proof.newest.size)}`,
      )
    }
    const hashes = proof.hashes.map((hash) => Buffer.from(hash).toString('base64'))
    return { from, to: proof.to, hashes, checkpoint: proof.newest.note }
  }

  /**
   * Reads the whole log again (row AG-75). For one agent: its entries, with all that is wrong with the log's order,
   * bytes or tree. Without an agent: everything, which goes beyond that row's 400.
   * @throws Problem `not_ready` while others are being verified; to who is held to a team, `forbidden` for everything
   * and `agent_not_found` for an agent beyond it
   */
  async verify(principal: Principal, agent_id: string | undefined): Promise<Verification> {
    if (this.checks >= CHECKS_AT_ONCE) {
      throw new Problem('not_ready', { detail: 'Other logs are being verified. Try again.', retry_after: 2 })
    }
    const about = principal.kind === 'agent' ? principal.agent_id : (agent_id ?? null)
    if (about === null) assertReaches(principal, null)
    else await this.assertAgentWithin(principal, about)
    this.checks++
    try {
      const check = await this.tree.check(principal.org_id, about)
      const wrong = check?.finding ?? check?.halt ?? null
      return {
        agent_id: about,
        valid: wrong === null,
        total_entries: check?.entries ?? 0,
        broken_at: wrong?.index ?? null,
        checkpoint: check?.checkpoint
          ? { size: check.checkpoint.size, root: Buffer.from(check.checkpoint.root).toString('base64') }
          : null,
        reason: wrong?.reason ?? null,
      }
    } finally {
      this.checks--
    }
  }

  /** Whether an entry is about an agent within the principal's team; true where there is no team to be held to. */
  private async isWithin(principal: Principal, log_id: string): Promise<boolean> {
    const team = teamOf(principal)
    if (team === null) return true
    const { org_id } = principal
    return this.database.withOrg(principal, (tx) => isEntryOfTeam(tx, org_id, team, log_id))
  }

  private async assertAgentWithin(principal: Principal, agent_id: string): Promise<void> {
    if (teamOf(principal) === null) return
    const where = { ...agentsWithin(principal), agent_id }
    const count = await this.database.withOrg(principal, (tx) => tx.agent.count({ where }))
    if (count === 0) throw agentNotFound(agent_id)
  }

  /** @throws Problem `validation_failed` for a name that no key can have */
  keys(name: string | undefined): Promise<VerifierKey[]> {
    if (name !== undefined && !isKeyName(name)) throw invalid('name', 'must not have spaces or plus signs')
    return this.tree.keys(name)
  }

  /**
   * Begins a new signed history over the same entries: the one way on after the signer's folder was lost, or after a
   * log was halted. What was signed before stays what it was; the log says who began anew, and why.
   */
  async startEpoch(principal: Principal, { reason }: StartEpoch): Promise<Epoch> {
    return this.database.withOrg(principal, async (tx) => {
      const { epoch, origin, previous } = await this.tree.startEpoch(tx, principal.org_id)
      await this.ledger.append(tx, principal, {
        event: 'epoch.started',
        epoch: { number: epoch, reason, ...(previous && { previous }) },
        raises: 'organization',
      })
      return { epoch, origin }
    })
  }
}

/** Who reads what may be public: a principal, or nobody and the organization named in the request. */
export interface Reader {
  readonly principal: Principal | undefined
  readonly org_id: string | undefined
}

const orgOf = ({ principal, org_id }: Reader): string => principal?.org_id ?? org_id ?? DEFAULT_ORG_ID

const nothingSigned = () => new Problem('not_found', { detail: 'There is no checkpoint of this log yet.' })

const invalid = (path: string, message: string) =>
  new Problem('validation_failed', { errors: [{ path, message }] })
