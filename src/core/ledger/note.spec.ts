import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
  webcrypto,
} from 'node:crypto'
import fc from 'fast-check'
import { decodeBase64, encodeBase64 } from './base64.js'
import type { Sha256 } from './merkle.js'
import {
  cosignatureMessage,
  decodeCosignature,
  encodeCosignature,
  formatNote,
  formatSignature,
  formatVerifierKey,
  isKeyName,
  KEY_TYPES,
  makeVerifierKey,
  noteMessage,
  type NoteSignature,
  noteVerdict,
  parseNote,
  parseSignatures,
  parseVerifierKey,
  signatureChecks,
  type VerifierKey,
  type VerifyEd25519,
  verifyNote,
} from './note.js'

const sha256: Sha256 = (bytes) => createHash('sha256').update(bytes).digest()
const SPKI = Buffer.from('302a300506032b6570032100', 'hex')
const verifyEd25519: VerifyEd25519 = (key, message, signature) =>
  verify(
    null,
    message,
    createPublicKey({ key: Buffer.concat([SPKI, key]), format: 'der', type: 'spki' }),
    signature,
  )

function signer(name: string, type: 'ed25519' | 'cosignature' = 'ed25519') {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const key = makeVerifierKey(
    sha256,
    name,
    type,
    publicKey.export({ format: 'der', type: 'spki' }).subarray(SPKI.length),
  )
  return { key, privateKey }
}

const signText = (
  { key, privateKey }: { key: VerifierKey; privateKey: KeyObject },
  text: string,
  at = 1_700_000_000,
) => ({
  name: key.name,
  id: key.id,
  signature:
    key.type === 'cosignature'
      ? encodeCosignature(at, sign(null, cosignatureMessage(text, at), privateKey))
      : sign(null, noteMessage(text), privateKey),
})

const open = (note: string, keys: readonly VerifierKey[]) => {
  const parsed = parseNote(note)
  return parsed.ok ? verifyNote(parsed.value, keys, verifyEd25519) : parsed
}
const codeOf = (note: string, keys: readonly VerifierKey[]) => {
  const opened = open(note, keys)
  return opened.ok ? 'ok' : opened.errors.code
}
const key = (text: string): VerifierKey => {
  const parsed = parseVerifierKey(sha256, text)
  if (!parsed.ok) throw new Error(parsed.errors.detail)
  return parsed.value
}

// Published examples: signed-note's own, and that of Go's sumdb/note package.
const FOO = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k'
const FOO_NOTE =
  'This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n'
const NEUMANN = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
const NEUMANN_NOTE =
  "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"

describe('published notes and keys', () => {
  it('verify', () => {
    expect(codeOf(FOO_NOTE, [key(FOO)])).toBe('ok')
    expect(codeOf(NEUMANN_NOTE, [key(FOO), key(NEUMANN)])).toBe('ok')
    expect(codeOf(NEUMANN_NOTE, [key(FOO)])).toBe('unknown_signer')
  })

  it('have the published ids, and are written back as they were', () => {
    const published = [
      [FOO, 'ed25519'],
      [NEUMANN, 'ed25519'],
      ['TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6', 'ed25519'],
      ['remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2', 'cosignature'],
    ] as const
    for (const [text, type] of published) {
      expect(key(text).type).toBe(type)
      expect(formatVerifierKey(key(text))).toBe(text)
    }
  })

  it('are refused when mistyped', () => {
    for (const bad of [
      ...['', 'a', 'bananas.sigstore.dev+12344556', 'rekor.sigstore.dev+12345678+THIS_IS_NOT_BASE64!'],
      ...[
        'rekor.sigstore.dev+12345678+AwEB',
        FOO.replace('530d903a', '00000000'),
        FOO.replace('530d903a', '530D903A'),
      ],
      ...[
        FOO.replace('foo', 'fop'),
        FOO.replace('/foo', ' foo'),
        ` ${FOO}`,
        `${FOO}\n`,
        FOO.replace('AekyeR', 'A'),
      ],
      ...[FOO.replace('+530d903a+', '+530d903a'), FOO.replace('AekyeR', 'AekyeS'), '+530d903a+AekyeRrm'],
    ])
      expect(parseVerifierKey(sha256, bad).ok).toBe(false)
    expect(() => makeVerifierKey(sha256, 'a b', 'ed25519', new Uint8Array(32))).toThrow(RangeError)
    expect(() => makeVerifierKey(sha256, 'a', 'ed25519', new Uint8Array(33))).toThrow(RangeError)
  })

  it('read the published time of a cosignature', () => {
    const published =
      'ZGhGuQAAAABm/qTPeyKXD+R2rzyQsxPiP8mXum7qq/iF0u4vanlqJyocWODBt97w9uL+8qT7S5gxEHWWOworDcFiEBYJXORmnFBOBA=='
    const bytes = decodeBase64(published) ?? new Uint8Array()
    const read = decodeCosignature(bytes.subarray(4))
    expect(read?.timestamp).toBe(1727964367)
    expect(encodeBase64(encodeCosignature(1727964367, read?.signature ?? new Uint8Array()))).toBe(
      encodeBase64(bytes.subarray(4)),
    )
    expect(decodeCosignature(bytes)).toBeUndefined()
    expect(decodeCosignature(new Uint8Array(64))).toBeUndefined()
    expect(decodeCosignature(new Uint8Array(72).fill(255))).toBeUndefined()
    const body = 'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n'
    expect(Buffer.from(cosignatureMessage(body, 1679315147)).toString()).toBe(
      `cosignature/v1\ntime 1679315147\n${body}`,
    )
    for (const bad of [-1, 0.5, NaN, 2 ** 53]) {
      expect(() => cosignatureMessage(body, bad)).toThrow(RangeError)
      expect(() => encodeCosignature(bad, new Uint8Array(64))).toThrow(RangeError)
    }
  })
})

