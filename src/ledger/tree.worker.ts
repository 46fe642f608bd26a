import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import type { PoolClient } from 'pg'
import { HASH_BYTES } from '../core/ledger/merkle.js'
import { Database } from '../platform/database/database.service.js'
import { errorField } from '../platform/http/error-code.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { Metrics } from '../platform/metrics/metrics.js'
import { Loop } from '../platform/clock/loop.js'
import * as checkpointQueries from './checkpoints.queries.js'
import * as entryQueries from './stored-entries.queries.js'
import * as treeQueries from './trees.queries.js'
import { edgeTiles, loadTree, MissingTile, TileGrowths } from './tree-tiles.js'

/** Entries a transaction: what is hashed at once between two turns of the event loop (about 3 ms). */
const CHUNK = 1_024
const LOGS_A_ROUND = 200
/** Also while there is much to do: each round costs PostgreSQL as much as some hundred entries in it. */
const ROUND_MS = 500
const COUNTS_MS = 5_000
/** SQLSTATE of `ledger_integrate` for a tile that is longer or shorter than the tree. */
const TILE_ENDS_ELSEWHERE = 'AG003'

/** The log has a hole: an entry that was committed is not there, or is there twice. */
export class BrokenLog extends Error {
  constructor(
    readonly index: number,
    reason: string,
  ) {
    super(reason)
    this.name = 'BrokenLog'
  }
}

/** What an error says about the log itself; null when it is about something else, such as the connection. */
function haltOf(error: unknown): checkpointQueries.Halt | null {
  if (error instanceof BrokenLog) return { index: error.index, reason: error.message }
  if (error instanceof MissingTile) return { index: error.index, reason: 'tile_missing' }
  if (errorField(error, 'code') === TILE_ENDS_ELSEWHERE) return { index: null, reason: 'tile_changed' }
  return null
}

/**
 * Puts committed entries into the Merkle tree, behind the decision path. Every replica runs it; a try-lock lets one
 * of them work on a log, and what makes it safe is that tiles and size move together from the size that was read:
 * whoever comes second, or again after a crash at any point, finds the size moved and writes nothing. What is written
 * depends on the entries alone.
 */
@Injectable()
export class TreeWorker implements OnApplicationBootstrap {
  private readonly logger = new Logger(TreeWorker.name)
  private readonly loop: Loop
  private counts = { halted: 0, unsigned: 0, at: 0 }

  constructor(
    private readonly database: Database,
    metrics: Metrics,
    shutdown: Shutdown,
  ) {
    this.loop = new Loop('entries are put into the tree', this.logger, async () => {
      await this.round()
      return ROUND_MS
    })
    metrics.onCollect('ledger_halted', async () => (await this.count()).halted)
    metrics.onCollect('ledger_unsigned', async () => (await this.count()).unsigned)
    shutdown.onClose('work', 'tree', () => this.loop.stop())
  }

  onApplicationBootstrap(): void {
    this.loop.start(0)
  }

  /** Brings every log's tree up to its present size. */
  async round(): Promise<void> {
    const behind = await treeQueries.selectBehind(this.database.background, LOGS_A_ROUND)
    for (const { org_id, epoch } of behind) {
      try {
        while (!this.loop.stopped) {
          const added = await this.integrate(org_id)
          if (added > 0) this.step(org_id)
          // What came meanwhile is left to the next round: a busy log would otherwise never be done, in transactions of a
          // few entries each, and every one of them costs PostgreSQL more than the entries in it.
          if (added < CHUNK) break
        }
      } catch (error) {
        const halt = haltOf(error)
        if (!halt) throw error
        this.logger.error({ org_id, ...halt, err: error }, 'a log is broken and will not be signed')
        await checkpointQueries.insertHalt(this.database.background, org_id, epoch, halt)
      }
    }
  }

  /** Between two transactions; tests fail here. */
  protected step(_org_id: string): void {}

  /** One chunk of one log in one transaction. Answers how many entries; 0 also when somebody else does it. */
  private integrate(org_id: string): Promise<number> {
    return this.database.withOrgClient({ org_id }, async (client) => {
      if (!(await treeQueries.lockTree(client, org_id))) return 0
      const state = await treeQueries.selectTree(client, org_id)
      if (!state || state.integrated >= state.size) return 0
      const { epoch, integrated: from } = state
      const to = Math.min(state.size, from + CHUNK)
      const leaves = await this.leaves(client, org_id, from, to)
      const tree = loadTree(from, await treeQueries.selectTiles(client, org_id, epoch, edgeTiles(from)))
      const growth = new TileGrowths()
      for (let at = 0; at < leaves.length; at += HASH_BYTES) {
        tree.append(leaves.subarray(at, at + HASH_BYTES), growth.completed)
      }
      const integrated = await treeQueries.integrate(client, org_id, epoch, from, to, growth.list())
      return integrated ? to - from : 0
    })
  }

  private async leaves(client: PoolClient, org_id: string, from: number, to: number): Promise<Buffer> {
    const { count, indexes, hashes } = await entryQueries.selectLeaves(client, org_id, from, to)
    if (hashes && count === to - from && indexes === count) return hashes
    const gap = await entryQueries.selectFirstGap(client, org_id, from, to)
    throw new BrokenLog(gap ?? from, 'entry_missing')
  }

  /** For the gauges: once in a while for all scrapes together. */
  private async count(): Promise<{ halted: number; unsigned: number }> {
    const now = performance.now()
    if (this.counts.at === 0 || now - this.counts.at > COUNTS_MS) {
      this.counts = { ...(await treeQueries.selectCounts(this.database.background)), at: now }
    }
    return this.counts
  }
}
