import { createHash } from 'node:crypto'
import fc from 'fast-check'
import {
  CompactTree,
  consistencyPlan,
  consistencyProof,
  inclusionPlan,
  inclusionProof,
  leafHash,
  nodeHash,
  type NodeReader,
  type Sha256,
} from './merkle.js'
import {
  decodeEntries,
  encodeEntries,
  encodeTile,
  entriesPath,
  parseTilePath,
  tileNodes,
  tileOfNode,
  tilePath,
  tilesOfPlan,
  tilesToWrite,
  tileWidth,
} from './tiles.js'

const sha256: Sha256 = (bytes) => createHash('sha256').update(bytes).digest()
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

function grow(size: number) {
  const nodes = new Map<string, Uint8Array>()
  const tree = new CompactTree(sha256)
  const roots = [hex(tree.root())]
  for (let i = 0; i < size; i++) {
    tree.append(leafHash(sha256, Buffer.from(`entry ${i}`)), (level, index, hash) =>
      nodes.set(`${level}/${index}`, hash),
    )
    roots.push(hex(tree.root()))
  }
  const node: NodeReader = (level, index) => {
    const found = nodes.get(`${level}/${index}`)
    if (!found) throw new Error(`no node ${level}/${index}`)
    return found
  }
  return { node, roots }
}

const SIZE = 1500
const { node, roots } = grow(SIZE)

describe('tiles', () => {
  it('has the tiles that the specification names for 70,000 and for 256 leaves', () => {
    const widths = (size: number) => {
      const found = new Map<number, number[]>()
      for (const tile of tilesToWrite(0, size)) {
        const level = found.get(tile.level) ?? []
        level.push(tile.width)
        found.set(tile.level, level)
      }
      return found
    }
    const large = widths(70_000)
    expect(large.get(0)).toEqual([...Array.from({ length: 273 }, () => 256), 112])
    expect(large.get(1)).toEqual([256, 17])
    expect(large.get(2)).toEqual([1])
    expect(large.size).toBe(3)
    expect(widths(256)).toEqual(
      new Map([
        [0, [256]],
        [1, [1]],
      ]),
    )
  })

  it('written as the tree grows they are exactly what each size needs for its root and every proof', () => {
    const growth = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(growth, fc.nat(), (steps, pick) => {
        const files = new Map<string, Uint8Array>()
        let size = 0
        for (const step of steps) {
          const next = Math.min(size + step, SIZE)
          for (const tile of tilesToWrite(size, next)) {
            expect(tile.width).toBe(tileWidth(tile.level, tile.index, next))
            files.set(tilePath(tile), encodeTile(tile, node))
          }
          size = next
        }
        const fromTiles = tileNodes(sha256, size, (tile) => {
          const bytes = files.get(tilePath(tile))
          if (!bytes) throw new Error(`no ${tilePath(tile)}`)
          return bytes
        })
        expect(hex(CompactTree.load(sha256, size, fromTiles).root())).toBe(roots[size])
        const index = pick % size
        expect(inclusionProof(sha256, index, size, fromTiles)).toEqual(
          inclusionProof(sha256, index, size, node),
        )
        expect(consistencyProof(sha256, index, size, fromTiles)).toEqual(
          consistencyProof(sha256, index, size, node),
        )
        // The plan names its tiles beforehand, so that they can be fetched together.
        for (const plan of [inclusionPlan(index, size), consistencyPlan(index, size)])
          for (const tile of tilesOfPlan(plan, size)) expect(files.has(tilePath(tile))).toBe(true)
        // Nothing is written twice, and nothing that no size needs.
        expect([...tilesToWrite(size, size)]).toEqual([])
      }),
      { numRuns: 60 },
    )
  })

  it('reads a full tile in place of a deleted partial one, and refuses a short one', () => {
    const full = encodeTile({ level: 0, index: 1, width: 256 }, node)
    expect(tileNodes(sha256, 300, () => full)(0, 299)).toEqual(node(0, 299))
    expect(tileNodes(sha256, 300, () => full)(5, 8)).toEqual(node(5, 8))
    expect(() => tileNodes(sha256, 300, () => full.slice(0, 43 * 32))(0, 299)).toThrow(RangeError)
    expect(() => tileNodes(sha256, 300, () => full.slice(1))(0, 299)).toThrow(RangeError)
    expect(() => tileNodes(sha256, 300, () => full)(0, 300)).toThrow(RangeError)
    expect(() => tileNodes(sha256, 300, () => full)(5, 9)).toThrow(RangeError)
    for (const bad of [-1, 0.5, NaN]) {
      expect(() => tileOfNode(0, bad, 8)).toThrow(RangeError)
      expect(() => [...tilesToWrite(bad, 8)]).toThrow(RangeError)
    }
    expect(() => [...tilesToWrite(8, 7)]).toThrow(RangeError)
  })

  it('counts beyond 32 bits', () => {
    const size = 2 ** 53 - 1
    expect([...tilesToWrite(size - 1, size)]).toEqual([{ level: 0, index: 2 ** 45 - 1, width: 255 }])
    expect([...tilesToWrite(2 ** 40 - 1, 2 ** 40)]).toEqual([
      { level: 0, index: 2 ** 32 - 1, width: 256 },
      { level: 1, index: 2 ** 24 - 1, width: 256 },
      { level: 2, index: 2 ** 16 - 1, width: 256 },
      { level: 3, index: 255, width: 256 },
      { level: 4, index: 0, width: 256 },
      { level: 5, index: 0, width: 1 },
    ])
    // All leaves alike, so that a tile is one hash 256 times.
    const levels = [leafHash(sha256, Buffer.from('same'))]
    for (let level = 1; level <= 53; level++)
      levels.push(nodeHash(sha256, levels[level - 1] as Uint8Array, levels[level - 1] as Uint8Array))
    const alike = tileNodes(sha256, size, (tile) =>
      Buffer.concat(Array.from({ length: tile.width }, () => levels[tile.level * 8] as Uint8Array)),
    )
    for (let level = 0; level < 53; level++)
      expect(hex(alike(level, 2 ** (53 - level) - 2))).toBe(hex(levels[level] as Uint8Array))
  })
})

