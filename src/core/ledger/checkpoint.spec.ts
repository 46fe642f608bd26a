import { createHash } from 'node:crypto'
import fc from 'fast-check'
import {
  checkpointVerdict,
  formatCheckpoint,
  parseCheckpoint,
  parseDecimal,
  pendingCheckpoint,
} from './checkpoint.js'
import { formatNote, makeVerifierKey, type VerifierKey } from './note.js'

const sha256 = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest()
// The example of tlog-checkpoint and tlog-cosignature.
const SOFA = 'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n'

describe('checkpoints', () => {
  it('read and write the published example', () => {
    const parsed = parseCheckpoint(SOFA)
    if (!parsed.ok) throw new Error(parsed.errors.detail)
    expect(parsed.value).toMatchObject({
      origin: 'example.com/behind-the-sofa',
      size: 20852163,
      extensions: [],
    })
    expect(formatCheckpoint(parsed.value)).toBe(SOFA)
    expect(parseCheckpoint(`${SOFA}one\ntwo\n`)).toMatchObject({
      ok: true,
      value: { extensions: ['one', 'two'] },
    })
  })

  it('round trip', () => {
    const origin = fc.stringMatching(/^[a-z.é/ +]{1,20}$/u)
    const root = fc.uint8Array({ minLength: 32, maxLength: 32 })
    fc.assert(
      fc.property(origin, fc.maxSafeNat(), root, (name, size, hash) => {
        const made = { origin: name, size, root: hash }
        expect(parseCheckpoint(formatCheckpoint(made))).toEqual({
          ok: true,
          value: { ...made, extensions: [] },
        })
      }),
    )
  })

  it('have one spelling', () => {
    const [origin, size, root] = SOFA.split('\n') as [string, string, string]
    for (const bad of [
      ...[
        '',
        '\n',
        SOFA.slice(0, -1),
        `${SOFA}\n`,
        `\n${SOFA}`,
        `${origin}\n${size}\n`,
        `\n${size}\n${root}\n`,
      ],
      ...[
        `${origin}\n0${size}\n${root}\n`,
        `${origin}\n-1\n${root}\n`,
        `${origin}\n+1\n${root}\n`,
        `${origin}\n1 \n${root}\n`,
      ],
      ...[`${origin}\n1e3\n${root}\n`, `${origin}\n0x1\n${root}\n`, `${origin}\n9007199254740992\n${root}\n`],
      ...[
        `${origin}\n99999999999999999999\n${root}\n`,
        `${origin}\n１\n${root}\n`,
        `${origin}\r\n1\n${root}\n`,
      ],
      ...[
        `${origin}\n1\n${root.slice(0, -1)}\n`,
        `${origin}\n1\n${root} \n`,
        `${origin}\n1\nAAAA\n`,
        `${SOFA}\u0000\n`,
      ],
      `${origin}\n1\n${root.replace('2I=', '2J=')}\n`,
    ])
      expect([bad, parseCheckpoint(bad).ok]).toEqual([bad, false])
    expect(['0', '9007199254740991', '00', '', ' 1', '1.0'].map(parseDecimal)).toEqual([
      0,
      2 ** 53 - 1,
      ...Array(4).fill(undefined),
    ])
    const good = { origin: 'a', size: 1, root: new Uint8Array(32) }
    for (const bad of [
      { origin: '' },
      { origin: 'a\nb' },
      { size: -1 },
      { size: 2 ** 53 },
      { root: new Uint8Array(31) },
    ])
      expect(() => formatCheckpoint({ ...good, ...bad })).toThrow(RangeError)
  })
})

describe('whom to believe about a log', () => {
  const make = (name: string, type: 'ed25519' | 'cosignature', byte: number): VerifierKey =>
    makeVerifierKey(sha256, name, type, new Uint8Array(32).fill(byte))
  const oldKey = make('log', 'ed25519', 1)
  const newKey = make('log', 'ed25519', 2)
  const one = make('w1', 'cosignature', 3)
  const two = make('w2', 'cosignature', 4)
  const alias = make('w3', 'cosignature', 3)
  const policy = { origin: 'o', log_keys: [oldKey, newKey], witness_keys: [one, two, alias] }
  const body = formatCheckpoint({ origin: 'o', size: 1, root: new Uint8Array(32) })

  // Signatures are taken as verified here; note.spec.ts verifies them.
  const verdict = (signers: readonly VerifierKey[], needed: number, origin = 'o') => {
    const signatures = signers.map(({ name, id, type }) => ({
      name,
      id,
      signature: new Uint8Array(type === 'cosignature' ? 72 : 64),
    }))
    const pending = pendingCheckpoint(formatNote(body, signatures), {
      ...policy,
      origin,
      witnesses_needed: needed,
    })
    if (!pending.ok) return pending.errors.code
    const result = checkpointVerdict(
      pending.value,
      pending.value.checks.map(() => true),
    )
    return result.ok ? result.value.signers.length : result.errors.code
  }

  it('asks for one key of the log, whichever', () => {
    expect(verdict([oldKey], 0)).toBe(1)
    expect(verdict([newKey], 0)).toBe(1)
    expect(verdict([oldKey, newKey], 0)).toBe(2)
    expect(verdict([one, two], 0)).toBe('unknown_signer')
    expect(verdict([oldKey], 0, 'other')).toBe('wrong_origin')
  })

  it('asks for so many different witnesses', () => {
    expect(verdict([oldKey, one], 1)).toBe(2)
    expect(verdict([oldKey], 1)).toBe('too_few_witnesses')
    expect(verdict([oldKey, one, one], 2)).toBe('too_few_witnesses')
    expect(verdict([oldKey, one, alias], 2)).toBe('too_few_witnesses') // one key under two names
    expect(verdict([oldKey, newKey], 1)).toBe('too_few_witnesses') // the log is no witness of itself
    expect(verdict([oldKey, one, two], 2)).toBe(3)
  })
})
