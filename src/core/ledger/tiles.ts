/**
 * C2SP tlog-tiles (https://c2sp.org/tlog-tiles): a tree as static files. A tile holds up to 256 neighbouring node
 * hashes of one level in eight; the levels between are hashed from them. Entries lie in bundles beside the tiles of
 * level 0. A full tile never changes, so what is written once may be cached for ever.
 */
import { err, ok, type Result } from '../result.js'
import { foldHashes, HASH_BYTES, isSize, type NodeReader, type ProofPlan, type Sha256 } from './merkle.js'

/** A tile at tile level `level` (node level 8 * `level`); `width` hashes from 1 to 256, below 256 it is partial. */
export interface Tile {
  readonly level: number
  readonly index: number
  readonly width: number
}

/** What a path names: a tile of hashes, or the bundle of entries beside a tile of level 0. */
export interface TilePath extends Tile {
  readonly kind: 'hashes' | 'entries'
}

export const TILE_WIDTH = 256
const TILE_HEIGHT = 8
const ENTRY_LENGTH_MAX = 0xffff

/** How many hashes the tile has in a tree of `size` leaves: 0 when there is no such tile, 256 when it is full. */
export function tileWidth(level: number, index: number, size: number): number {
  const hashes = Math.floor(size / TILE_WIDTH ** level)
  return Math.min(Math.max(hashes - index * TILE_WIDTH, 0), TILE_WIDTH)
}

/**
 * The tiles to write when a tree grows from `from` to `to` leaves, lowest level first: every tile that became full
 * and, where a level ends within a tile that gained hashes, its partial tile for the new size. Tiles that the old
 * size already had are not named again, so the published files of `to` are these and those of `from`.
 */
export function* tilesToWrite(from: number, to: number): Generator<Tile> {
  if (!isSize(from) || !isSize(to) || from > to)
    throw new RangeError(`a tree cannot grow from ${from} to ${to} leaves`)
  let begin = from
  let end = to
  for (let level = 0; end > begin; level++) {
    for (let index = Math.floor(begin / TILE_WIDTH); index * TILE_WIDTH < end; index++)
      yield { level, index, width: Math.min(end - index * TILE_WIDTH, TILE_WIDTH) }
    begin = Math.floor(begin / TILE_WIDTH)
    end = Math.floor(end / TILE_WIDTH)
  }
}

/** The bytes of a tile from stored nodes: `width` hashes of 32 bytes. */
export function encodeTile(tile: Tile, node: NodeReader): Uint8Array {
  const bytes = new Uint8Array(tile.width * HASH_BYTES)
  for (let i = 0; i < tile.width; i++)
    bytes.set(node(tile.level * TILE_HEIGHT, tile.index * TILE_WIDTH + i), i * HASH_BYTES)
  return bytes
}

/**
 * The tile that a node is computed from, at its width in a tree of `size` leaves, and where the node's hashes lie in
 * it. A node at the top of a tile is taken from the level above, where it is one hash.
 * @throws RangeError when the tree has no such complete node.
 */
export function tileOfNode(
  level: number,
  index: number,
  size: number,
): { tile: Tile; begin: number; end: number } {
  if (!isSize(level) || !isSize(index) || !isSize(size) || (index + 1) * 2 ** level > size)
    throw new RangeError(`a tree of ${size} leaves has no node ${level}/${index}`)
  const tileLevel = Math.floor(level / TILE_HEIGHT)
  const count = 2 ** (level % TILE_HEIGHT)
  const first = index * count
  const tileIndex = Math.floor(first / TILE_WIDTH)
  const begin = first % TILE_WIDTH
  const tile = { level: tileLevel, index: tileIndex, width: tileWidth(tileLevel, tileIndex, size) }
  return { tile, begin, end: begin + count }
}

/** The tiles that the nodes of a proof plan are computed from, each once: what to fetch before `tileNodes`. */
export function tilesOfPlan(plan: ProofPlan, size: number): Tile[] {
  const tiles = new Map<string, Tile>()
  for (const { level, index } of plan.flat()) {
    const { tile } = tileOfNode(level, index, size)
    tiles.set(`${tile.level}/${tile.index}`, tile)
  }
  return [...tiles.values()]
}

/**
 * Reads the nodes of a tree of `size` leaves out of its tiles, so that roots and proofs need no other storage:
 * `CompactTree.load(sha256, size, tileNodes(…))`, `inclusionProof(sha256, index, size, tileNodes(…))`.
 * @param read the bytes of a tile; a full or wider tile in place of a partial one will do (tlog-tiles lets a log
 * delete partial tiles). It throws when there is none.
 * @throws RangeError, from the reader, for a node the tree lacks and for a tile that is too short.
 */
