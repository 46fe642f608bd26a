import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { loadSettings } from './load-settings.js'
import { ConfigurationError } from './settings.js'

const STRONG_KEY = 'Zk3vQ9xLr7TnB2mWc8HsJd4FgYpA6eUo'
const KEK = Buffer.from(Array.from({ length: 32 }, (_, index) => index * 5)).toString('base64')
const PRODUCTION = { NODE_ENV: 'production', ADMIN_API_KEY: STRONG_KEY, LEDGER_KEK: KEK }

let data_dir: string
beforeEach(() => {
  data_dir = fs.mkdtempSync(path.join(os.tmpdir(), 'settings-'))
})
afterEach(() => fs.rmSync(data_dir, { recursive: true, force: true }))

function problems(environment: Record<string, string>): readonly string[] {
  try {
    loadSettings({ DATA_DIR: data_dir, ...environment })
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems
    throw error
  }
  return []
}

describe('in production', () => {
  it('starts with a strong key and a ledger key (the control)', () => {
    expect(problems(PRODUCTION)).toEqual([])
  })

  it.each([
    ['absent', '', 'is required'],
    ['the default of the documentation', 'admin-secret-key-change-in-production', 'everybody knows'],
    ['the default with something added', 'admin-secret-key-change-in-production-1', 'everybody knows'],
    ['short', STRONG_KEY.slice(1), 'at least 32'],
    ['repetitive', 'ab'.repeat(20), 'can be guessed'],
    ['not fit for a header', `${STRONG_KEY} ä`, 'visible ASCII'],
  ])('refuses a root key that is %s, without printing it', (_, key, reason) => {
    const found = problems({ ...PRODUCTION, ADMIN_API_KEY: key })
    expect(found).toHaveLength(1)
    expect(found[0]).toMatch(/^ADMIN_API_KEY /)
    expect(found[0]).toContain(reason)
    if (key) expect(found[0]).not.toContain(key)
  })

  it('needs LEDGER_KEK of exactly 32 bytes', () => {
    expect(problems({ ...PRODUCTION, LEDGER_KEK: '' })[0]).toContain('LEDGER_KEK is required')
    expect(problems({ ...PRODUCTION, LEDGER_KEK: 'short' })[0]).toContain('exactly 32 bytes')
    expect(problems({ ...PRODUCTION, LEDGER_KEK: Buffer.alloc(32).toString('base64') })[0]).toContain(
      'guessed',
    )
  })

  it('makes no secret files', () => {
    problems({ NODE_ENV: 'production' })
    expect(fs.readdirSync(data_dir)).toEqual([])
  })
})

describe('in development', () => {
  it('makes both secrets with mode 600 and uses them again', () => {
    const first = loadSettings({ DATA_DIR: data_dir })
    const second = loadSettings({ DATA_DIR: data_dir })
    expect(second.admin_api_key).toBe(first.admin_api_key)
    expect(second.ledger_kek).toEqual(first.ledger_kek)
    expect(Buffer.from(first.admin_api_key, 'base64')).toHaveLength(32)
    expect(fs.readdirSync(data_dir).sort()).toEqual(['admin-key', 'ledger-kek'])
    for (const file of ['admin-key', 'ledger-kek'])
      expect(fs.statSync(path.join(data_dir, file)).mode & 0o777).toBe(0o600)
    expect(first.admin_api_key_source).toEqual({ kind: 'file', path: path.join(data_dir, 'admin-key') })
  })

  it('closes a secret file that others could read', () => {
    const { admin_api_key } = loadSettings({ DATA_DIR: data_dir })
    fs.chmodSync(path.join(data_dir, 'admin-key'), 0o644)
    expect(loadSettings({ DATA_DIR: data_dir }).admin_api_key).toBe(admin_api_key)
    expect(fs.statSync(path.join(data_dir, 'admin-key')).mode & 0o777).toBe(0o600)
  })

  it('leaves no files behind when something else is wrong', () => {
    problems({ PORT: 'x' })
    expect(fs.readdirSync(data_dir)).toEqual([])
  })
})

it('reports every bad variable at once, each by name', () => {
  const found = problems({
    PORT: '80x',
    LOG_LEVEL: 'loud',
    RATE_LIMITS: 'enforce=many',
    RATE_LIMIT_ENABLED: 'maybe',
    CORS_ORIGINS: 'app.example.com',
    DATABASE_URL: 'mysql://root:hunter2@db/x',
    METRICS_TOKEN: 'short',
    API_KEY_PREFIX: 'adk_',
    LEDGER_ORIGIN: 'https://logs.example.com',
    TRUST_PROXY_HEADERS: 'everyone',
  })
  for (const name of [
    'PORT',
    'LOG_LEVEL',
    'RATE_LIMITS',
    'RATE_LIMIT_ENABLED',
    'CORS_ORIGINS',
    'DATABASE_URL',
  ])
    expect(found.some((problem) => problem.startsWith(name))).toBe(true)
  expect(found).toHaveLength(10)
  expect(found.join()).not.toContain('hunter2')
})

