import { createHash } from 'node:crypto'
import fc from 'fast-check'
import {
  CompactTree,
  completedNodes,
  consistencyPlan,
  consistencyProof,
  emptyRoot,
  foldHashes,
  inclusionPlan,
  inclusionProof,
  leafHash,
  nodeHash,
  type NodeReader,
  rangeNodes,
  rootOf,
  type Sha256,
} from './merkle.js'
import { verifyConsistency, verifyInclusion } from './verify-merkle.js'

const sha256: Sha256 = (bytes) => createHash('sha256').update(bytes).digest()
const unhex = (hex: string): Uint8Array => Buffer.from(hex, 'hex')
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

// The eight leaves and their tree, as published with Certificate Transparency and transparency-dev/merkle.
const LEAVES = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
]
const ROOTS = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]
const INCLUSION: readonly (readonly [number, number, readonly string[]])[] = [
  [0, 1, []],
  [
    0,
    8,
    [
      '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
    ],
  ],
  [
    5,
    8,
    [
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ],
  ],
  [2, 3, ['fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125']],
  [
    1,
    5,
    [
      '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
    ],
  ],
]
const CONSISTENCY: readonly (readonly [number, number, readonly string[]])[] = [
  [1, 1, []],
  [
    1,
    8,
    [
      '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
    ],
  ],
  [
    6,
    8,
    [
      '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ],
  ],
  [
    2,
    5,
    [
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
    ],
  ],
  [
    6,
    7,
    [
      '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
      'b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ],
  ],
]

/** A tree with all its nodes, and the naive definitions of RFC 6962 2.1 to compare with. */
function grow(leaves: readonly Uint8Array[], hash: Sha256 = sha256) {
  const nodes = new Map<string, Uint8Array>()
  const tree = new CompactTree(hash)
  const store = (level: number, index: number, value: Uint8Array) => {
    const key = `${level}/${index}`
    if (nodes.has(key)) throw new Error(`node ${key} twice`)
    nodes.set(key, value)
  }
  const node: NodeReader = (level, index) => {
    const found = nodes.get(`${level}/${index}`)
    if (!found) throw new Error(`no node ${level}/${index}`)
    return found
  }
  for (const leaf of leaves) tree.append(leaf, store)
  return { tree, nodes, node }
}

const split = (n: number): number => 2 ** Math.ceil(Math.log2(n)) / 2

function naive(leaves: readonly Uint8Array[]) {
  const roots = new Map<string, Uint8Array>()
  const root = (from: number, to: number): Uint8Array => {
    const known = roots.get(`${from}-${to}`)
    if (known) return known
    const n = to - from
    const made =
      n === 0
        ? sha256(new Uint8Array())
        : n === 1
          ? (leaves[from] as Uint8Array)
          : nodeHash(sha256, root(from, from + split(n)), root(from + split(n), to))
    roots.set(`${from}-${to}`, made)
    return made
  }
  const path = (m: number, from: number, to: number): Uint8Array[] => {
    const n = to - from
    if (n === 1) return []
    const k = split(n)
    return m < k
      ? [...path(m, from, from + k), root(from + k, to)]
      : [...path(m - k, from + k, to), root(from, from + k)]
  }
  const subproof = (m: number, from: number, to: number, whole: boolean): Uint8Array[] => {
    const n = to - from
    if (m === n) return whole ? [] : [root(from, to)]
    const k = split(n)
    return m <= k
      ? [...subproof(m, from, from + k, whole), root(from + k, to)]
      : [...subproof(m - k, from + k, to, false), root(from, from + k)]
  }
  return { root, path, subproof }
}

const leafHashes = (n: number): Uint8Array[] =>
  Array.from({ length: n }, (_, i) => leafHash(sha256, Buffer.from(`entry ${i}`)))

describe('the Merkle tree of RFC 6962', () => {
  const leaves = LEAVES.map((leaf) => leafHash(sha256, unhex(leaf)))

  it('hashes the published leaf, node and empty tree', () => {
    expect(hex(emptyRoot(sha256))).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
    expect(hex(leafHash(sha256, Buffer.from('L123456')))).toBe(
      '395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56',
    )
    expect(hex(nodeHash(sha256, Buffer.from('N123'), Buffer.from('N456')))).toBe(
      'aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb',
    )
  })

  it('has the published roots, inclusion proofs and consistency proofs', () => {
    const { node } = grow(leaves)
    const root = (size: number) => rootOf(sha256, leaves.slice(0, size))
    expect(ROOTS.map((_, i) => hex(root(i + 1)))).toEqual(ROOTS)
    for (const [index, size, proof] of INCLUSION) {
      expect(inclusionProof(sha256, index, size, node).map(hex)).toEqual(proof)
      expect(
        verifyInclusion(sha256, leaves[index] as Uint8Array, index, size, proof.map(unhex), root(size)),
      ).toBe(true)
    }
    for (const [from, to, proof] of CONSISTENCY) {
      expect(consistencyProof(sha256, from, to, node).map(hex)).toEqual(proof)
      expect(verifyConsistency(sha256, from, to, proof.map(unhex), root(from), root(to))).toBe(true)
    }
  })

  it('gives and accepts every inclusion proof of every size to 300, as the naive definition does', () => {
    const all = leafHashes(300)
    const { node } = grow(all)
    const reference = naive(all)
    let differing = 0
    for (let size = 1; size <= all.length; size++) {
      const root = CompactTree.load(sha256, size, node).root()
      if (hex(root) !== hex(reference.root(0, size))) differing++
      for (let index = 0; index < size; index++) {
        const proof = inclusionProof(sha256, index, size, node)
        const wanted = reference.path(index, 0, size)
        if (
          proof.length !== wanted.length ||
          proof.some((hash, i) => Buffer.compare(hash, wanted[i] as Uint8Array))
        )
          differing++
        if (!verifyInclusion(sha256, all[index] as Uint8Array, index, size, proof, root)) differing++
      }
    }
    expect(differing).toBe(0)
  })

  it('gives and accepts every consistency proof between sizes to 130, as the naive definition does', () => {
    const all = leafHashes(130)
    const { node } = grow(all)
    const reference = naive(all)
    let differing = 0
    for (let to = 0; to <= all.length; to++)
      for (let from = 0; from <= to; from++) {
        const proof = consistencyProof(sha256, from, to, node)
        const wanted = from === 0 ? [] : reference.subproof(from, 0, to, true)
        if (
          proof.length !== wanted.length ||
          proof.some((hash, i) => Buffer.compare(hash, wanted[i] as Uint8Array))
        )
          differing++
        if (!verifyConsistency(sha256, from, to, proof, reference.root(0, from), reference.root(0, to)))
          differing++
      }
    expect(differing).toBe(0)
  })

  it('grows from any size to any other to the same root and stores each completed node once', () => {
    const sizes = fc.tuple(fc.nat({ max: 200 }), fc.nat({ max: 200 }))
    const all = leafHashes(400)
    fc.assert(
      fc.property(sizes, ([from, more]) => {
        const before = grow(all.slice(0, from))
        const tree = new CompactTree(sha256, from, before.tree.frontier())
        const told: string[] = []
        for (const leaf of all.slice(from, from + more))
          tree.append(leaf, (level, index, hash) => {
            told.push(`${level}/${index}`)
            before.nodes.set(`${level}/${index}`, hash)
          })
        const whole = grow(all.slice(0, from + more))
        expect(hex(tree.root())).toBe(hex(whole.tree.root()))
        expect(before.nodes).toEqual(whole.nodes)
        const wanted = completedNodes(from, from + more).flatMap(({ level, begin, end }) =>
          Array.from({ length: end - begin }, (_, i) => `${level}/${begin + i}`),
        )
        expect(told.sort()).toEqual(wanted.sort())
        expect(hex(CompactTree.load(sha256, from + more, before.node).root())).toBe(hex(tree.root()))
      }),
      { numRuns: 60 },
    )
  })
})

describe('sizes beyond 32 bits', () => {
  // A tree whose leaves are all equal: each level has one hash, so trees of any size can be read.
  const levels = [leafHash(sha256, Buffer.from('same'))]
  for (let level = 1; level <= 53; level++)
    levels.push(nodeHash(sha256, levels[level - 1] as Uint8Array, levels[level - 1] as Uint8Array))
  const node: NodeReader = (level) => levels[level] as Uint8Array
  const leaf = levels[0] as Uint8Array
  const rootAt = (size: number) => CompactTree.load(sha256, size, node).root()
  const near = [2 ** 31, 2 ** 32, 2 ** 33, 2 ** 40, 2 ** 52].flatMap((at) => [at - 1, at, at + 1])
  const sizes = [...near, 3_000_000_007, 2 ** 53 - 2, Number.MAX_SAFE_INTEGER]

  it('makes and checks inclusion proofs at both ends and in between', () => {
    for (const size of sizes)
      for (const index of [0, 1, 2 ** 31 - 2, Math.floor(size / 3), size - 2, size - 1]) {
        const proof = inclusionProof(sha256, index, size, node)
        expect(proof.length).toBeLessThanOrEqual(53)
        expect(verifyInclusion(sha256, leaf, index, size, proof, rootAt(size))).toBe(true)
        expect(verifyInclusion(sha256, leaf, index, size, proof.slice(1), rootAt(size))).toBe(false)
      }
  })

  it('makes and checks consistency proofs', () => {
    for (const to of sizes)
      for (const from of [1, 2, 1_000_003, 2 ** 31 - 1, ...sizes].filter((size) => size <= to)) {
        const proof = consistencyProof(sha256, from, to, node)
        expect(verifyConsistency(sha256, from, to, proof, rootAt(from), rootAt(to))).toBe(true)
        const [changed] = proof
        if (changed)
          expect(
            verifyConsistency(
              sha256,
              from,
              to,
              [sha256(changed), ...proof.slice(1)],
              rootAt(from),
              rootAt(to),
            ),
          ).toBe(false)
      }
  })

  it('grows over 2^32 leaves', () => {
    const tree = CompactTree.load(sha256, 2 ** 32 - 1, node)
    const told: string[] = []
    tree.append(leaf, (level, index) => told.push(`${level}/${index}`))
    expect(told).toHaveLength(33)
    expect(told.at(-1)).toBe('32/0')
    tree.append(leaf, (level, index) => told.push(`${level}/${index}`))
    expect(told.at(-1)).toBe('0/4294967296')
    expect(hex(tree.root())).toBe(hex(rootAt(2 ** 32 + 1)))
    const full = CompactTree.load(sha256, Number.MAX_SAFE_INTEGER, node)
    expect(() => full.append(leaf)).toThrow(RangeError)
  })
})

describe('bad input', () => {
  const all = leafHashes(8)
  const { node, tree } = grow(all)

  it('makers refuse what cannot be', () => {
    for (const bad of [-1, 0.5, NaN, Infinity, 2 ** 53]) {
      expect(() => inclusionPlan(bad, 8)).toThrow(RangeError)
      expect(() => inclusionPlan(0, bad)).toThrow(RangeError)
      expect(() => consistencyPlan(bad, 8)).toThrow(RangeError)
      expect(() => completedNodes(0, bad)).toThrow(RangeError)
      expect(() => new CompactTree(sha256, bad)).toThrow(RangeError)
      expect(() => CompactTree.load(sha256, bad, node)).toThrow(RangeError)
    }
    expect(() => inclusionPlan(8, 8)).toThrow(RangeError)
    expect(() => consistencyPlan(8, 7)).toThrow(RangeError)
    expect(() => new CompactTree(sha256, 7, tree.frontier())).toThrow(RangeError)
    expect(() => new CompactTree(sha256, 8, [new Uint8Array(31)])).toThrow(RangeError)
    expect(() => new CompactTree(sha256).append(new Uint8Array(33))).toThrow(RangeError)
    expect(() => foldHashes(sha256, [])).toThrow(RangeError)
    expect(rangeNodes(0, 0)).toEqual([])
  })

  it('verifiers answer false', () => {
    const root = tree.root()
    const proof = inclusionProof(sha256, 2, 8, node)
    const leaf = all[2] as Uint8Array
    expect(verifyInclusion(sha256, leaf, 2, 8, proof, root)).toBe(true)
    for (const bad of [-1, 0.5, NaN, Infinity, 2 ** 53, 8, 3, 0]) {
      expect(verifyInclusion(sha256, leaf, bad, 8, proof, root)).toBe(false)
      expect(verifyConsistency(sha256, bad, 8, proof, root, root)).toBe(bad === 8 && proof.length === 0)
    }
    // Sizes of the same shape around the leaf give the same path: only the signed size tells them apart.
    for (const bad of [-1, 0.5, NaN, 2, 2 ** 53, 16, 9]) {
      expect(verifyInclusion(sha256, leaf, 2, bad, proof, root)).toBe(false)
      expect(verifyConsistency(sha256, 4, bad, proof, root, root)).toBe(false)
    }
    expect(verifyInclusion(sha256, leaf, 2, 8, [...proof, root], root)).toBe(false)
    expect(verifyInclusion(sha256, leaf, 2, 8, [new Uint8Array(0), ...proof], root)).toBe(false)
    expect(verifyInclusion(sha256, new Uint8Array(0), 0, 1, [], new Uint8Array(0))).toBe(false)
    expect(verifyConsistency(sha256, 0, 8, [], root, root)).toBe(false)
    expect(verifyConsistency(sha256, 0, 8, [], emptyRoot(sha256), root)).toBe(true)
    expect(verifyConsistency(sha256, 0, 8, [root], emptyRoot(sha256), root)).toBe(false)
    expect(verifyConsistency(sha256, 3, 8, [], root, root)).toBe(false)
    expect(verifyConsistency(sha256, 8, 8, [root], root, root)).toBe(false)
  })

  it('refuse a proof that leads past the top of the tree, though its hashes fit', () => {
    const above = node(2, 0)
    const path = inclusionProof(sha256, 6, 8, node) // in the right half, leaf 2 of 4, then one hash more
    expect(verifyInclusion(sha256, all[6] as Uint8Array, 2, 4, path, tree.root())).toBe(false)
    expect(verifyInclusion(sha256, all[6] as Uint8Array, 2, 4, path.slice(0, 2), node(2, 1))).toBe(true)

    const old = rootOf(sha256, all.slice(0, 3))
    const proof = consistencyProof(sha256, 3, 4, node)
    expect(verifyConsistency(sha256, 3, 4, proof, old, above)).toBe(true)
    const lifted = [old, above].map((root) => nodeHash(sha256, above, root)) as [Uint8Array, Uint8Array]
    expect(verifyConsistency(sha256, 3, 4, [...proof, above], ...lifted)).toBe(false)
  })

  it('never accepts a node as an entry; without the leaf prefix it would (the control)', () => {
    const entry = Buffer.concat([all[0] as Uint8Array, all[1] as Uint8Array])
    const forgery = inclusionProof(sha256, 0, 4, (level, index) => node(level + 1, index))
    const root = tree.root()
    expect(verifyInclusion(sha256, leafHash(sha256, entry), 0, 4, forgery, root)).toBe(false)

    const bare: Sha256 = (bytes) => sha256(bytes.subarray(1)) // prefixes dropped
    const weak = grow(leafHashes(8), bare)
    const pair = Buffer.concat([weak.node(0, 0), weak.node(0, 1)])
    const weakProof = inclusionProof(bare, 0, 4, (level, index) => weak.node(level + 1, index))
    expect(verifyInclusion(bare, leafHash(bare, pair), 0, 4, weakProof, weak.tree.root())).toBe(true)
  })
})
