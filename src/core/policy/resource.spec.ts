import * as fc from 'fast-check'
import { compileResource } from './pattern.js'
import { RESOURCE_LIMIT, readResource } from './resource.js'

const canonicalOf = (raw: string): string => {
  const result = readResource(raw)
  return result.ok ? result.value.canonical : `refused: ${result.errors}`
}

function matches(rule: string, raw: string): { allow: boolean; deny: boolean } {
  const pattern = compileResource(rule)
  const resource = readResource(raw)
  if (!pattern.ok) throw new Error(pattern.errors)
  if (!resource.ok) return { allow: false, deny: true } // a request that cannot be read is not decided
  const sent = pattern.value.matches(resource.value.sent)
  const canonical = pattern.value.matches(resource.value.canonical)
  return { allow: sent && canonical, deny: sent || canonical }
}

describe('readResource', () => {
  it.each([
    ['s3://docs/a.txt', 's3://docs/a.txt'],
    ['S3://Docs/A.TXT', 's3://docs/a.txt'],
    ['s3://docs', 's3://docs'],
    ['s3://docs/', 's3://docs/'],
    ['s3:///docs//a///b', 's3://docs/a/b'],
    ['s3://docs/a/./b/../c', 's3://docs/a/c'],
    ['s3://./docs/a', 's3://docs/a'],
    ['s3://docs/a/..', 's3://docs/'],
    ['s3://docs/a/b/..', 's3://docs/a/'],
    ['s3://docs/a/b/.', 's3://docs/a/b/'],
    ['s3%3A%2F%2Fdocs%2fa', 's3://docs/a'],
    ['s3:\\\\docs\\a', 's3://docs/a'],
    ['/etc//passwd', '/etc/passwd'],
    ['//etc/passwd', '/etc/passwd'],
    ['/etc/../etc/./passwd', '/etc/passwd'],
    ['/', '/'],
    ['/a/..', '/'],
    ['a/..', '.'],
    ['.', '.'],
    ['./a', 'a'],
    ['.env', '.env'],
    ['a/...', 'a/...'],
    ['a/.b/..c', 'a/.b/..c'],
    ['C:\\Users\\Ann', 'c:/users/ann'],
    ['c:/users', 'c:/users'],
    ['customers/42', 'customers/42'],
    ['arn:aws:s3:::bucket/key', 'arn:aws:s3:::bucket/key'],
    ['mailto:Ann@Example.org', 'mailto:ann@example.org'],
    ['db:/x', 'db:/x'],
    ['https:/evil.com/x', 'https://evil.com/x'],
    ['https:evil.com/x', 'https://evil.com/x'],
    ['https:\\\\evil.com', 'https://evil.com'],
    ['file:/etc/passwd', 'file:///etc/passwd'],
    ['file:///etc/passwd', 'file:///etc/passwd'],
    ['file://////etc/passwd', 'file:///etc/passwd'],
    ['file://host/share', 'file://host/share'],
    ['a%20b', 'a b'],
    ['a%2541', 'aa'],
    ['%252e%252e/a', 'refused: The resource climbs'],
    ['%25252541', 'refused: The resource is percent-encoded more than'],
    ['%252541', 'a'],
    ['50% off', '50% off'],
    ['100%', '100%'],
    ['%zz', '%zz'],
    ['%C3%84', 'ä'],
    ['A\u0308', 'ä'],
    ['％２ｅ％２ｅ/a', 'refused: The resource climbs'],
    ['a%EF%BC%852e/b', 'a./b'], // a full-width % that NFKC makes a % of
    ['s3://docs／a', 's3://docs/a'],
    ['s3://docs/a＼b', 's3://docs/a/b'],
    ['docs/a/‥/b', 'docs/b'], // one character of two dots
    ['ΟΔΟΣ', 'οδοσ'], // one small sigma, wherever it stands
  ])('resolves %j to %j', (raw, canonical) => {
    expect(canonicalOf(raw).slice(0, canonical.startsWith('refused') ? canonical.length : undefined)).toBe(
      canonical,
    )
  })

  it.each([
    ['', 'empty'],
    ['a\u0000b', 'control character'],
    ['a\nb', 'control character'],
    ['a%00b', 'control character'],
    ['a%250ab', 'control character'],
    ['a\u0085b', 'control character'],
    ['a\ud800b', 'half a character'],
    ['%ff', 'not UTF-8'],
    ['%c0%ae%c0%ae/a', 'not UTF-8'], // an overlong ".."
    ['%ed%a0%80', 'not UTF-8'],
    ['..', 'climbs'],
    ['../a', 'climbs'],
    ['/..', 'climbs'],
    ['a/../../b', 'climbs'],
    ['s3://docs/../secret', 'climbs'],
    ['s3://docs/a/../../secret', 'climbs'],
    ['s3://docs/%2e%2E/secret', 'climbs'],
    ['s3://docs\\..\\secret', 'climbs'],
    ['s3://docs/．．/secret', 'climbs'],
    ['s3://../secret', 'climbs'],
    ['https://..', 'climbs'],
    ['file:///..', 'climbs'],
    ['x'.repeat(RESOURCE_LIMIT + 1), 'longer than 2048'],
    ['\ufdfa'.repeat(RESOURCE_LIMIT / 2), 'longer than 2048'], // NFKC makes eighteen characters of each
  ])('refuses %j and says why', (raw, message) => {
    expect(canonicalOf(raw)).toMatch(/^refused: The resource /)
    expect(canonicalOf(raw)).toContain(message)
  })

  it('keeps the resource as sent beside its canonical form', () => {
    const raw = 'S3://Docs//A%20b/./C'
    expect(readResource(raw)).toEqual({
      ok: true,
      value: { raw, sent: 's3://docs//a%20b/./c', canonical: 's3://docs/a b/c' },
    })
  })

  it.each([
    's3://docs/../secret/x',
    's3://docs/%2e%2e/secret/x',
    's3://docs/%252e%252e/secret/x',
    's3://docs\\..\\secret\\x',
    's3://docs/．．/secret/x',
    's3://public/../docs/x',
    's3:///docs/x',
    's3://doc%73/x',
  ])('an allow of s3://docs/* does not reach through %s', (raw) => {
    expect(matches('s3://docs/*', raw).allow).toBe(false)
  })

  it.each([
    's3://secret/x',
    'S3://SECRET/X',
    's3:///secret/x',
    's3:\\\\secret\\x',
    's3://%73ecret/x',
    's3://%2573ecret/x',
    's3://ｓｅｃｒｅｔ/x',
    's3://./secret/x',
    's3://secret//x',
    's3://secret/y/../x',
  ])('a deny of s3://secret/* meets %s', (raw) => {
    expect(matches('s3://secret/*', raw).deny).toBe(true)
  })

  it('agrees with a slow reference that resolves every text step by step', () => {
    const unit = fc.constantFrom(
      ...'aZ./\\%',
      '%2e',
      '%2F',
      '%25',
      '..',
      '://',
      's3',
      ' ',
      'ä',
      '？',
      'https:',
      'file:',
    )
    const text = fc.string({ unit, minLength: 1, maxLength: 14 })
    fc.assert(
      fc.property(text, (raw) => {
        const result = readResource(raw)
        expect(result.ok ? result.value.canonical : null).toBe(reference(raw))
      }),
      { numRuns: 30_000 },
    )
  })

  it('has nothing left to resolve in a canonical form', () => {
    const unit = fc.constantFrom(...'ab./\\%:', '%2e', '%25', '..', 'ä')
    fc.assert(
      fc.property(fc.string({ unit, minLength: 1, maxLength: 14 }), (raw) => {
        const result = readResource(raw)
        if (!result.ok) return
        const { canonical } = result.value
        expect(canonical.split('/').filter((segment) => segment === '..')).toEqual([])
        expect(canonical.replace(/^[a-z][a-z0-9+.-]+:\/\//, '')).not.toMatch(/\/\/|\\|(^|\/)\.(\/)/)
      }),
      { numRuns: 10_000 },
    )
  })

  it('answers any text with a reading or a message, never a throw', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 60 }),
        (raw) => typeof canonicalOf(raw) === 'string',
      ),
      { numRuns: 10_000 },
    )
  })
})

