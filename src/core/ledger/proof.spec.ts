import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto'
import fc from 'fast-check'
import { encodeBase64 } from './base64.js'
import { type CheckpointPolicy, checkpointVerdict, formatCheckpoint } from './checkpoint.js'
import {
  CompactTree,
  consistencyProof,
  inclusionProof,
  leafHash,
  type NodeReader,
  type Sha256,
} from './merkle.js'
import {
  cosignatureMessage,
  encodeCosignature,
  formatNote,
  makeVerifierKey,
  noteMessage,
  type VerifierKey,
  type VerifyEd25519,
} from './note.js'
import { formatProof, parseProof, pendingProof, type ProofExpectation, verifyProof } from './proof.js'
import { verifyConsistency, verifyInclusion } from './verify-merkle.js'

/** How many forgeries are tried; `FORGERIES=100000` is the full count of issue 3. */
const FORGERIES = Number(process.env.FORGERIES ?? 20_000)

const sha256: Sha256 = (bytes) => createHash('sha256').update(bytes).digest()
const SPKI = Buffer.from('302a300506032b6570032100', 'hex')
const publicKeys = new Map<Uint8Array, KeyObject>()
const verifyEd25519: VerifyEd25519 = (key, message, signature) => {
  const known = publicKeys.get(key)
  const made = known ?? createPublicKey({ key: Buffer.concat([SPKI, key]), format: 'der', type: 'spki' })
  if (!known) publicKeys.set(key, made)
  return verify(null, message, made, signature)
}

interface Signer {
  readonly key: VerifierKey
  readonly privateKey: KeyObject
}
function signer(name: string, type: 'ed25519' | 'cosignature' = 'ed25519'): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(SPKI.length)
  return { key: makeVerifierKey(sha256, name, type, raw), privateKey }
}

const ORIGIN = 'agentguard.local/test/org_1/e1'
const log = signer(ORIGIN)
const witness = signer('witness.example/w1', 'cosignature')
const forger = signer(ORIGIN)
const policy: CheckpointPolicy = {
  origin: ORIGIN,
  log_keys: [log.key],
  witness_keys: [witness.key],
  witnesses_needed: 1,
}

const entries = Array.from({ length: 300 }, (_, i) => Buffer.from(JSON.stringify({ v: 1, id: `entry ${i}` })))
function grow(made: readonly Uint8Array[]) {
  const nodes = new Map<string, Uint8Array>()
  const tree = new CompactTree(sha256)
  for (const entry of made)
    tree.append(leafHash(sha256, entry), (level, index, hash) => nodes.set(`${level}/${index}`, hash))
  const node: NodeReader = (level, index) => nodes.get(`${level}/${index}`) as Uint8Array
  return { root: tree.root(), node }
}
const honest = grow(entries)

function checkpoint(size: number, root: Uint8Array, logSigner = log, origin = ORIGIN): string {
  const text = formatCheckpoint({ origin, size, root })
  const at = 1_700_000_000
  return formatNote(text, [
    { ...logSigner.key, signature: sign(null, noteMessage(text), logSigner.privateKey) },
    {
      ...witness.key,
      signature: encodeCosignature(at, sign(null, cosignatureMessage(text, at), witness.privateKey)),
    },
  ])
}
const signed = checkpoint(entries.length, honest.root)
const proofOf = (index: number, extra?: Uint8Array): string => {
  const hashes = inclusionProof(sha256, index, entries.length, honest.node)
  return formatProof({ index, hashes, checkpoint: signed, ...(extra && { extra }) })
}
const entry = (index: number): Uint8Array => entries[index] as Uint8Array
const expected = (index: number): ProofExpectation => ({ entry: entry(index), policy })
const codeOf = (text: string, expectation: ProofExpectation, check = verifyEd25519): string => {
  const verdict = verifyProof(sha256, check, text, expectation)
  return verdict.ok ? 'ok' : verdict.errors.code
}

