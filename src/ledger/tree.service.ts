import { Injectable } from '@nestjs/common'
import type { PoolClient } from 'pg'
import { agentOf } from '../core/ledger/projections.js'
import { consistencyPlan, inclusionPlan, type ProofPlan, proofHashes } from '../core/ledger/merkle.js'
import { formatProof } from '../core/ledger/proof.js'
import { encodeEntries, type TilePath, tileWidth, TILE_WIDTH } from '../core/ledger/tiles.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { checkLog, type LogCheck } from './check-log.js'
import * as checkpointQueries from './checkpoints.queries.js'
import * as entryQueries from './stored-entries.queries.js'
import * as treeQueries from './trees.queries.js'
import { SignWorker } from './sign.worker.js'
import { publicKeyOf, vkeyOf } from './signing.js'
import { nodesFrom, sha256, tilesFor } from './tree-tiles.js'

export type { LogCheck } from './check-log.js'
export { type Fault, FAULTS } from './check-entries.js'

/** The newest signed statement about a log. */
export interface Published {
  readonly epoch: number
  readonly size: number
  readonly root: Buffer
  /** The signed note. */
  readonly note: string
}

export type EntryProof =
  | { readonly kind: 'missing' }
  /** The entry is in the log, and no checkpoint covers it yet. */
  | { readonly kind: 'pending' }
  | { readonly kind: 'proof'; readonly index: number; readonly entry: Buffer; readonly proof: string }

/** What an outsider needs to check a log: checkpoints, tiles, proofs, keys. Read only, and only what was signed. */
@Injectable()
export class TreeService {
  constructor(
    private readonly database: Database,
    private readonly signer: SignWorker,
  ) {}

  /** The newest checkpoint; null before the first one. */
  checkpoint(org_id: string): Promise<Published | null> {
    return this.database.withOrgClient({ org_id }, (client) => published(client, org_id))
  }

  /** The bytes of a tile or of a bundle of entries; null unless the newest checkpoint's tree has it in this width. */
  tile(org_id: string, { kind, level, index, width }: TilePath): Promise<Buffer | null> {
    return this.database.withOrgClient({ org_id }, async (client) => {
      const newest = await published(client, org_id)
      if (!newest || tileWidth(level, index, newest.size) < width) return null
      if (kind === 'entries') {
        const from = index * TILE_WIDTH
        const entries = await entryQueries.selectEntryBytes(client, org_id, from, from + width)
        return entries.length === width ? Buffer.from(encodeEntries(entries)) : null
      }
      const [tile] = await treeQueries.selectTiles(client, org_id, newest.epoch, [{ level, tile: index }])
      return tile && tile.hashes.length >= width * 32 ? tile.hashes.subarray(0, width * 32) : null
    })
  }

  /**
   * The proof that an entry is in the log, with the entry's bytes inside.
   * @param agent_id only an entry of this agent; null: any
   */
  entryProof(org_id: string, log_id: string, agent_id: string | null): Promise<EntryProof> {
    return this.database.withOrgClient({ org_id }, (client) => proofOf(client, org_id, log_id, agent_id))
  }

  /** The proofs of several entries of one log, in their order. */
  entryProofs(org_id: string, log_ids: readonly string[]): Promise<EntryProof[]> {
    return this.database.withOrgClient({ org_id }, async (client) => {
      const proofs: EntryProof[] = []
      for (const log_id of log_ids) proofs.push(await proofOf(client, org_id, log_id, null))
      return proofs
    })
  }

  /** How many entries of these logs are under a checkpoint. */
  signedSizes(org_ids: readonly string[]): Promise<Map<string, number>> {
    return treeQueries.selectSigned(this.database.background, org_ids)
  }

  /**
   * The hashes that show that the log of `to` entries begins with that of `from`.
   * @param to default: the newest checkpoint's size
   * @returns null before the first checkpoint; `hashes` null when the sizes are not of signed entries, or shrink
   */
  consistency(
    org_id: string,
    from: number,
    to?: number,
  ): Promise<{ to: number; hashes: Uint8Array[] | null; newest: Published } | null> {
    return this.database.withOrgClient({ org_id }, async (client) => {
      const newest = await published(client, org_id)
      if (!newest) return null
      const end = to ?? newest.size
      if (from > end || end > newest.size) return { to: end, hashes: null, newest }
      const hashes = await hashesOf(client, org_id, { ...newest, size: end }, consistencyPlan(from, end))
      return { to: end, hashes, newest }
    })
  }

  /**
   * The keys that checkpoints of this installation are or were signed with.
   * @param name what the keys are to be called in their text: the installation, or a log's origin
   */
  async keys(name: string | undefined): Promise<checkpointQueries.SignerKey[]> {
    const keys = await checkpointQueries.selectSignerKeys(this.database.background)
    if (name === undefined) return keys
    return keys.flatMap((key) => {
      const public_key = publicKeyOf(key.vkey)
      return public_key ? { ...key, name, vkey: vkeyOf(name, public_key) } : []
    })
  }

  /** Begins the next epoch of a log; the caller records it in the same transaction. */
  async startEpoch(
    tx: Tx,
    org_id: string,
  ): Promise<{ epoch: number; origin: string; previous?: { origin: string; size: number; root: string } }> {
    const previous = await checkpointQueries.selectPrevious(tx, org_id)
    const started = await checkpointQueries.startEpoch(tx, org_id)
    return { ...started, ...(previous && { previous }) }
  }

  /**
   * Reads the whole log again and holds it against its tree and its checkpoints.
   * @param agent_id counts this agent's entries only, and leaves out what is wrong with columns of other entries
   */
  check(org_id: string, agent_id: string | null): Promise<LogCheck | null> {
    const { memory } = this.signer
    return checkLog(this.database, org_id, {
      remembered: (origin) => memory?.of(origin),
      public_key: memory?.public_key,
      ...(agent_id !== null && {
        counts: (row) => row.agent_id === agent_id,
        concerns: (row, text) => row.agent_id === agent_id || agentOf(text) === agent_id,
      }),
    })
  }
}

async function proofOf(
  client: PoolClient,
  org_id: string,
  log_id: string,
  agent_id: string | null,
): Promise<EntryProof> {
  const stored = await entryQueries.selectStoredById(client, org_id, log_id, agent_id)
  if (!stored) return { kind: 'missing' }
  const newest = await published(client, org_id)
  if (!newest || newest.size <= stored.index) return { kind: 'pending' }
  const { index, entry } = stored
  const hashes = await hashesOf(client, org_id, newest, inclusionPlan(index, newest.size))
  return {
    kind: 'proof',
    index,
    entry,
    proof: formatProof({ extra: entry, index, hashes, checkpoint: newest.note }),
  }
}

async function published(client: PoolClient, org_id: string): Promise<Published | null> {
  const state = await treeQueries.selectTree(client, org_id)
  if (!state) return null
  const newest = await checkpointQueries.selectNewestCheckpoint(client, org_id, state.epoch)
  return newest && { ...newest, epoch: state.epoch }
}

async function hashesOf(
  client: PoolClient,
  org_id: string,
  { epoch, size }: Pick<Published, 'epoch' | 'size'>,
  plan: ProofPlan,
): Promise<Uint8Array[]> {
  const tiles = await treeQueries.selectTiles(client, org_id, epoch, tilesFor(plan, size))
  return proofHashes(sha256, plan, nodesFrom(size, tiles))
}
