import { randomBytes } from 'node:crypto'
import { KeyRing } from './key-ring.js'

const old = randomBytes(32)
const ring = new KeyRing(old)

describe('the key ring', () => {
  it('opens what it sealed, with the same purpose and place only', () => {
    const sealed = ring.sealText('a/v1', 'org\0row', 'secret')
    expect(ring.openText('a/v1', 'org\0row', sealed)).toBe('secret')
    expect(() => ring.openText('b/v1', 'org\0row', sealed)).toThrow()
    expect(() => ring.openText('a/v1', 'org\0other', sealed)).toThrow()
  })

  it('seals the same text differently every time', () => {
    expect(ring.sealText('a/v1', '', 'secret')).not.toBe(ring.sealText('a/v1', '', 'secret'))
  })

  it('opens with a key before, seals with the present one', () => {
    const rotated = new KeyRing(randomBytes(32), [old])
    const sealed = ring.sealText('a/v1', '', 'secret')
    expect(rotated.openText('a/v1', '', sealed)).toBe('secret')
    expect(rotated.isPresent(sealed)).toBe(false)
    expect(rotated.isPresent(rotated.sealText('a/v1', '', 'secret'))).toBe(true)
  })

  it('names the key that is missing', () => {
    const sealed = ring.sealText('a/v1', '', 'secret')
    expect(() => new KeyRing(randomBytes(32)).openText('a/v1', '', sealed)).toThrow(ring.present)
  })

  it.each([
    ['one changed byte', (text: string) => text.slice(0, -2) + (text.endsWith('AA') ? 'BB' : 'AA')],
    ['bytes cut off', (text: string) => text.slice(0, 30)],
    ['no sealed text', () => 'plain'],
  ])('refuses %s', (_, change) => {
    expect(() => ring.openText('a/v1', '', change(ring.sealText('a/v1', '', 'secret')))).toThrow()
  })

  it('takes keys of 32 bytes only', () => {
    expect(() => new KeyRing(randomBytes(31))).toThrow('32 bytes')
  })
})