describe('proofs', () => {
  it('show every entry of a log', () => {
    for (const index of [0, 1, 127, 128, 255, 256, 298, 299])
      expect(verifyProof(sha256, verifyEd25519, proofOf(index), { ...expected(index), index })).toMatchObject(
        {
          ok: true,
          value: {
            origin: ORIGIN,
            size: 300,
            signers: [{ key: { name: ORIGIN } }, { timestamp: 1_700_000_000 }],
          },
        },
      )
  })

  it('are written as specified and parse back', () => {
    expect(proofOf(299, Buffer.from('{}')).split('\n').slice(0, 4)).toEqual([
      'c2sp.org/tlog-proof@v1',
      'extra e30=',
      'index 299',
      encodeBase64(honest.node(0, 298)),
    ])
    const hash = fc.uint8Array({ minLength: 32, maxLength: 32 })
    const made = fc.record(
      {
        extra: fc.uint8Array({ maxLength: 40 }),
        index: fc.maxSafeNat(),
        hashes: fc.array(hash, { maxLength: 63 }),
        checkpoint: fc.constant(signed),
      },
      { requiredKeys: ['index', 'hashes', 'checkpoint'] },
    )
    fc.assert(
      fc.property(made, (proof) =>
        expect(parseProof(formatProof(proof))).toEqual({ ok: true, value: proof }),
      ),
    )
    for (const bad of [{ index: -1 }, { hashes: [new Uint8Array(31)] }, { checkpoint: 'no note' }])
      expect(() => formatProof({ index: 0, hashes: [], checkpoint: signed, ...bad })).toThrow(RangeError)
  })

  it('say what is wrong', () => {
    expect(codeOf(proofOf(7), expected(8))).toBe('not_included')
    expect(codeOf(proofOf(7), { ...expected(7), index: 8 })).toBe('wrong_index')
    expect(codeOf(proofOf(7), { ...expected(7), policy: { ...policy, origin: 'other' } })).toBe(
      'wrong_origin',
    )
    expect(codeOf(proofOf(7), { ...expected(7), policy: { ...policy, log_keys: [forger.key] } })).toBe(
      'unknown_signer',
    )
    expect(codeOf(proofOf(7), { ...expected(7), policy: { ...policy, witnesses_needed: 2 } })).toBe(
      'too_few_witnesses',
    )
    const text = proofOf(0)
    for (const bad of [
      ...[
        '',
        'x',
        text.slice(1),
        ` ${text}`,
        text.replace('@v1', '@v2'),
        text.replace('index 0', 'index 00'),
      ],
      ...[
        text.replace('index 0', 'index -0'),
        text.replace('index 0', 'index 0\nindex 0'),
        text.replace('index 0\n', ''),
      ],
      ...[text.replace('index 0', 'index 9007199254740992'), text.replace('index 0', 'extra *\nindex 0')],
      ...[
        text.replace('index 0', 'extra AA==\nextra AA==\nindex 0'),
        text.replace('index 0', 'index 0\nextra AA=='),
      ],
      ...[text.replace('index 0', `index 0\n${'A'.repeat(86)}==`), text.replace('index 0', 'index 0\n!')],
      ...[
        text.replace('\n\n', '\n'),
        text.replace('\n\n', '\n\n\n'),
        text.replaceAll('\n', '\r\n'),
        text.trimEnd(),
      ],
      text.replace('index 0', `index 0${`\n${encodeBase64(honest.root)}`.repeat(64)}`),
    ])
      expect([bad, codeOf(bad, expected(0))]).toEqual([bad, 'malformed'])
  })

  it('do not vouch for their extra data', () => {
    expect(codeOf(proofOf(3, Buffer.from('anything')), expected(3))).toBe('ok')
  })

  it('can be checked with the signatures left to the caller', () => {
    const pending = pendingProof(sha256, proofOf(3), expected(3))
    if (!pending.ok) throw new Error(pending.errors.detail)
    const { checks } = pending.value.checkpoint
    expect(checks).toHaveLength(2)
    expect(checkpointVerdict(pending.value.checkpoint, [true, true]).ok).toBe(true)
    expect(checkpointVerdict(pending.value.checkpoint, [true, false]).ok).toBe(false)
  })
})