describe('tile paths', () => {
  const tile = fc.record({
    level: fc.integer({ min: 0, max: 63 }),
    index: fc.oneof(fc.nat({ max: 2000 }), fc.maxSafeNat()),
    width: fc.integer({ min: 1, max: 256 }),
  })

  it('are spelled as specified', () => {
    expect(tilePath({ level: 0, index: 1234067, width: 256 })).toBe('tile/0/x001/x234/067')
    expect(tilePath({ level: 63, index: 0, width: 1 })).toBe('tile/63/000.p/1')
    expect(tilePath({ level: 1, index: 1000, width: 255 })).toBe('tile/1/x001/000.p/255')
    expect(entriesPath(67, 256)).toBe('tile/entries/067')
    expect(entriesPath(999_999, 12)).toBe('tile/entries/x999/999.p/12')
  })

  it('parse back to what they name', () => {
    fc.assert(
      fc.property(tile, (made) => {
        expect(parseTilePath(tilePath(made))).toEqual({ kind: 'hashes', ...made })
        const entries = { kind: 'entries', level: 0, index: made.index, width: made.width }
        expect(parseTilePath(entriesPath(made.index, made.width))).toEqual(entries)
      }),
    )
  })

  it('have no second spelling', () => {
    for (const path of [
      ...[
        '',
        'tile',
        'tile/0',
        'tile/0/',
        'tile/0/0',
        'tile/0/67',
        'tile/0/0067',
        'tile/0/x067',
        'tile/0/1234067',
      ],
      ...[
        'tile/00/067',
        'tile/01/067',
        'tile/64/067',
        'tile/-1/067',
        'tile/data/067',
        'tile/entries',
        'tile/8/0x1',
      ],
      ...[
        'tile/0/x000/067',
        'tile/0/001/067',
        'tile/0/x001/x067',
        'tile/0/X001/067',
        'tile/0/x1/067',
        'tile/0//067',
      ],
      ...[
        'tile/0/067.p',
        'tile/0/067.p/',
        'tile/0/067.p/0',
        'tile/0/067.p/256',
        'tile/0/067.p/01',
        'tile/0/067.p/1 ',
      ],
      ...[
        '/tile/0/067',
        'tile/0/067/',
        'tile/0/067\n',
        ' tile/0/067',
        'tile/0/067?a',
        'tile/0/06७',
        'tile/0/067.p/300',
      ],
      ...[
        'tile/0/x009/x007/x199/x254/x740/992',
        'tile/0/x999/x999/x999/x999/x999/x999/999',
        'tile/0/../0/067',
      ],
    ])
      expect(parseTilePath(path)).toBeUndefined()
    expect(parseTilePath('tile/0/x009/x007/x199/x254/x740/991')?.index).toBe(Number.MAX_SAFE_INTEGER)
  })

  it('are read from any text without a throw', () => {
    const near = fc.stringMatching(/^tile\/[0-9entris]{1,3}\/[x0-9/.p]{0,20}$/)
    fc.assert(
      fc.property(fc.oneof(near, fc.string()), (path) => {
        const parsed = parseTilePath(path)
        if (!parsed) return
        expect(parsed.kind === 'hashes' ? tilePath(parsed) : entriesPath(parsed.index, parsed.width)).toBe(
          path,
        )
      }),
      { numRuns: 2000 },
    )
  })
})

describe('entry bundles', () => {
  it('hold any entries and give them back', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 256 }), (entries) => {
        const decoded = decodeEntries(encodeEntries(entries), entries.length)
        expect(decoded.ok && decoded.value.map(hex)).toEqual(entries.map(hex))
      }),
    )
    const long = new Uint8Array(65_535).fill(7)
    expect(decodeEntries(encodeEntries([long]), 1)).toEqual({ ok: true, value: [long] })
    expect(hex(encodeEntries([new Uint8Array(0), Buffer.from('ab')]))).toBe('000000026162')
  })

  it('refuse what does not fit, and answer cut or miscounted bytes with an error', () => {
    expect(() => encodeEntries([new Uint8Array(65_536)])).toThrow(RangeError)
    expect(() => encodeEntries(Array.from({ length: 257 }, () => new Uint8Array(0)))).toThrow(RangeError)
    const bundle = encodeEntries([Buffer.from('ab'), Buffer.from('cd')])
    for (let length = 0; length < bundle.length; length++)
      expect(decodeEntries(bundle.slice(0, length), 2).ok).toBe(false)
    expect(decodeEntries(bundle, 1).ok).toBe(false)
    expect(decodeEntries(bundle, 3).ok).toBe(false)
    expect(decodeEntries(Buffer.concat([bundle, Buffer.from([0])]), 2).ok).toBe(false)
  })
})
