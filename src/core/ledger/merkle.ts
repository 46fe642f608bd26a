/**
 * The Merkle tree of RFC 6962 section 2.1 (the same as RFC 9162 section 2.1): hashing, growing, and making proofs.
 * Checking proofs is verify-merkle.ts, so that a verifier reads only what it needs.
 *
 * A node `(level, index)` is the complete subtree over the leaves [index * 2^level, (index + 1) * 2^level). Sizes and
 * indexes are numbers up to 2^53 - 1 and never pass through 32-bit operators.
 */

/** A synchronous SHA-256: 32 bytes for any bytes. It must not keep the array it is given. */
export type Sha256 = (bytes: Uint8Array) => Uint8Array

/** The stored hash of a complete subtree. Throws when there is none: a proof from guessed hashes would be a lie. */
export type NodeReader = (level: number, index: number) => Uint8Array

export interface Node {
  readonly level: number
  readonly index: number
}

/**
 * What a proof is made of: one group per proof hash, in the order of the proof. A group is the complete subtrees,
 * left to right, whose fold is that hash. Fetch all nodes of a plan at once, then call `proofHashes`.
 */
export type ProofPlan = readonly (readonly Node[])[]

export const HASH_BYTES = 32

/** True for a number that can be a tree size or a leaf index: an integer from 0 to 2^53 - 1. */
export const isSize = (value: number): boolean => Number.isSafeInteger(value) && value >= 0

/** SHA-256(0x00 ‖ entry), the hash of a leaf. */
export function leafHash(sha256: Sha256, entry: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + entry.length) // the first byte is the prefix 0x00
  bytes.set(entry, 1)
  return sha256(bytes)
}

/** SHA-256(0x01 ‖ left ‖ right). The prefix differs from a leaf's, so a node can never pass for an entry. */
export function nodeHash(sha256: Sha256, left: Uint8Array, right: Uint8Array): Uint8Array {
  const isNode = left.length === HASH_BYTES && right.length === HASH_BYTES
  const bytes = isNode ? NODE : new Uint8Array(1 + left.length + right.length)
  bytes[0] = 1
  bytes.set(left, 1)
  bytes.set(right, 1 + left.length)
  return sha256(bytes)
}

/** Room for 0x01 and two hashes, used again for every node: nobody keeps it (see `Sha256`). */
const NODE = new Uint8Array(1 + 2 * HASH_BYTES)

/** The root of a tree without leaves: SHA-256 of nothing. */
export const emptyRoot = (sha256: Sha256): Uint8Array => sha256(new Uint8Array(0))

/**
 * The root of a run of neighbouring subtrees, left to right, each smaller than the one before.
 * @throws RangeError when there are none.
 */
export function foldHashes(sha256: Sha256, hashes: readonly Uint8Array[]): Uint8Array {
  let folded: Uint8Array | undefined
  for (const hash of hashes.toReversed()) folded = folded ? nodeHash(sha256, hash, folded) : hash
  if (!folded) throw new RangeError('there is nothing to fold')
  return folded
}

/**
 * The complete subtrees, largest first, that make up the leaves [begin, end). `begin` must be a multiple of the
 * largest power of two that fits, as it is for every subtree of RFC 6962; `rangeNodes(0, size)` is the whole tree.
 */
export function rangeNodes(begin: number, end: number): Node[] {
  const nodes: Node[] = []
  let level = 53
  let width = 2 ** level
  for (let at = begin; at < end;) {
    while (width > end - at) {
      width /= 2
      level--
    }
    nodes.push({ level, index: at / width })
    at += width
  }
  return nodes
}

/**
 * A tree that grows by leaf hashes and keeps only its right edge: at most 53 hashes whatever its size.
 * @example
 * const tree = CompactTree.load(sha256, size, node)
 * for (const entry of entries) tree.append(leafHash(sha256, entry), store)
 * tree.root()
 */
export class CompactTree {
  private readonly edge: Uint8Array[]
  private leaves: number

  /**
   * @param size leaves so far
   * @param edge hashes of `rangeNodes(0, size)`, as `frontier()` gave them
   * @throws RangeError when the two do not fit.
   */
  constructor(
    private readonly sha256: Sha256,
    size = 0,
    edge: readonly Uint8Array[] = [],
  ) {
    if (!isSize(size)) throw new RangeError(`${size} is not a tree size`)
    if (edge.length !== rangeNodes(0, size).length || edge.some((hash) => hash.length !== HASH_BYTES))
      throw new RangeError(`the hashes are not the right edge of a tree of ${size} leaves`)
    this.leaves = size
    this.edge = [...edge]
  }

  /** The tree of `size` leaves from stored nodes. */
  static load(sha256: Sha256, size: number, node: NodeReader): CompactTree {
    const edge = isSize(size) ? rangeNodes(0, size).map(({ level, index }) => node(level, index)) : []
    return new CompactTree(sha256, size, edge)
  }

  get size(): number {
    return this.leaves
  }

  /** The hashes of `rangeNodes(0, size)`, largest subtree first: all that is needed to go on later. */
  frontier(): readonly Uint8Array[] {
    return [...this.edge]
  }

