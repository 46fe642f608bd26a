import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import type { PoolClient } from 'pg'
import type { CompactTree } from '../core/ledger/merkle.js'
import { Settings } from '../platform/config/settings.js'
import { Database } from '../platform/database/database.service.js'
import { Shutdown } from '../platform/http/shutdown.js'
import { ColumnLines } from '../core/ledger/column-lines.js'
import { CHECK_CHUNK, checkChunk, type Finding } from './check-entries.js'
import { checkLog } from './check-log.js'
import { checkQuickly } from './check-quickly.js'
import { Loop } from '../platform/clock/loop.js'
import * as checkpointQueries from './checkpoints.queries.js'
import * as entryQueries from './stored-entries.queries.js'
import * as treeQueries from './trees.queries.js'
import { type Remembered, SignerMemory } from './signer-memory.js'
import { installationOf, signCheckpoint, vkeyOf } from './signing.js'
import { edgeTiles, loadTree, MissingTile } from './tree-tiles.js'
import { Witnesses } from './witnesses.js'

const LOGS_A_ROUND = 200
/** Entries read again before one signature, and in one round: so that a log that is far behind delays no other. */
const ENTRIES_A_LOG = 16_384
const ENTRIES_A_ROUND = 65_536
const ROUND_MS = 500
/** How often all logs are compared with what is remembered of them, also those with nothing new. */
const COMPARE_MS = 10_000

/** Where a round may end at any moment without harm; tests end it there. */
export type SignStep = 'checked' | 'remembered' | 'signed' | 'published'

/** A log that may be signed at `size`. */
interface Signable {
  readonly state: treeQueries.TreeState
  readonly size: number
  readonly root: Buffer
}

/**
 * Signs checkpoints (ledger.md, Signing). Of all processes with a LEDGER_SIGNER_DIR the one that holds the session's
 * advisory lock works. In a round: read the new entries of up to 200 logs again and prove that they continue what is
 * remembered; write down, on disk, what is about to be signed; sign; let witnesses cosign; publish. After a crash at any point the next
 * round continues from what is remembered, so no two signatures ever contradict each other.
 *
 * A log that does not continue what was signed is never signed again in its epoch.
 */
@Injectable()
export class SignWorker implements OnApplicationBootstrap {
  private readonly logger = new Logger(SignWorker.name)
  private readonly loop: Loop
  private signer: SignerMemory | undefined
  private session: PoolClient | undefined
  /** Logs that were refused, so that each is said once. */
  private readonly refused = new Set<string>()
  private compared_at = -Infinity
  private recorded = false

  constructor(
    private readonly database: Database,
    private readonly settings: Settings,
    shutdown: Shutdown,
    private readonly witnesses: Witnesses,
  ) {
    this.loop = new Loop('checkpoints are signed', this.logger, async () => {
      await this.round()
      return ROUND_MS
    })
    shutdown.onClose('work', 'signer', () => this.stop())
  }

  onApplicationBootstrap(): void {
    if (this.memory) this.loop.start(0)
  }

  /** The signer's folder; undefined in a process that does not sign. */
  get memory(): SignerMemory | undefined {
    if (this.settings.ledger_signer_dir === undefined) return undefined
    return (this.signer ??= SignerMemory.open(this.settings.ledger_signer_dir))
  }

  async stop(): Promise<void> {
    await this.loop.stop()
    this.letGo()
  }

  /**
   * One round. Answers how many checkpoints it published; 0 also while another process signs.
   * @throws whatever went wrong; the lock is let go, and the next round begins anew
   */
  async round(): Promise<number> {
    const { memory } = this
    if (!memory) return 0
    try {
      const client = await this.hold()
      return client ? await this.signRound(client, memory) : 0
    } catch (error) {
      this.letGo()
      throw error
    }
  }

  /** Between two steps; tests fail here. */
  protected at(_step: SignStep): void {}

  /** The session that holds the lock; null while somebody else's does. */
  private async hold(): Promise<PoolClient | null> {
    if (this.session) return this.session
    const client = await this.database.background.connect()
    // The server ends idle sessions when it goes; the next statement then fails and the lock is asked for again.
    client.on('error', ignore)
    try {
      if (await checkpointQueries.lockSigner(client)) {
        this.memory?.load(true) // whoever signed before has written since this process began
        return (this.session = client)
      }
    } catch (error) {
      client.release(true)
      throw error
    }
    client.off('error', ignore)
    client.release()
    return null
  }

  private letGo(): void {
    this.session?.release(true) // closing the session is what frees its lock
    this.session = undefined
  }

  private async signRound(client: PoolClient, memory: SignerMemory): Promise<number> {
    await this.compareAll(client, memory)
    const signable: Signable[] = []
    let entries = 0
    for (const state of await treeQueries.selectUnsigned(client, [...this.refused], LOGS_A_ROUND)) {
      if (this.loop.stopped || entries >= ENTRIES_A_ROUND) break
      const ready = await this.check(memory, state)
      if (!ready) continue
      signable.push(ready)
      entries += ready.size - state.signed
    }
    if (signable.length === 0) return 0
    this.at('checked')
    await memory.remember(
      signable.map(({ state, size, root }) => ({
        origin: state.origin,
        size,
        root: root.toString('base64'),
      })),
    )
    this.at('remembered')
    const { key, public_key } = memory
    await this.recordKey(client, public_key, signable)
    const checkpoints = signable.map(({ state: { org_id, epoch, origin }, size, root }) => ({
      org_id,
      epoch,
      origin,
      size,
      root,
      note: signCheckpoint({ origin, size, root }, key, public_key),
    }))
    this.at('signed')
    const published = await checkpointQueries.publish(client, await this.witnesses.cosign(checkpoints))
    this.at('published')
    return published.size
  }

