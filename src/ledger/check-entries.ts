import { setImmediate } from 'node:timers/promises'
import type { PoolClient } from 'pg'
import { type CompactTree, HASH_BYTES, leafHash } from '../core/ledger/merkle.js'
import { TILE_WIDTH } from '../core/ledger/tiles.js'
import { differingColumn } from '../core/ledger/projections.js'
import type { ExpiredEntry, StoredEntry } from './stored-entries.queries.js'
import { selectTiles, type TreeState } from './trees.queries.js'
import { keyOf, sha256, TileGrowths } from './tree-tiles.js'

/** What can be wrong with a log, in the words of `GET /logs/verify` and of a halt. */
export const FAULTS = [
  /** An index of the log has no entry. */
  'entry_missing',
  /** An index has two entries. */
  'entry_duplicate',
  /** An entry beyond the log's size. */
  'entry_unexpected',
  /** The entry's bytes are not those whose hash is in the tree, or that hash was changed. */
  'entry_changed',
  /** A column beside the entry differs from the entry. */
  'projection_changed',
  /** A hash of the tree above the entries differs from what they give. */
  'tile_changed',
  /** Stored hashes of the tree are gone. */
  'tile_missing',
  /** A checkpoint is not signed by this installation, differs from its columns, or is gone. */
  'checkpoint_changed',
  /** Entries and tree agree with each other, but not with what was signed. */
  'history_rewritten',
  /** The log is smaller than what was signed. */
  'history_truncated',
  /** The log's origin names an epoch that no entry began. */
  'epoch_unrecorded',
] as const
export type Fault = (typeof FAULTS)[number]

export interface Finding {
  /** The first entry concerned; null when it cannot be said. */
  readonly index: number | null
  readonly reason: Fault
}

/** Entries read at once: about a megabyte. */
export const CHECK_CHUNK = 1_024

/** Entries checked between two turns of the event loop: about 4 ms. */
export const AT_ONCE = 128

/** Which columns are compared, of which entries; by default those that the entry states, of all. */
export interface CheckOptions {
  readonly concerns?: (row: StoredEntry, text: string) => boolean
  /** The retention class that the entry at an index must be stored in. */
  readonly classOf?: (index: number) => number
}

/**
 * Checks the stored entries [tree.size, to), at most CHECK_CHUNK of them, and appends them to the tree. Compares the
 * indexes (dense), the columns with the bytes, and every hash that these entries complete with the stored tiles.
 * @param to not beyond `state.integrated` unless it begins there: behind it there are no tiles to compare with
 * @param rows as `readStored` gave them @param expired as `selectExpired` gave them: leaves of what is not stored any more
 * @returns the finding with the lowest index, or null
 */
export async function checkChunk(
  client: PoolClient,
  state: TreeState,
  tree: CompactTree,
  to: number,
  rows: readonly StoredEntry[],
  options: CheckOptions = {},
  expired: readonly ExpiredEntry[] = [],
): Promise<Finding | null> {
  const from = tree.size
  const growth = new TileGrowths()
  const findings: Finding[] = []
  const gone = new Map(expired.map(({ index, leaf }) => [index, leaf]))
  const appendExpired = () => {
    for (let leaf; (leaf = gone.get(tree.size)) && tree.size < to;) tree.append(leaf, growth.completed)
  }
  let read = 0
  for (const row of rows) {
    if (row.index > tree.size) appendExpired()
    if (row.index !== tree.size) break
    read++
    const { text } = row
    const differs = differingColumn(row, text) !== null
    const moved = options.classOf && row.retention_days !== options.classOf(row.index)
    if ((differs || moved) && (options.concerns?.(row, text) ?? true)) {
      findings.push({ index: row.index, reason: 'projection_changed' })
    }
    tree.append(leafOf(row), growth.completed)
    if (read % AT_ONCE === 0) await setImmediate() // whoever waits for a decision goes first
  }
  // The row at which it stopped: a lower index was there already, a higher one leaves a hole before it.
  if (read === rows.length) appendExpired()
  const stopped = rows[read]
  if (stopped && stopped.index < tree.size) findings.push({ index: stopped.index, reason: 'entry_duplicate' })
  else if (tree.size < to) findings.push({ index: tree.size, reason: 'entry_missing' })
  const tiles = from < state.integrated ? await compareTiles(client, state, growth) : []
  findings.push(...tiles.filter(({ level }) => level === 0))
  // A changed entry changes every hash above it: those say something only where the entries are as they were.
  return lowest(findings) ?? lowest(tiles)
}

/** The hash of an entry in the tree. */
export const leafOf = ({ text, bytes }: StoredEntry): Uint8Array =>
  bytes ? leafHash(sha256, bytes) : sha256(`\0${text}`)

/** Hashes that the entries give and the stored tiles do not have. */
export async function compareTiles(
  client: PoolClient,
  state: TreeState,
  growth: TileGrowths,
): Promise<(Finding & { level: number })[]> {
  const grown = growth.list()
  const stored = await selectTiles(client, state.org_id, state.epoch, grown)
  const tiles = new Map(stored.map((tile) => [keyOf(tile), tile.hashes]))
  return grown.flatMap(({ level, tile, width, hashes }) => {
    const there = tiles.get(keyOf({ level, tile })) ?? Buffer.alloc(0)
    const span = TILE_WIDTH ** level
    for (let i = 0; i < hashes.length / HASH_BYTES; i++) {
      const begin = (width + i) * HASH_BYTES
      const hash = hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES)
      if (there.subarray(begin, begin + HASH_BYTES).equals(hash)) continue
      const reason =
        there.length < begin + HASH_BYTES ? 'tile_missing' : level === 0 ? 'entry_changed' : 'tile_changed'
      return [{ index: (tile * TILE_WIDTH + width + i) * span, reason, level }]
    }
    return []
  })
}

/** The lowest index; of two findings at one entry, the one about its bytes says more than the one about a column. */
const lowest = (findings: readonly Finding[]): Finding | null =>
  findings.reduce<Finding | null>((best, next) => {
    const [a, b] = [best?.index ?? Infinity, next.index ?? Infinity]
    return b < a || (b === a && next.reason === 'entry_changed') ? next : best
  }, null)
