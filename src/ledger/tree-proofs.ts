import type { PoolClient } from 'pg'
import { consistencyPlan, inclusionPlan, type ProofPlan, proofHashes } from '../core/ledger/merkle.js'
import { formatProof } from '../core/ledger/proof.js'
import * as checkpointQueries from './checkpoints.queries.js'
import * as entryQueries from './stored-entries.queries.js'
import { nodesFrom, sha256, tilesFor } from './tree-tiles.js'
import * as treeQueries from './trees.queries.js'

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

/** The proof of one entry, of one agent only when `agent_id` is given. */
export async function proofOf(
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

/** The newest checkpoint of a log's present epoch; null before the first one. */
export async function published(client: PoolClient, org_id: string): Promise<Published | null> {
  const state = await treeQueries.selectTree(client, org_id)
  if (!state) return null
  const newest = await checkpointQueries.selectNewestCheckpoint(client, org_id, state.epoch)
  return newest && { ...newest, epoch: state.epoch }
}

/** The hashes that show that the tree of `to` entries begins with that of `from`. */
export const consistencyHashes = (
  client: PoolClient,
  org_id: string,
  epoch: number,
  from: number,
  to: number,
): Promise<Uint8Array[]> => hashesOf(client, org_id, { epoch, size: to }, consistencyPlan(from, to))

async function hashesOf(
  client: PoolClient,
  org_id: string,
  { epoch, size }: Pick<Published, 'epoch' | 'size'>,
  plan: ProofPlan,
): Promise<Uint8Array[]> {
  const tiles = await treeQueries.selectTiles(client, org_id, epoch, tilesFor(plan, size))
  return proofHashes(sha256, plan, nodesFrom(size, tiles))
}