it('reads limits, proxies and the words of other log systems', () => {
  const settings = loadSettings({
    DATA_DIR: data_dir,
    RATE_LIMITS: 'enforce=100000/60, admin_read=5/second;10/hour',
    RATE_LIMIT_DEFAULT: '7/minute',
    TRUST_PROXY_HEADERS: 'true',
    LOG_LEVEL: 'WARNING',
    PORT: '',
  })
  expect(settings.rate_limits.enforce).toEqual([{ name: 'enforce', limit: 100_000, seconds: 60 }])
  expect(settings.rate_limits.admin_read.map(({ limit, seconds }) => [limit, seconds])).toEqual([
    [5, 1],
    [10, 3600],
  ])
  expect(settings.rate_limits.default).toEqual([{ name: 'default', limit: 7, seconds: 60 }])
  expect(settings.rate_limits.health).toEqual([{ name: 'health', limit: 100, seconds: 60 }])
  expect(settings).toMatchObject({ trust_proxy_headers: 1, log_level: 'warn', port: 8000, host: '127.0.0.1' })
})

it('reads how tokens are signed and how long they live', () => {
  expect(loadSettings({ DATA_DIR: data_dir })).toMatchObject({
    jwt_algorithm: 'EdDSA',
    jwt_agent_expire_s: 3600,
    jwt_admin_expire_s: 28_800,
  })
  const JWT_ALGORITHM = 'RS256'
  const own = loadSettings({ DATA_DIR: data_dir, JWT_ALGORITHM, JWT_AGENT_EXPIRE_SECONDS: '60' })
  expect([own.jwt_algorithm, own.jwt_agent_expire_s]).toEqual(['RS256', 60])
  for (const wrong of [
    { JWT_ALGORITHM: 'none' },
    { JWT_ALGORITHM: 'HS256' },
    { JWT_AGENT_EXPIRE_SECONDS: '0' },
    { JWT_ADMIN_EXPIRE_SECONDS: '86401' },
  ]) {
    expect(() => loadSettings({ DATA_DIR: data_dir, ...wrong })).toThrow(Object.keys(wrong)[0])
  }
})

describe('the folder of the signer', () => {
  const dir = (environment: Record<string, string>) =>
    loadSettings({ DATA_DIR: data_dir, ...environment }).ledger_signer_dir

  it('is made beside the embedded database in development, and named by the operator anywhere else', () => {
    expect(dir({})).toBe(path.join(data_dir, 'signer'))
    expect(dir({ DATABASE_URL: 'postgresql://localhost/agentguard' })).toBeUndefined()
    expect(dir(PRODUCTION)).toBeUndefined()
    expect(dir({ ...PRODUCTION, LEDGER_SIGNER_DIR: '/signer' })).toBe('/signer')
  })
})

describe('witnesses', () => {
  const WITNESS = 'w.example/1+bcd5f9c1+BAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f'
  const load = (LEDGER_WITNESSES: string, LEDGER_WITNESS_QUORUM = '0') =>
    loadSettings({ DATA_DIR: data_dir, ...PRODUCTION, LEDGER_WITNESSES, LEDGER_WITNESS_QUORUM })

  it('are an address and a key each', () => {
    const { ledger_witnesses, ledger_witness_quorum } = load(`https://w.example/one/  ${WITNESS}`, '1')
    expect([ledger_witnesses, ledger_witness_quorum]).toEqual([
      [{ url: 'https://w.example/one', vkey: WITNESS }],
      1,
    ])
  })

  it.each([
    'https://w.example',
    WITNESS,
    `ftp://w.example ${WITNESS}`,
    `https://user:word@w.example ${WITNESS}`,
    `https://w.example?to=x ${WITNESS}`,
    `https://w.example ${WITNESS.replace('BAAB', 'AQAB')}`,
    `https://w.example ${WITNESS.replace('bcd5', 'bcd6')}`,
    `https://w.example ${WITNESS}, https://v.example ${WITNESS}`,
  ])('are refused as %s', (text) => {
    expect(problems({ ...PRODUCTION, LEDGER_WITNESSES: text })).toHaveLength(1)
  })

  it('cannot be fewer than must cosign', () => {
    const one = { ...PRODUCTION, LEDGER_WITNESSES: `https://w.example ${WITNESS}` }
    expect(problems({ ...one, LEDGER_WITNESS_QUORUM: '2' })).toHaveLength(1)
    expect(problems({ ...one, LEDGER_WITNESS_QUORUM: '1' })).toEqual([])
  })
})
