import { isZone, zoneOffset } from './zones.js'

const WINTER = Date.UTC(2026, 0, 15, 12)
const SUMMER = Date.UTC(2026, 6, 15, 12)

describe('isZone', () => {
  it('knows every canonical zone, and the aliases that people still write', () => {
    for (const name of Intl.supportedValuesOf('timeZone')) expect(isZone(name)).toBe(true)
    for (const name of [
      'UTC',
      'GMT',
      'Etc/UTC',
      'US/Pacific',
      'Asia/Calcutta',
      'Europe/Kiev',
      'Etc/GMT+5',
      'EST5EDT',
    ])
      expect([name, isZone(name)]).toEqual([name, true])
  })

  it('refuses everything else', () => {
    const wrong = [
      '',
      ' ',
      'Mars/Olympus',
      'Europe',
      'Europe/',
      '/Berlin',
      '+02:00',
      '-0500',
      'UTC+2',
      'CEST',
    ]
    for (const name of [
      ...wrong,
      'Europe/Berlin ',
      '__proto__',
      '../UTC',
      'Europe/Bérlin',
      'A'.repeat(10_000),
    ])
      expect([name, isZone(name)]).toEqual([name, false])
  })
})

describe('zoneOffset', () => {
  it('is minutes east of UTC, in standard and in summer time', () => {
    expect(zoneOffset('UTC', WINTER)).toBe(0)
    expect([zoneOffset('Europe/Berlin', WINTER), zoneOffset('Europe/Berlin', SUMMER)]).toEqual([60, 120])
    expect([zoneOffset('America/New_York', WINTER), zoneOffset('America/New_York', SUMMER)]).toEqual([
      -300, -240,
    ])
    expect(zoneOffset('Asia/Kathmandu', WINTER)).toBe(345)
    expect(zoneOffset('Pacific/Kiritimati', WINTER)).toBe(840)
    expect(zoneOffset('Etc/GMT+12', WINTER)).toBe(-720)
    expect([zoneOffset('Australia/Lord_Howe', WINTER), zoneOffset('Australia/Lord_Howe', SUMMER)]).toEqual([
      660, 630,
    ])
  })

  it('changes in the very minute in which the clocks change, in both directions of time', () => {
    const change = Date.UTC(2026, 2, 29, 1)
    expect(zoneOffset('Europe/Berlin', change - 1)).toBe(60)
    expect(zoneOffset('Europe/Berlin', change)).toBe(120)
    expect(zoneOffset('Europe/Berlin', change - 1)).toBe(60)
    expect(zoneOffset('Europe/Berlin', Date.UTC(2026, 9, 25, 1) - 1)).toBe(120)
    expect(zoneOffset('Europe/Berlin', Date.UTC(2026, 9, 25, 1))).toBe(60)
  })

  it('is right at midnight and at the turn of the year', () => {
    for (let hour = 0; hour < 48; hour++) {
      const at = Date.UTC(2025, 11, 31, hour)
      expect(zoneOffset('Asia/Tokyo', at)).toBe(540)
      expect(zoneOffset('America/Los_Angeles', at)).toBe(-480)
    }
  })

  it('answers right when more zones are in use than are kept', () => {
    const names = Intl.supportedValuesOf('timeZone').flatMap((name) => [
      name,
      name.toLowerCase(),
      name.toUpperCase(),
    ])
    const offsets = names.map((name) => zoneOffset(name, SUMMER))
    for (let i = 0; i < names.length; i += 3) {
      expect(offsets[i + 1]).toBe(offsets[i])
      expect(offsets[i + 2]).toBe(offsets[i])
    }
    expect(names.map((name) => zoneOffset(name, SUMMER))).toEqual(offsets)
  })

  it('throws for a name that is no zone', () => {
    expect(() => zoneOffset('Mars/Olympus', WINTER)).toThrow(RangeError)
  })
})
