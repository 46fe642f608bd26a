import { crc32 as zlibCrc32 } from 'node:zlib'
import fc from 'fast-check'
import { crc32, isWellFormedKey, keyPrefix, makeKey } from './key-format.js'

const secret = fc.uint8Array({ minLength: 32, maxLength: 32 })

describe('keys', () => {
  it('computes the CRC-32 of zlib', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary-ascii' }), (s) => expect(crc32(s)).toBe(zlibCrc32(s))))
  })

  it('makes distinct keys of 53 characters that are well formed', () => {
    fc.assert(
      fc.property(secret, secret, (a, b) => {
        const key = makeKey('agk_', a)
        expect(key).toMatch(/^agk_[0-9A-Za-z]{49}$/)
        expect(isWellFormedKey('agk_', key)).toBe(true)
        expect(isWellFormedKey('adk_', key)).toBe(false)
        expect(keyPrefix('agk_', key)).toBe(key.slice(0, 12))
        if (!Buffer.from(a).equals(Buffer.from(b))) expect(makeKey('agk_', b)).not.toBe(key)
      }),
    )
  })

  it('refuses every single-character typo', () => {
    fc.assert(
      fc.property(secret, fc.nat({ max: 52 }), fc.constantFrom(...'aZ09-_é '), (random, at, char) => {
        const key = makeKey('agk_', random)
        fc.pre(key[at] !== char)
        expect(isWellFormedKey('agk_', key.slice(0, at) + char + key.slice(at + 1))).toBe(false)
      }),
    )
  })
})