  /** The key is published before anything signed with it. */
  private async recordKey(
    client: PoolClient,
    public_key: Uint8Array,
    [first]: readonly Signable[],
  ): Promise<void> {
    if (this.recorded || !first) return
    const name = installationOf(first.state.origin)
    await checkpointQueries.recordSignerKey(client, name, vkeyOf(name, public_key))
    this.recorded = true
  }

  /** Whether the log continues what was signed. Null: not to be signed now, or never again. */
  private async check(memory: SignerMemory, state: treeQueries.TreeState): Promise<Signable | null> {
    const known = memory.of(state.origin)
    if (known?.halted !== undefined) {
      await this.halt(memory, state, { index: null, reason: known.halted })
      return null
    }
    if (!known && state.signed > 0) return this.refuse(state)
    const from = known?.size ?? 0
    if (state.integrated < from) return null // the tree is being made again; `compareAll` looks at the log itself
    const size = Math.min(state.integrated, from + ENTRIES_A_LOG)
    const result = await this.readAgain(state, known, size)
    if ('reason' in result) {
      await this.halt(memory, state, result)
      return null
    }
    return { state, size, root: Buffer.from(result.root()) }
  }

  /** The tree at `size`, made from what is remembered and the entries themselves; or what is wrong with them. */
  private async readAgain(
    state: treeQueries.TreeState,
    known: Remembered | undefined,
    size: number,
  ): Promise<CompactTree | Finding> {
    const { org_id, epoch } = state
    const from = known?.size ?? 0
    const begin = await this.database.withOrgClient(state, async (client): Promise<CompactTree | Finding> => {
      if (!known && epoch > 1 && (await entryQueries.selectEpochEntry(client, org_id, epoch)) === null) {
        return { index: null, reason: 'epoch_unrecorded' }
      }
      try {
        return loadTree(from, await treeQueries.selectTiles(client, org_id, epoch, edgeTiles(from)))
      } catch (error) {
        if (error instanceof MissingTile) return { index: error.index, reason: 'tile_missing' }
        throw error
      }
    })
    if ('reason' in begin) return begin
    if (known && known.root !== Buffer.from(begin.root()).toString('base64')) return this.locate(state)
    const lines = new ColumnLines(org_id)
    let tree = begin
    while (tree.size < size) {
      const to = Math.min(size, tree.size + CHECK_CHUNK)
      const result = (await this.quickly(state, tree, to, lines)) ?? (await this.thoroughly(state, tree, to))
      if ('reason' in result) return result
      tree = result
    }
    return tree
  }

  /** The tree with the entries up to `to`; null when anything about them has to be looked at. */
  private async quickly(
    state: treeQueries.TreeState,
    tree: CompactTree,
    to: number,
    lines: ColumnLines,
  ): Promise<CompactTree | null> {
    try {
      return await this.database.withOrgClient(state, (client) =>
        checkQuickly(client, state, tree, to, lines),
      )
    } catch (error) {
      if (entryQueries.isNoText(error)) return null
      throw error
    }
  }

  private thoroughly(
    state: treeQueries.TreeState,
    tree: CompactTree,
    to: number,
  ): Promise<CompactTree | Finding> {
    const { org_id } = state
    return entryQueries.readStored((select) =>
      this.database.withOrgClient(state, async (client) => {
        const rows = await select(client, org_id, tree.size, to)
        const expired = await entryQueries.selectExpired(client, org_id, tree.size, to)
        return (await checkChunk(client, state, tree, to, rows, {}, expired)) ?? tree
      }),
    )
  }

  /** The stored tree is not the one that was signed: reads everything to say from where on. */
  private async locate({ org_id, signed }: treeQueries.TreeState): Promise<Finding> {
    const { memory } = this
    const result = await checkLog(this.database, org_id, {
      remembered: (origin) => memory?.of(origin),
      public_key: memory?.public_key,
    })
    return result?.finding ?? { index: signed, reason: 'history_rewritten' }
  }

  /**
   * Compares every log with what is remembered of it: a database that was restored, or cut, has less than was signed,
   * and may have nothing new to sign.
   */
  private async compareAll(client: PoolClient, memory: SignerMemory): Promise<void> {
    if (performance.now() - this.compared_at < COMPARE_MS) return
    for (const state of await treeQueries.selectTrees(client)) {
      const known = memory.of(state.origin)
      if (known && known.halted === undefined && state.size < known.size) {
        await this.halt(memory, state, { index: state.size, reason: 'history_truncated' })
      }
    }
    this.compared_at = performance.now()
  }

  private async halt(
    memory: SignerMemory,
    state: treeQueries.TreeState,
    halt: checkpointQueries.Halt,
  ): Promise<void> {
    const { org_id, epoch, origin } = state
    const known = memory.of(origin) ?? { origin, size: 0, root: '' }
    if (known.halted === undefined) await memory.remember([{ ...known, halted: halt.reason }])
    await checkpointQueries.insertHalt(this.database.background, org_id, epoch, halt)
    this.logger.error(
      { org_id, origin, index: halt.index, reason: halt.reason },
      'a log differs from what was signed and is not signed any more; see GET /logs/verify',
    )
  }

  private refuse({ org_id, origin, signed }: treeQueries.TreeState): null {
    if (this.refused.has(origin)) return null
    this.refused.add(origin)
    this.logger.error(
      { org_id, origin, signed },
      'this log has checkpoints that the folder of the signer knows nothing of, so it is not signed: restore ' +
        'LEDGER_SIGNER_DIR, or begin a new signed history with POST /ledger/epochs',
    )
    return null
  }
}

const ignore = (): void => undefined
