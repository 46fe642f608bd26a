import fc from 'fast-check'
import { decodeBase64, encodeBase64 } from './base64.js'
import { decodeUtf8, encodeUtf8 } from './utf8.js'

describe('base64', () => {
  it('writes the vectors of RFC 4648 section 10 and what Buffer writes', () => {
    const vectors = ['', 'Zg==', 'Zm8=', 'Zm9v', 'Zm9vYg==', 'Zm9vYmE=', 'Zm9vYmFy']
    expect(vectors.map((_, i) => encodeBase64(Buffer.from('foobar'.slice(0, i))))).toEqual(vectors)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const text = encodeBase64(bytes)
        expect(text).toBe(Buffer.from(bytes).toString('base64'))
        expect(decodeBase64(text)).toEqual(bytes)
      }),
    )
  })

  it('reads nothing but what it would write', () => {
    for (const bad of [
      ...[
        '=',
        '==',
        '===',
        '====',
        'Z',
        'Zg',
        'Zg=',
        'Zm8',
        'Zg===',
        'Zg==Zg==',
        'Z===',
        'Zm9v=',
        'Zm9v====',
      ],
      ...[
        'Zh==',
        'Zm9=',
        'Zm9vYh==',
        'Zm9vYmF=',
        'Zm-v',
        'Zm_v',
        'Zm9v\n',
        ' Zm9v',
        'Zm 9',
        'Zm9é',
        'Zg=a',
        '=m9v',
      ],
    ])
      expect(decodeBase64(bad)).toBeUndefined()
    const character = fc.constantFrom(...'ABCDwxyz0189+/=-_ \n')
    fc.assert(
      fc.property(fc.string({ unit: character, maxLength: 12 }), (text) => {
        const bytes = decodeBase64(text)
        if (bytes) expect(encodeBase64(bytes)).toBe(text)
        else expect(Buffer.from(text, 'base64').toString('base64')).not.toBe(text)
      }),
      { numRuns: 5_000 },
    )
  })
})

describe('UTF-8', () => {
  it('is what TextEncoder and a strict TextDecoder make of it, and keeps a byte order mark', () => {
    const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
        expect(Buffer.from(encodeUtf8(text) ?? [])).toEqual(Buffer.from(text))
        expect(decodeUtf8(Buffer.from(text))).toBe(text)
      }),
    )
    const bytes = fc.array(
      fc.constantFrom(0, 0x41, 0x7f, 0x80, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5),
    )
    fc.assert(
      fc.property(
        fc.oneof(
          bytes,
          fc.uint8Array({ maxLength: 12 }).map((found) => [...found]),
        ),
        (found) => {
          let wanted: string | undefined
          try {
            wanted = strict.decode(Uint8Array.from(found))
          } catch {
            wanted = undefined
          }
          expect(decodeUtf8(Uint8Array.from(found))).toBe(wanted)
        },
      ),
      { numRuns: 20_000 },
    )
    expect(decodeUtf8(Uint8Array.of(0xef, 0xbb, 0xbf))).toBe('\ufeff')
    expect(decodeUtf8(encodeUtf8('é😀'.repeat(10_000)) ?? new Uint8Array())).toBe('é😀'.repeat(10_000))
  })

  it('has no form for lone surrogates', () => {
    for (const bad of ['\ud800', '\udc00', 'a\ud800b', '\udc00\ud800', '\ud800\ud800\udc00'])
      expect(encodeUtf8(bad)).toBeUndefined()
  })
})
