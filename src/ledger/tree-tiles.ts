import { hash } from 'node:crypto'
import {
  CompactTree,
  emptyRoot,
  foldHashes,
  type NodeReader,
  type ProofPlan,
  rangeNodes,
} from '../core/ledger/merkle.js'
import { type Tile, TILE_WIDTH, tileNodes, tilesOfPlan } from '../core/ledger/tiles.js'
import type { StoredTile, TileGrowth, TileName } from './trees.queries.js'

/** Levels of the tree in one tile: 256 = 2 ** 8. */
const TILE_HEIGHT = 8

/**
 * SHA-256 of Node, as the pure tree takes it. By way of a string, because a digest as a buffer is memory of its own
 * outside the heap, which costs several times the hashing of a node.
 */
export const sha256 = (bytes: Uint8Array | string): Buffer =>
  Buffer.from(hash('sha256', bytes, 'binary'), 'binary')

/** Stored hashes of the tree that are needed and not there: somebody took them out. */
export class MissingTile extends Error {
  constructor(
    readonly level: number,
    readonly tile: number,
  ) {
    super(`tile ${level}/${tile} is missing or too short`)
    this.name = 'MissingTile'
  }

  /** The first entry under the tile. */
  get index(): number {
    return this.tile * TILE_WIDTH ** (this.level + 1)
  }
}

/** The stored tiles that these nodes of a tree of `size` entries are computed from. */
export const tilesFor = (plan: ProofPlan, size: number): TileName[] => tilesOfPlan(plan, size).map(nameOf)

/** The stored tiles that the tree of `size` entries goes on from, and that its root is computed from. */
export const edgeTiles = (size: number): TileName[] => tilesFor([rangeNodes(0, size)], size)

/**
 * Reads nodes of the tree of `size` entries out of stored tiles, which may belong to a larger tree.
 * @returns a reader that throws `MissingTile`
 */
export function nodesFrom(size: number, tiles: readonly StoredTile[]): NodeReader {
  const stored = new Map(tiles.map((tile) => [keyOf(tile), tile.hashes]))
  return tileNodes(sha256, size, (tile) => {
    const hashes = stored.get(keyOf(nameOf(tile)))
    if (!hashes || hashes.length < tile.width * 32) throw new MissingTile(tile.level, tile.index)
    return hashes
  })
}

/** The tree of `size` entries, to go on from, out of the stored tiles of its edge. */
export const loadTree = (size: number, tiles: readonly StoredTile[]): CompactTree =>
  CompactTree.load(sha256, size, nodesFrom(size, tiles))

/** The root of the tree of `size` entries. */
export function rootFrom(size: number, node: NodeReader): Uint8Array {
  if (size === 0) return emptyRoot(sha256)
  return foldHashes(
    sha256,
    rangeNodes(0, size).map(({ level, index }) => node(level, index)),
  )
}

/** Collects, while a tree grows, the hashes that its tiles have to get. */
export class TileGrowths {
  private readonly grown: { name: TileName; width: number; hashes: Uint8Array[] }[] = []
  /** The last one of each level: a tree grows at its right edge. */
  private readonly edge: (typeof this.grown)[number][] = []

  /** For `CompactTree.append`. */
  readonly completed = (level: number, index: number, hash: Uint8Array): void => {
    if (level % TILE_HEIGHT !== 0) return
    const height = level / TILE_HEIGHT
    const tile = Math.floor(index / TILE_WIDTH)
    const last = this.edge[height]
    if (last?.name.tile === tile) {
      last.hashes.push(hash)
      return
    }
    const grown = { name: { level: height, tile }, width: index % TILE_WIDTH, hashes: [hash] }
    this.edge[height] = grown
    this.grown.push(grown)
  }

  /** What to append to which tile; `width` is how many hashes it has before. */
  list(): TileGrowth[] {
    return this.grown.map(({ name, width, hashes }) => ({ ...name, width, hashes: Buffer.concat(hashes) }))
  }
}

export const keyOf = ({ level, tile }: TileName): string => `${level}/${tile}`

const nameOf = ({ level, index }: Tile): TileName => ({ level, tile: index })
