import { setImmediate } from 'node:timers/promises'
import type { PoolClient } from 'pg'
import { type ColumnLines, SEPARATOR } from '../core/ledger/column-lines.js'
import { CompactTree } from '../core/ledger/merkle.js'
import { AT_ONCE, compareTiles } from './check-entries.js'
import { selectRun } from './stored-entries.queries.js'
import type { TreeState } from './trees.queries.js'
import { sha256, TileGrowths } from './tree-tiles.js'

/**
 * As `checkChunk` of the stored entries [tree.size, to), for the ordinary case that nothing at all is to be said of
 * them: the entries travel as two texts instead of a row each, which is what it costs. `to` is not beyond
 * `state.integrated`.
 * @returns the tree with these entries; null when anything is out of the ordinary: then `checkChunk` looks at them,
 * and alone decides. `tree` is as it was
 * @throws what `isNoText` when the bytes of one are no text
 */
export async function checkQuickly(
  client: PoolClient,
  state: TreeState,
  tree: CompactTree,
  to: number,
  lines: ColumnLines,
): Promise<CompactTree | null> {
  const run = await selectRun(client, state.org_id, tree.size, to)
  // Line breaks stand in no canonical text, and in no column of an ordinary entry.
  const texts = run.entries?.split('\n') ?? []
  const columns = run.columns?.split('\n') ?? []
  if (texts.length !== to - tree.size || columns.length !== texts.length) return null
  const grown = new CompactTree(sha256, tree.size, tree.frontier())
  const growth = new TileGrowths()
  for (const [i, text] of texts.entries()) {
    const line = lines.of(text)
    if (line === null || columns[i] !== `${grown.size}${SEPARATOR}${line}`) return null
    grown.append(sha256(`\0${text}`), growth.completed)
    if (i % AT_ONCE === AT_ONCE - 1) await setImmediate() // whoever waits for a decision goes first
  }
  const findings = await compareTiles(client, state, growth)
  return findings.length === 0 ? grown : null
}