describe('signed notes', () => {
  const log = signer('example.com/log')
  const witness = signer('witness.example/w1', 'cosignature')
  const stranger = signer('stranger.example')
  const text = 'one\n\ntwo\n'
  const lines = [signText(log, text), signText(witness, text), signText(stranger, text)]
  const note = formatNote(text, lines)

  it('keep empty lines of the text and give every signer once', () => {
    const parsed = parseNote(note)
    expect(parsed.ok && parsed.value.text).toBe(text)
    const opened = open(note + formatSignature(signText(witness, text, 1_700_000_009)), [
      log.key,
      witness.key,
    ])
    expect(opened.ok && opened.value.map(({ key: { name }, timestamp }) => [name, timestamp])).toEqual([
      ['example.com/log', undefined],
      ['witness.example/w1', 1_700_000_000],
    ])
  })

  it('ignore unknown signers, also of a known name or a known id', () => {
    const sameName = signer(log.key.name)
    const sameId: NoteSignature = { name: 'other.example', id: log.key.id, signature: new Uint8Array(64) }
    const more = [signText(sameName, text), sameId].map(formatSignature).join('')
    expect(codeOf(note + more, [log.key])).toBe('ok')
    expect(codeOf(note, [sameName.key])).toBe('unknown_signer')
    expect(codeOf(note, [])).toBe('unknown_signer')
  })

  it('are rejected whole for one bad signature of a known key', () => {
    const wrong = { ...signText(witness, text), signature: encodeCosignature(1, new Uint8Array(64)) }
    const later = {
      ...signText(witness, text),
      signature: signText(witness, text).signature.map((b, i) => (i === 7 ? b ^ 1 : b)),
    }
    const short = { ...signText(witness, text), signature: new Uint8Array(64) }
    for (const bad of [wrong, later, short]) {
      const both = formatNote(text, [signText(log, text), bad])
      expect(codeOf(both, [log.key, witness.key])).toBe('bad_signature')
      expect(codeOf(both, [log.key])).toBe('ok') // the control: it is the known key that rejects
    }
    // A repeated line is verified too, not only the first of its key.
    expect(codeOf(formatNote(text, [signText(witness, text), wrong]), [witness.key])).toBe('bad_signature')
  })

  it('never take a signature of one type for the other', () => {
    const both = makeVerifierKey(sha256, log.key.name, 'cosignature', log.key.public_key)
    expect(both.id).not.toBe(log.key.id)
    const forged = { ...signText(log, text), id: both.id }
    expect(codeOf(formatNote(text, [forged]), [both])).toBe('bad_signature')
    expect(codeOf(formatNote(text, [signText(log, text)]), [both])).toBe('unknown_signer')
    // An ML-DSA key is read, and what it signed is ignored.
    const quantum = makeVerifierKey(sha256, 'w.example', 'ml_dsa_44', new Uint8Array(1312).fill(3))
    expect(key(formatVerifierKey(quantum))).toEqual({
      ...quantum,
      public_key: expect.anything() as Uint8Array,
    })
    const signed = { name: quantum.name, id: quantum.id, signature: new Uint8Array(2428) }
    expect(codeOf(formatNote(text, [signText(log, text), signed]), [log.key, quantum])).toBe('ok')
    expect(codeOf(formatNote(text, [signed]), [quantum])).toBe('unknown_signer')
    expect(Object.values(KEY_TYPES)).toEqual([1, 4, 6])
  })

  it('take 64 signatures, and no more', () => {
    const many = Array.from({ length: 63 }, (_, i) => ({ ...signText(stranger, text), name: `n${i}` }))
    expect(codeOf(formatNote(text, [...many, signText(log, text)]), [log.key])).toBe('ok')
    expect(codeOf(note + many.map(formatSignature).join(''), [log.key])).toBe('malformed')
    expect(codeOf(`${'a'.repeat(1024 * 1024)}\n\n${formatSignature(signText(log, text))}`, [])).toBe(
      'malformed',
    )
  })

  it('are read strictly', () => {
    const line = formatSignature(signText(log, text))
    const [dash, name, encoded] = line.trimEnd().split(' ') as [string, string, string]
    const withLine = (bad: string) => `${text}\n${bad}`
    for (const bad of [
      ...[
        '',
        '\n',
        '\n\n',
        text,
        `${text}\n`,
        note.slice(0, -1),
        `${note}\n`,
        note.replace('\n\n— ', '\n— '),
      ],
      ...[
        `${note} \n`,
        note.replace('one', 'o\u0007e'),
        note.replace('one', 'o\re'),
        note.replace('one', 'o\ud800e'),
      ],
      withLine(`- ${name} ${encoded}\n`),
      withLine(`${dash}  ${name} ${encoded}\n`),
      withLine(`${dash} ${name}  ${encoded}\n`),
      withLine(`${dash} ${name} ${encoded} \n`),
      withLine(`${dash} a+b ${encoded}\n`),
      withLine(`${dash} a\u00a0b ${encoded}\n`),
      withLine(`${dash} ${name} ${encoded.slice(0, -1)}\n`),
      withLine(`${dash} ${name} ${encoded.replaceAll('=', '')}\n`),
      withLine(`${dash} ${name} AAAAAA==\n`), // an id without a signature
      withLine(`${dash} ${name}\n`),
    ])
      expect([bad, codeOf(bad, [log.key])]).toEqual([bad, 'malformed'])
    expect(parseSignatures('').ok).toBe(false)
    expect(parseSignatures(line + line)).toEqual({
      ok: true,
      value: [signText(log, text), signText(log, text)].map((s) => ({
        ...s,
        signature: new Uint8Array(s.signature),
      })),
    })
    for (const bad of ['no newline', 'a\u0000\n', '\ud800\n'])
      expect(() => formatNote(bad, lines)).toThrow(RangeError)
    expect(() => formatNote(text, [])).toThrow(RangeError)
    expect(() => formatNote(text, [{ ...signText(log, text), name: 'a b' }])).toThrow(RangeError)
    expect(['a', 'é/ß', 'a b', 'a+b', '', 'a\u2003b', 'a\n'].map(isKeyName)).toEqual([
      true,
      true,
      ...Array(5).fill(false),
    ])
  })

  it('round trip', () => {
    const words = fc.stringMatching(/^[a-zé—😀 \n]{0,40}$/u)
    const signature = fc.record({
      name: fc.stringMatching(/^[a-zé—./]{1,12}$/u),
      id: fc.nat({ max: 0xffffffff }),
      signature: fc.uint8Array({ minLength: 1, maxLength: 80 }),
    })
    fc.assert(
      fc.property(words, fc.array(signature, { minLength: 1, maxLength: 16 }), (body, signatures) => {
        const parsed = parseNote(formatNote(`${body}\n`, signatures))
        expect(parsed).toEqual({ ok: true, value: { text: `${body}\n`, signatures } })
      }),
    )
  })

  it('can be verified where Ed25519 is asynchronous, as in a browser', async () => {
    const parsed = parseNote(note)
    const checks = parsed.ok ? signatureChecks(parsed.value, [log.key, witness.key]) : parsed
    if (!checks.ok) throw new Error(checks.errors.detail)
    const verified = await Promise.all(
      checks.value.map(async ({ key: { public_key }, message, signature }) => {
        const imported = await webcrypto.subtle.importKey('raw', public_key, 'Ed25519', false, ['verify'])
        return webcrypto.subtle.verify('Ed25519', imported, signature, message)
      }),
    )
    expect(noteVerdict(checks.value, verified).ok).toBe(true)
    expect(noteVerdict(checks.value, verified.slice(1)).ok).toBe(false)
    expect(noteVerdict(checks.value, []).ok).toBe(false)
  })
})