describe('forgeries', () => {
  const text = fc.nat({ max: entries.length - 1 }).map((index) => ({ index, text: proofOf(index) }))

  /** One change to the text of a good proof: a bit, a character, a line, a piece. */
  const damaged = fc
    .tuple(
      text,
      fc.constantFrom('bit', 'delete', 'insert', 'replace', 'cut', 'repeat', 'swap'),
      fc.nat(),
      fc.nat(),
    )
    .map(([{ index, text: good }, how, a, b]) => ({ index, good, bad: damage(good, how, a, b) }))
    .filter(({ good, bad }) => good !== bad)

  it(`of ${FORGERIES} damaged texts none is accepted, and none throws`, () => {
    const codes = new Set<string>()
    fc.assert(
      fc.property(damaged, ({ index, bad }) => {
        const code = codeOf(bad, expected(index))
        codes.add(code)
        return code !== 'ok'
      }),
      { numRuns: FORGERIES },
    )
    // The damage reaches every check, not only the parser.
    expect([...codes].sort()).toEqual([
      ...[
        'bad_signature',
        'malformed',
        'not_included',
        'too_few_witnesses',
        'unknown_signer',
        'wrong_origin',
      ],
    ])
  })

  it(`of ${FORGERIES} proofs made up from good parts none is accepted`, () => {
    const recipe = fc.record({
      index: fc.nat({ max: entries.length - 1 }),
      other: fc.oneof(fc.nat({ max: entries.length }), fc.maxSafeNat()),
      kind: fc.constantFrom('index', 'entry', 'hash', 'drop', 'add', 'order', 'flip', 'node as entry'),
      at: fc.nat(),
      foreign: fc.oneof(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.constantFrom(honest.root, honest.node(0, 0), honest.node(8, 0), honest.node(3, 1)),
      ),
    })
    fc.assert(
      fc.property(recipe, (made) => {
        const forged = forge(made)
        fc.pre(forged.text !== proofOf(made.index) || forged.entry !== entry(made.index))
        return codeOf(forged.text, { entry: forged.entry, policy }) === 'not_included'
      }),
      { numRuns: FORGERIES },
    )
  })

  it('a whole forged log is refused for its signature alone; believing any signature accepts it (the control)', () => {
    const lies = entries.map((made, i) => (i === 5 ? Buffer.from('a lie') : made))
    const forged = grow(lies)
    const proof = formatProof({
      index: 5,
      hashes: inclusionProof(sha256, 5, lies.length, forged.node),
      checkpoint: checkpoint(lies.length, forged.root, { key: log.key, privateKey: forger.privateKey }),
    })
    const expectation = { entry: lies[5] as Uint8Array, policy }
    expect(codeOf(proof, expectation)).toBe('bad_signature')
    expect(codeOf(proof, expectation, () => true)).toBe('ok')
    // Signed under the forger's own key of the same name, it is an unknown signer's.
    const own = checkpoint(lies.length, forged.root, forger)
    expect(codeOf(proof.slice(0, proof.indexOf('\n\n') + 2) + own, expectation)).toBe('unknown_signer')
  })

  it(`of ${FORGERIES} bent consistency and inclusion proofs none is accepted`, () => {
    const sizes = fc.tuple(fc.integer({ min: 1, max: 299 }), fc.integer({ min: 1, max: 300 }))
    const roots = Array.from({ length: 301 }, (_, size) => CompactTree.load(sha256, size, honest.node).root())
    const bend = fc.record({ sizes, kind: fc.constantFrom('bit', 'drop', 'add', 'old', 'new'), at: fc.nat() })
    fc.assert(
      fc.property(bend, ({ sizes: [a, b], kind, at }) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)]
        const proof = consistencyProof(sha256, from, to, honest.node)
        const old = roots[from] as Uint8Array
        const now = roots[to] as Uint8Array
        if (kind === 'old') return !verifyConsistency(sha256, from, to, proof, flip(old, at), now)
        if (kind === 'new') return !verifyConsistency(sha256, from, to, proof, old, flip(now, at))
        if (kind === 'add') proof.splice(at % (proof.length + 1), 0, now)
        else if (proof.length === 0) return verifyConsistency(sha256, from, to, proof, old, now)
        else if (kind === 'drop') proof.splice(at % proof.length, 1)
        else proof[at % proof.length] = flip(proof[at % proof.length] as Uint8Array, at)
        return (
          !verifyConsistency(sha256, from, to, proof, old, now) &&
          !verifyInclusion(sha256, leafHash(sha256, entry(from - 1)), from - 1, to, proof, flip(now, at))
        )
      }),
      { numRuns: FORGERIES },
    )
  })
})