export function tileNodes(sha256: Sha256, size: number, read: (tile: Tile) => Uint8Array): NodeReader {
  return (level, index) => {
    const { tile, begin, end } = tileOfNode(level, index, size)
    const bytes = read(tile)
    if (bytes.length % HASH_BYTES !== 0 || bytes.length < tile.width * HASH_BYTES)
      throw new RangeError(`tile ${tilePath(tile)} has ${bytes.length} bytes`)
    return subtree(sha256, bytes, begin, end)
  }
}

function subtree(sha256: Sha256, tile: Uint8Array, begin: number, end: number): Uint8Array {
  if (end - begin === 1) return tile.slice(begin * HASH_BYTES, end * HASH_BYTES)
  const middle = (begin + end) / 2
  return foldHashes(sha256, [subtree(sha256, tile, begin, middle), subtree(sha256, tile, middle, end)])
}

/** `tile/<L>/<N>[.p/<W>]`, relative to the log's prefix. */
export const tilePath = (tile: Tile): string => `tile/${tile.level}/${indexAndWidth(tile.index, tile.width)}`

/** `tile/entries/<N>[.p/<W>]`: the bundle with the entries of tile `index` of level 0. */
export const entriesPath = (index: number, width: number): string =>
  `tile/entries/${indexAndWidth(index, width)}`

function indexAndWidth(index: number, width: number): string {
  const digits = String(index)
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/\d{3}/g) ?? []
  const path = groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join('/')
  return width === TILE_WIDTH ? path : `${path}.p/${width}`
}

// Levels are 0 to 63, widths 1 to 255, neither with leading zeros; an index has no leading group of zeros.
const PATH =
  /^tile\/(entries|\d|[1-5]\d|6[0-3])\/((?:x\d{3}\/)*\d{3})(?:\.p\/([1-9]\d?|1\d\d|2[0-4]\d|25[0-5]))?$/

/**
 * The tile or bundle that a path names, or undefined. Every tile has exactly one path that is accepted, so a cache
 * in front of the log cannot be filled with respellings. Whether the tree has that tile is `tileWidth`'s to say.
 */
export function parseTilePath(path: string): TilePath | undefined {
  const [, level, groups, width] = PATH.exec(path) ?? []
  if (level === undefined || groups === undefined || groups.startsWith('x000')) return undefined
  const index = Number(groups.replaceAll(/[x/]/g, ''))
  if (!isSize(index)) return undefined
  const named = { index, width: width === undefined ? TILE_WIDTH : Number(width) }
  return level === 'entries'
    ? { kind: 'entries', level: 0, ...named }
    : { kind: 'hashes', level: Number(level), ...named }
}

/**
 * A bundle of entries: each a big-endian uint16 length and its bytes.
 * @throws RangeError for an entry above 65,535 bytes, or more than 256 of them.
 */
export function encodeEntries(entries: readonly Uint8Array[]): Uint8Array {
  if (entries.length > TILE_WIDTH) throw new RangeError(`a bundle has at most ${TILE_WIDTH} entries`)
  const bytes = new Uint8Array(entries.reduce((sum, entry) => sum + 2 + entry.length, 0))
  let at = 0
  for (const entry of entries) {
    if (entry.length > ENTRY_LENGTH_MAX) throw new RangeError(`an entry of ${entry.length} bytes is too long`)
    bytes[at] = entry.length >> 8
    bytes[at + 1] = entry.length & 0xff
    bytes.set(entry, at + 2)
    at += 2 + entry.length
  }
  return bytes
}

/** The entries of a bundle, which must hold exactly `width`: views into `bytes`, not copies. */
export function decodeEntries(bytes: Uint8Array, width: number): Result<Uint8Array[], string> {
  const entries: Uint8Array[] = []
  for (let at = 0; at < bytes.length;) {
    const begin = at + 2
    const end = begin + ((bytes[at] ?? 0) << 8) + (bytes[at + 1] ?? 0)
    if (end > bytes.length) return err(`entry ${entries.length} of the bundle is cut off`)
    entries.push(bytes.subarray(begin, end))
    at = end
  }
  return entries.length === width
    ? ok(entries)
    : err(`the bundle has ${entries.length} entries, not ${width}`)
}
