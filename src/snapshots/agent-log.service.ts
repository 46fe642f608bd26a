import { Injectable } from '@nestjs/common'
import { randomFillSync } from 'node:crypto'
import { uuidv7 } from '../core/ids.js'
import type { Json } from '../core/ledger/canonical.js'
import { Problem } from '../core/problems.js'
import { type HotEntry, LedgerService, type SealedPayload } from '../ledger/ledger.service.js'
import type { AgentPrincipal } from '../platform/access/principal.js'
import { Clock } from '../platform/clock/clock.js'
import { within } from '../platform/clock/within.js'
import { type AgentSnapshot, SnapshotsService } from './snapshots.service.js'
import { SnapshotsWorker } from './snapshots.worker.js'

/** How often an entry is made again because the configuration changed while it was made. */
const MAX_TRIES = 3
/** A request does not wait longer for the database's time. */
const POLL_MS = 700
const ID_RANDOM_BYTES = 10
const POOLED_IDS = 512

/** What an entry is made from, at one attempt. */
export interface Attempt {
  readonly snapshot: AgentSnapshot
  /** The one `now`: decides, dates the entry, and is in its id. */
  readonly now: number
  readonly id: string
  readonly sealed: SealedPayload | null
}

type Draft = Pick<HotEntry, 'type' | 'action_key' | 'allowed' | 'decision_id' | 'entry'>

/**
 * Entries that agents cause: made from the present configuration, committed before anybody is answered, and made
 * again when the configuration moved in between (ledger.md, Versions).
 */
@Injectable()
export class AgentLogService {
  private readonly random = Buffer.alloc(ID_RANDOM_BYTES * POOLED_IDS)
  private random_at = this.random.length

  constructor(
    private readonly snapshots: SnapshotsService,
    private readonly worker: SnapshotsWorker,
    private readonly ledger: LedgerService,
    private readonly clock: Clock,
  ) {}

  /**
   * Makes and commits one entry; `make` may run up to three times.
   * @param payload the erasable members; undefined ones are left out, none at all or null means no payload
   * @returns what `make` answered for the entry that was committed, with the entry's id and index
   * @throws Problem `invalid_credentials` when the key, agent or organization is no longer active, also when that
   * happened while the entry was made; `decision_stale`, `ledger_busy`, `ledger_unavailable`
   */
  async record<T>(
    principal: AgentPrincipal,
    payload: Readonly<Record<string, Json | undefined>> | null,
    make: (attempt: Attempt) => Draft & { readonly answer: T },
  ): Promise<{ answer: T; id: string; index: number; now: number }> {
    const erasable = payload && Object.values(payload).some((member) => member !== undefined) ? payload : null
    const began = performance.now()
    for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
      const { key_hash } = principal
      const snapshot =
        attempt === 1
          ? (this.snapshots.known(key_hash) ?? (await this.snapshots.byKey(key_hash)))
          : await this.snapshots.reload(key_hash)
      if (!snapshot) throw new Problem('invalid_credentials')
      const now = this.clock.now()
      const id = uuidv7(now, this.randomBytes())
      const { org_id, agent_id } = snapshot.principal
      const sealed = erasable && (await this.ledger.sealer.seal(org_id, snapshot.log, id, now, erasable))
      const { answer, ...draft } = make({ snapshot, now, id, sealed })
      const entry = { ...draft, org_id, id, ts: now, agent_id, sealed }
      const { versions, not_after } = snapshot
      const outcome = await this.ledger.submit({ ...entry, versions, not_after }, began)
      switch (outcome.kind) {
        case 'appended':
          this.snapshots.touch()
          return { answer, id, index: outcome.index, now }
        case 'expired':
          throw new Problem('invalid_credentials')
        case 'clock':
          await within(POLL_MS, this.worker.poll()) // measures the offset again
          break
        case 'stale':
        case 'no_log':
          break
      }
    }
    throw new Problem('decision_stale', { retry_after: 1 })
  }

  /** Randomness by the page: one system call for 512 ids. */
  private randomBytes(): Buffer {
    if (this.random_at === this.random.length) {
      randomFillSync(this.random)
      this.random_at = 0
    }
    this.random_at += ID_RANDOM_BYTES
    return this.random.subarray(this.random_at - ID_RANDOM_BYTES, this.random_at)
  }
}
