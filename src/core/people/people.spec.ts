import { normalizeEmail } from './email.js'
import { normalizePassword, passwordWeakness } from './password.js'

describe('normalizeEmail', () => {
  it.each([
    [' Ada@Example.COM ', 'ada@example.com'],
    ["o'brien+x@mail.example.co.uk", "o'brien+x@mail.example.co.uk"],
    ['root@localhost', 'root@localhost'],
    ['a@xn--bcher-kva.example', 'a@xn--bcher-kva.example'],
  ])('reads %j as %j', (text, email) => expect(normalizeEmail(text)).toBe(email))

  it.each([
    '',
    'ada',
    '@example.com',
    'ada@',
    'a b@example.com',
    'a@b@example.com',
    'ada@-x.com',
    'ada@x..com',
    'ada.@x.com',
    'ada@exämple.com',
    'Kelvin\u212a@example.com', // KELVIN SIGN, whose small form is k
    'ada@example.com\r\nBcc: all@example.com',
    `${'a'.repeat(65)}@example.com`,
    `a@${'a.'.repeat(130)}com`,
    '"quoted"@example.com',
  ])('takes %j for none', (text) => expect(normalizeEmail(text)).toBeNull())
})

describe('passwordWeakness', () => {
  it.each([
    'correct horse battery',
    'tr0ub4dor&3 and more',
    'ただしいうまのでんちほっちきす',
    'Aa1!Aa1!Bb2?',
    'x'.repeat(3) + 'the quick brown fox'.repeat(12),
  ])('takes %j', (password) => expect(passwordWeakness(password, ['ada@example.com', 'Ada'])).toBeNull())

  it.each([
    ['short', /12 to 256/],
    ['elevenchars', /12 to 256/],
    ['x'.repeat(257), /12 to 256/],
    ['aaaaaaaaaaaa', /repeats/],
    ['abababababab', /repeats/],
    ['1234567890123', /repeats/],
    ['abcdefghijklmn', /repeats/],
    ['Password1234', /tried first/],
    ['P@ssw0rd!!!!', /tried first/],
    ['passwordpassword', /tried first/],
    ['qwertyuiop12', /tried first/],
    ['20261121384759', /tried first/],
    ['lovelace@example.com', /your own/],
    ['Ada Lovelace 1815', /your own/],
    ['lovelace12345', /your own/],
  ])('refuses %j', (password, why) =>
    expect(passwordWeakness(password, ['lovelace@example.com', 'Ada Lovelace'])).toMatch(why),
  )

  it('counts characters as people do, and reads the same text in one form', () => {
    expect(passwordWeakness('🐎🔋🧷✅🐎🔋🧷✅🐎🔋🧷', [])).toMatch(/12 to 256/)
    expect(normalizePassword('cafe\u0301')).toBe(normalizePassword('caf\u00e9'))
  })
})