  /**
   * Adds a leaf. `completed` is told of every node that this leaf completes, the leaf first: exactly the nodes that
   * a store has to keep, each once in the life of the tree.
   * @throws RangeError when the hash is not 32 bytes, or the tree is full.
   */
  append(leaf: Uint8Array, completed?: (level: number, index: number, hash: Uint8Array) => void): void {
    if (leaf.length !== HASH_BYTES) throw new RangeError('a leaf hash has 32 bytes')
    if (!isSize(this.leaves + 1)) throw new RangeError('the tree is full')
    let hash = leaf
    let level = 0
    let index = this.leaves
    completed?.(level, index, hash)
    while (index % 2 === 1) {
      hash = nodeHash(this.sha256, this.edge.pop() as Uint8Array, hash) // an odd index has a left neighbour
      index = (index - 1) / 2
      completed?.(++level, index, hash)
    }
    this.edge.push(hash)
    this.leaves++
  }

  /** The Merkle tree hash of everything so far. */
  root(): Uint8Array {
    return this.edge.length === 0 ? emptyRoot(this.sha256) : foldHashes(this.sha256, this.edge)
  }
}

/** The root over leaf hashes. */
export function rootOf(sha256: Sha256, leaves: Iterable<Uint8Array>): Uint8Array {
  const tree = new CompactTree(sha256)
  for (const leaf of leaves) tree.append(leaf)
  return tree.root()
}

/** Nodes of one level, from `begin` up to but not including `end`. */
export interface NodeRange {
  readonly level: number
  readonly begin: number
  readonly end: number
}

/**
 * The nodes that become complete when a tree grows from `from` to `to` leaves, one range a level.
 * @throws RangeError when the sizes are not sizes, or shrink.
 */
export function completedNodes(from: number, to: number): NodeRange[] {
  requireGrowth(from, to)
  const ranges: NodeRange[] = []
  for (let level = 0, begin = from, end = to; end > 0; level++) {
    if (begin < end) ranges.push({ level, begin, end })
    begin = Math.floor(begin / 2)
    end = Math.floor(end / 2)
  }
  return ranges
}

/**
 * The nodes of the proof that leaf `index` is in the tree of `size` leaves (RFC 6962 2.1.1, PATH).
 * @throws RangeError unless 0 ≤ index < size ≤ 2^53 - 1.
 */
export function inclusionPlan(index: number, size: number): ProofPlan {
  if (!isSize(index) || !isSize(size) || index >= size)
    throw new RangeError(`a tree of ${size} leaves has no leaf ${index}`)
  return descend(size, index, (begin, end) => end - begin > 1).siblings
}

/**
 * The nodes of the proof that the tree of `to` leaves begins with the tree of `from` leaves (RFC 6962 2.1.2, PROOF).
 * Empty from nothing, and between equal sizes.
 * @throws RangeError when the sizes are not sizes, or shrink.
 */
export function consistencyPlan(from: number, to: number): ProofPlan {
  requireGrowth(from, to)
  if (from === 0 || from === to) return []
  const { begin, siblings } = descend(to, from - 1, (_, end) => end !== from)
  // The old tree's last subtree opens the proof, unless it is the old tree itself, whose root the verifier has.
  return begin === 0 ? siblings : [rangeNodes(begin, from), ...siblings]
}

/** The hashes of a plan from its nodes. */
export const proofHashes = (sha256: Sha256, plan: ProofPlan, node: NodeReader): Uint8Array[] =>
  plan.map((group) =>
    foldHashes(
      sha256,
      group.map(({ level, index }) => node(level, index)),
    ),
  )

/** The inclusion proof of leaf `index` in the tree of `size` leaves, from the leaf's sibling up. */
export const inclusionProof = (sha256: Sha256, index: number, size: number, node: NodeReader): Uint8Array[] =>
  proofHashes(sha256, inclusionPlan(index, size), node)

/** The consistency proof between two sizes of one tree. */
export const consistencyProof = (sha256: Sha256, from: number, to: number, node: NodeReader): Uint8Array[] =>
  proofHashes(sha256, consistencyPlan(from, to), node)

/** Walks from the root towards `leaf` while `onward` says so; the subtrees left aside, nearest to the end first. */
function descend(size: number, leaf: number, onward: (begin: number, end: number) => boolean) {
  const siblings: Node[][] = []
  let begin = 0
  let end = size
  let split = 2 ** 53
  while (onward(begin, end)) {
    while (split >= end - begin) split /= 2 // the largest power of two below the width
    const middle = begin + split
    if (leaf < middle) {
      siblings.push(rangeNodes(middle, end))
      end = middle
    } else {
      siblings.push(rangeNodes(begin, middle))
      begin = middle
    }
  }
  return { begin, siblings: siblings.reverse() }
}

function requireGrowth(from: number, to: number): void {
  if (!isSize(from) || !isSize(to) || from > to)
    throw new RangeError(`a tree cannot grow from ${from} to ${to} leaves`)
}
