/**
 * What a password must be (NIST SP 800-63B 3.1.1): long, not one of those that are tried first, not made of what
 * everybody knows about its owner. No rules of composition: they make passwords worse.
 */
export const PASSWORD_MIN = 12
export const PASSWORD_MAX = 256

/**
 * What people choose first when twelve characters are asked for. Read without digits and signs, so that `Password1234!`
 * is still `password`.
 */
const COMMON: ReadonlySet<string> = new Set([
  ...['password', 'passwort', 'motdepasse', 'contrasena', 'passphrase', 'mypassword', 'newpassword'],
  ...[
    'secret',
    'letmein',
    'letmeinplease',
    'welcome',
    'changeme',
    'changemenow',
    'pleasechangeme',
    'default',
  ],
  ...[
    'admin',
    'administrator',
    'superadmin',
    'root',
    'superuser',
    'user',
    'username',
    'login',
    'guest',
    'test',
  ],
  ...[
    'qwerty',
    'qwertyuiop',
    'qwertyuiopasdfghjklzxcvbnm',
    'asdfghjkl',
    'zxcvbnm',
    'qwertz',
    'azerty',
    'qazwsxedc',
  ],
  ...[
    'iloveyou',
    'iloveyousomuch',
    'sunshine',
    'princess',
    'dragon',
    'monkey',
    'football',
    'baseball',
    'master',
  ],
  ...['abcdefghijkl', 'abcdefghijklm', 'abcdefghijklmnopqrstuvwxyz', 'correcthorsebatterystaple', 'trustno'],
  ...[
    'agentguard',
    'agentguardadmin',
    'passwordagentguard',
    'agentguardpassword',
    'summer',
    'winter',
    'spring',
  ],
])

/** Dates and telephone numbers. */
const NUMBERS = /^[\d\s./:+-]+$/

/** The form that is hashed: the same text whatever keyboard made it (NIST asks for NFKC or NFKD). */
export const normalizePassword = (password: string): string => password.normalize('NFKC')

/**
 * Why this password will not do, to be shown to whoever chose it; null: it will.
 * @param password normalised @param known what is known about its owner: email, name, organization
 */
export function passwordWeakness(password: string, known: readonly string[]): string | null {
  const characters = Array.from(password)
  if (characters.length < PASSWORD_MIN || characters.length > PASSWORD_MAX) {
    return `must have ${PASSWORD_MIN} to ${PASSWORD_MAX} characters`
  }
  if (new Set(characters).size < 5 || isRun(characters))
    return 'repeats or counts, so it is among the first guesses'
  const letters = lettersOf(password)
  if (NUMBERS.test(password) || COMMON.has(letters) || COMMON.has(halfOf(letters))) {
    return 'is among the passwords that are tried first'
  }
  const parts = known.flatMap((text) => [text, ...text.split('@')]).map(lettersOf)
  return parts.some((part) => part.length > 2 && letters === part) ? 'is your own name or address' : null
}

/** Small letters alone, digits that stand for letters read as such. */
function lettersOf(text: string): string {
  const read = text.toLowerCase().replaceAll('0', 'o').replaceAll('@', 'a').replaceAll('$', 's')
  return read.replace(/\P{L}/gu, '')
}

/** What a text repeats (`abcabc` is `abc`), else the text. */
function halfOf(text: string): string {
  for (let length = 1; length <= text.length / 2; length++) {
    const part = text.slice(0, length)
    if (text.length % length === 0 && part.repeat(text.length / length) === text) return part
  }
  return text
}

/** `123456789012`, `abcdefghijkl`: every character next to the one before, but for a step back to the beginning. */
function isRun(characters: readonly string[]): boolean {
  let steps = 0
  for (let i = 1; i < characters.length; i++) {
    const step = (characters[i]?.codePointAt(0) ?? 0) - (characters[i - 1]?.codePointAt(0) ?? 0)
    if (step === 1 || step === -1) steps++
  }
  return steps >= characters.length - 2
}
