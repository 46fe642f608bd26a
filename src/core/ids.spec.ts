import fc from 'fast-check'
import { isUuid, makeId, uuidv7, uuidv7Floor } from './ids.js'

describe('ids', () => {
  it('encodes 12 bytes exactly as base64url does', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 12, maxLength: 12 }), (bytes) => {
        expect(makeId('agt_', bytes)).toBe(`agt_${Buffer.from(bytes).toString('base64url')}`)
      }),
    )
  })

  it('makes RFC 9562 version 7 ids that sort by time and keep the random bits', () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 2 ** 47 }),
        fc.nat({ max: 2 ** 47 }),
        fc.uint8Array({ minLength: 10, maxLength: 10 }),
        (a, b, random) => {
          const id = uuidv7(a, random)
          expect(isUuid(id)).toBe(true)
          const bytes = Buffer.from(id.replaceAll('-', ''), 'hex')
          expect(bytes.readUIntBE(0, 6)).toBe(a)
          expect((bytes[6] ?? 0) >> 4).toBe(7)
          expect((bytes[8] ?? 0) >> 6).toBe(2)
          expect(bytes.subarray(9)).toEqual(Buffer.from(random).subarray(3))
          expect(id >= uuidv7Floor(a)).toBe(true)
          if (a < b) expect(id < uuidv7Floor(b)).toBe(true)
        },
      ),
    )
  })
})