interface Recipe {
  readonly index: number
  readonly other: number
  readonly kind: string
  readonly at: number
  readonly foreign: Uint8Array
}

const flip = (bytes: Uint8Array, at: number): Uint8Array =>
  bytes.map((byte, i) => (i === at % bytes.length ? byte ^ (1 << (at % 8)) : byte))

/** A well-formed proof with one part exchanged, under the honest checkpoint. */
function forge({ index, other, kind, at, foreign }: Recipe): { text: string; entry: Uint8Array } {
  const hashes = inclusionProof(sha256, index, entries.length, honest.node)
  const place = at % hashes.length
  const left = index - (index % 2)
  let claimed = { index, entry: entry(index) }
  if (kind === 'index') claimed = { ...claimed, index: other }
  else if (kind === 'entry') claimed = { index, entry: Buffer.concat([entry(index), Buffer.of(at & 255)]) }
  else if (kind === 'hash') hashes[place] = foreign
  else if (kind === 'drop') hashes.splice(place, 1)
  else if (kind === 'add') hashes.splice(at % (hashes.length + 1), 0, foreign)
  else if (kind === 'order') hashes.reverse()
  else if (kind === 'flip') hashes[place] = flip(hashes[place] as Uint8Array, at)
  else {
    // The two leaf hashes below a node, passed off as an entry one level up.
    claimed = { index: left / 2, entry: Buffer.concat([honest.node(0, left), honest.node(0, left + 1)]) }
    hashes.shift()
  }
  return { text: formatProof({ index: claimed.index, hashes, checkpoint: signed }), entry: claimed.entry }
}

function damage(good: string, how: string, a: number, b: number): string {
  const at = a % good.length
  const char = good.charAt(at)
  switch (how) {
    case 'bit':
      return good.slice(0, at) + String.fromCharCode(char.charCodeAt(0) ^ (1 << (b % 7))) + good.slice(at + 1)
    case 'delete':
      return good.slice(0, at) + good.slice(at + 1 + (b % 3))
    case 'insert':
      return good.slice(0, at) + good.charAt(b % good.length) + good.slice(at)
    case 'replace':
      return good.slice(0, at) + good.charAt(b % good.length) + good.slice(at + 1)
    case 'cut':
      return good.slice(0, at)
    default: {
      // Lines of the signatures may be repeated or change places: that says nothing new.
      const lines = good.split('\n')
      const unsigned = lines.length - 3
      const from = a % unsigned
      const to = b % unsigned
      const moved = lines[from] as string
      if (how === 'repeat') lines.splice(to, 0, moved)
      else [lines[from], lines[to]] = [lines[to] as string, moved]
      return lines.join('\n')
    }
  }
}
