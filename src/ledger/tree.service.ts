import { Injectable } from '@nestjs/common'
import { agentOf } from '../core/ledger/projections.js'
import { encodeEntries, type TilePath, tileWidth, TILE_WIDTH } from '../core/ledger/tiles.js'
import { Database, type Tx } from '../platform/database/database.service.js'
import { checkLog, type LogCheck } from './check-log.js'
import * as checkpointQueries from './checkpoints.queries.js'
import * as entryQueries from './stored-entries.queries.js'
import * as treeQueries from './trees.queries.js'
import { SignWorker } from './sign.worker.js'
import { publicKeyOf, vkeyOf } from './signing.js'
import { consistencyHashes, type EntryProof, proofOf, published, type Published } from './tree-proofs.js'

export type { LogCheck } from './check-log.js'
export type { EntryProof, Published } from './tree-proofs.js'
export { type Fault, FAULTS } from './check-entries.js'

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
      const hashes = await consistencyHashes(client, org_id, newest.epoch, from, end)
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
