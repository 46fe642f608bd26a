import type { PoolClient } from 'pg'
import type { Checkpoint } from '../core/ledger/checkpoint.js'
import type { RedactionEntry } from '../core/ledger/entry.js'
import { Erasures } from '../core/ledger/erasures.js'
import { CompactTree } from '../core/ledger/merkle.js'
import type { Database } from '../platform/database/database.service.js'
import { CHECK_CHUNK, checkChunk, type CheckOptions, type Finding } from './check-entries.js'
import * as checkpointQueries from './checkpoints.queries.js'
import * as entryQueries from './stored-entries.queries.js'
import * as treeQueries from './trees.queries.js'
import type { Remembered } from './signer-memory.js'
import { openCheckpoint, publicKeyOf } from './signing.js'
import { sha256 } from './tree-tiles.js'

export interface LogCheck {
  /** Entries that were read. */
  readonly entries: number
  readonly finding: Finding | null
  /** Why the log is not signed any more, when it is not. */
  readonly halt: checkpointQueries.Halt | null
  /** The newest checkpoint that was held against the entries; null when the log has none that is genuine. */
  readonly checkpoint: Checkpoint | null
}

export interface LogCheckOptions extends Pick<CheckOptions, 'concerns'> {
  /** Counts an entry as one of the caller's. */
  readonly counts?: (row: entryQueries.StoredEntry) => boolean
  /** What this process's signer remembers of the log, where there is one. */
  readonly remembered?: (origin: string) => Remembered | undefined
  /** Of this process's signer; trusted beside the recorded ones. */
  readonly public_key?: Uint8Array | undefined
}

/**
 * Reads a whole log again, a chunk at a time (so memory does not grow with it), and holds it against everything that
 * was ever stated about it: dense indexes, columns against bytes, every hash of the stored tree, every checkpoint
 * that is kept, what the signer remembers.
 * @returns null when the organization has no log
 */
export async function checkLog(
  database: Database,
  org_id: string,
  options: LogCheckOptions = {},
): Promise<LogCheck | null> {
  const begin = await database.withOrgClient({ org_id }, async (client) => {
    const state = await treeQueries.selectTree(client, org_id)
    if (!state) return null
    const checkpoints = await checkpointQueries.selectCheckpoints(client, org_id, state.epoch)
    const halt = await checkpointQueries.selectHalt(client, org_id, state.epoch)
    const classes = await entryQueries.selectClasses(client, org_id)
    return { state, checkpoints, halt, classes, keys: await checkpointQueries.selectSignerKeys(client) }
  })
  if (!begin) return null
  const { state, halt } = begin
  const public_keys = [
    ...(options.public_key ? [options.public_key] : []),
    ...begin.keys.flatMap(({ vkey }) => publicKeyOf(vkey) ?? []),
  ]
  const genuine = begin.checkpoints.map((stored) => genuineOf(stored, state.origin, public_keys))
  const marks = genuine.filter((checkpoint) => checkpoint !== null)
  const remembered = options.remembered?.(state.origin)
  if (remembered && remembered.size > 0)
    marks.push({ ...remembered, root: Buffer.from(remembered.root, 'base64') })
  marks.sort((a, b) => a.size - b.size)

  const classOf = (index: number) =>
    begin.classes.findLast(({ from_index }) => from_index <= index)?.retention_days ?? state.retention_days
  const { finding, entries } = await readThrough(database, state, marks, { ...options, classOf })
  const stray =
    finding ?? (await database.withOrgClient({ org_id }, (client) => findStray(client, org_id, state, marks)))
  const newest = begin.checkpoints[begin.checkpoints.length - 1]
  const forged = genuine.includes(null) || (newest?.size ?? 0) !== state.signed
  return {
    entries,
    halt,
    checkpoint: genuine[genuine.length - 1] ?? null,
    finding: stray ?? (forged ? { index: null, reason: 'checkpoint_changed' } : null),
  }
}

/** What a stored checkpoint states; null when it is not signed by us, or its columns say something else. */
function genuineOf(
  stored: checkpointQueries.StoredCheckpoint,
  origin: string,
  public_keys: readonly Uint8Array[],
): Checkpoint | null {
  const checkpoint = openCheckpoint(stored.note, origin, public_keys)
  return checkpoint?.size === stored.size && stored.root.equals(checkpoint.root) ? checkpoint : null
}

async function readThrough(
  database: Database,
  state: treeQueries.TreeState,
  marks: readonly Pick<Checkpoint, 'size' | 'root'>[],
  options: LogCheckOptions & CheckOptions,
): Promise<{ finding: Finding | null; entries: number }> {
  const { org_id, size, integrated } = state
  const tree = new CompactTree(sha256)
  // Chunks end where there is a root to compare, and where the tiles end.
  const stops = [size, integrated, ...marks.map((mark) => mark.size)].sort((a, b) => a - b)
  const endOf = (from: number) => {
    const stop = stops.find((candidate) => candidate > from) ?? size
    return Math.min(from + CHECK_CHUNK, stop, size)
  }
  const read = (from: number) => {
    const rows = entryQueries.readStored((select) =>
      database.withOrgClient({ org_id }, (client) => select(client, org_id, from, endOf(from))),
    )
    rows.catch(() => undefined) // it is awaited later, or not at all
    return rows
  }
  const expiry = new Expiry()
  let entries = 0
  let agreed = 0
  let next = 0
  let ahead = read(0)
  while (tree.size < size) {
    const to = endOf(tree.size)
    const rows = await ahead
    if (to < size) ahead = read(to) // PostgreSQL reads while we hash
    const finding = await database.withOrgClient({ org_id }, async (client) => {
      const expired = await entryQueries.selectExpired(client, org_id, tree.size, to)
      expiry.read(rows, expired)
      return checkChunk(client, state, tree, to, rows, options, expired)
    })
    entries += options.counts ? rows.filter(options.counts).length : rows.length
    if (finding) return { finding, entries }
    for (; marks[next]?.size === tree.size; next++) {
      if (!Buffer.from(marks[next]?.root ?? []).equals(tree.root())) {
        return { finding: { index: agreed, reason: 'history_rewritten' }, entries }
      }
      agreed = tree.size
    }
  }
  const unrecorded = expiry.first_unrecorded
  return { finding: unrecorded === null ? null : { index: unrecorded, reason: 'entry_missing' }, entries }
}

/** Holds entries that are said to have expired against the entries that record it. */
class Expiry extends Erasures {
  read(rows: readonly entryQueries.StoredEntry[], expired: readonly entryQueries.ExpiredEntry[]): void {
    const stored = expired.length > 0 ? new Set(rows.map(({ index }) => index)) : null
    for (const { index } of expired) if (!stored?.has(index)) this.lost(index, null)
    for (const { type, text } of rows) {
      if (type !== 'redaction') continue
      const { event, redaction } = JSON.parse(text) as RedactionEntry
      if (event === 'entries.expired') this.recorded(redaction)
    }
  }
}

/** What lies beyond the end of the log: entries that should not be there, or checkpoints of what is gone. */
async function findStray(
  client: PoolClient,
  org_id: string,
  { size, integrated }: treeQueries.TreeState,
  marks: readonly Pick<Checkpoint, 'size'>[],
): Promise<Finding | null> {
  const largest = marks[marks.length - 1]?.size ?? 0
  if (largest > Math.min(size, integrated))
    return { index: Math.min(size, integrated), reason: 'history_truncated' }
  const stray = await entryQueries.selectStray(client, org_id)
  return stray === null ? null : { index: stray, reason: 'entry_unexpected' }
}