/** The law of normalisation.md read literally, with arrays and without a fast way; null where it refuses. */
function reference(raw: string): string | null {
  const low = (text: string) => text.normalize('NFKC').toLowerCase()
  let text = low(raw)
  for (let round = 0; round < 4; round++) {
    let next: string
    try {
      next = low(text.replace(/(%[0-9a-f]{2})+/g, decodeURIComponent))
    } catch {
      return null
    }
    if (next === text) break
    if (round === 3) return null
    text = next
  }
  text = text.split('\\').join('/')
  let root = ''
  const web = /^(https?|wss?|ftp):/.exec(text)
  const file = /^file:(\/\/\/+|\/)(?!\/)/.exec(text)
  const scheme = /^[a-z][a-z0-9+.-]+:\/\//.exec(text)
  let parts: string[]
  if (file) {
    root = 'file:///'
    parts = text.slice(file[0].length).split('/')
  } else if (web ?? scheme) {
    const head = web ? web[0] : (scheme?.[0] ?? '').slice(0, -2)
    parts = text.slice(head.length).split('/')
    while (parts.length > 0 && (parts[0] === '' || parts[0] === '.')) parts.shift()
    const authority = parts.shift() ?? ''
    if (authority === '..') return null
    root = `${head}//${authority}${parts.length > 0 ? '/' : ''}`
  } else {
    if (text.startsWith('/')) root = '/'
    parts = text.slice(root.length).split('/')
  }
  const kept: string[] = []
  for (const part of parts) {
    if (part === '..') {
      if (kept.length === 0) return null
      kept.pop()
    } else if (part !== '' && part !== '.') kept.push(part)
  }
  const directory = ['', '.', '..'].includes(parts.at(-1) ?? 'none') && kept.length > 0
  return root + kept.join('/') + (directory ? '/' : '') || '.'
}
