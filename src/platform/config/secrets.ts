import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { hasCode } from '../http/error-code.js'
import type { EnvironmentReader } from './environment.js'
import type { SecretSource } from './settings.js'

export const ROOT_KEY_FILE = 'admin-key'
export const LEDGER_KEK_FILE = 'ledger-kek'
export const MIN_ROOT_KEY_LENGTH = 32
const KEK_BYTES = 32

/** Values that stand in documentation and examples: everybody knows them. */
const WELL_KNOWN = [
  'admin-secret-key-change-in-production',
  'your-secure-admin-key-here',
  'change-me-in-production',
  'changeme',
  'test-admin-key',
  'admin-secret-key',
  'secret',
  'admin',
  'password',
]

interface SecretContext {
  readonly reader: EnvironmentReader
  readonly production: boolean
  readonly data_dir: string
}

const GENERATE = 'make one with: openssl rand -base64 32'

/**
 * The root key: `ADMIN_API_KEY`, else `<DATA_DIR>/admin-key`, made on first use. Production takes only the
 * variable, and refuses one that is short, repetitive or printed in some manual.
 */
export function rootKey({ reader, production, data_dir }: SecretContext): [string, SecretSource] {
  const name = 'ADMIN_API_KEY'
  const source: SecretSource = { kind: 'environment', variable: name }
  const value = reader.text(name)
  if (value === undefined) {
    if (!production) return fromFile(data_dir, ROOT_KEY_FILE)
    reader.refuseSecret(name, `is required with NODE_ENV=production: ${GENERATE}`)
    return ['', source]
  }
  if (!/^[\x21-\x7e]+$/.test(value)) {
    reader.refuseSecret(name, 'must be visible ASCII without spaces, because it travels in a header')
  } else if (production) {
    const weakness = rootKeyWeakness(value)
    if (weakness) reader.refuseSecret(name, `${weakness}: ${GENERATE}`)
  }
  return [value, source]
}

function rootKeyWeakness(value: string): string | undefined {
  const lower = value.toLowerCase()
  if (WELL_KNOWN.includes(lower)) return 'is a value from documentation that everybody knows'
  if (value.length < MIN_ROOT_KEY_LENGTH) return `must have at least ${MIN_ROOT_KEY_LENGTH} characters`
  if (new Set(value).size < 8) return 'repeats a few characters and can be guessed'
  if (WELL_KNOWN.some((known) => known.length > 8 && lower.includes(known)))
    return 'contains a value from documentation that everybody knows'
  return undefined
}

/**
 * The key that wraps the ledger's payload keys: `LEDGER_KEK` (base64 of 32 bytes), else `<DATA_DIR>/ledger-kek`.
 * Losing it makes payloads unreadable (proofs stay valid), so production must hold it outside the data folder.
 */
export function ledgerKek({ reader, production, data_dir }: SecretContext): [Uint8Array, SecretSource] {
  const name = 'LEDGER_KEK'
  const source: SecretSource = { kind: 'environment', variable: name }
  const value = reader.text(name)
  if (value === undefined) {
    if (production) {
      reader.refuseSecret(name, `is required with NODE_ENV=production and must be kept: ${GENERATE}`)
      return [new Uint8Array(KEK_BYTES), source]
    }
    const [text, file] = fromFile(data_dir, LEDGER_KEK_FILE)
    const bytes = decodeKek(text)
    if (!bytes)
      reader.refuseSecret(name, `is damaged in ${path.join(data_dir, LEDGER_KEK_FILE)}: restore that file`)
    return [bytes ?? new Uint8Array(KEK_BYTES), file]
  }
  const bytes = decodeKek(value)
  if (!bytes) reader.refuseSecret(name, `must be exactly ${KEK_BYTES} bytes in base64: ${GENERATE}`)
  else if (production && new Set(bytes).size < 8) reader.refuseSecret(name, `can be guessed: ${GENERATE}`)
  return [bytes ?? new Uint8Array(KEK_BYTES), source]
}

/** `LEDGER_KEK_PREVIOUS`: a comma list of former keys, newest first, while things sealed with them remain. */
export function previousKeks(reader: EnvironmentReader): Uint8Array[] {
  const name = 'LEDGER_KEK_PREVIOUS'
  const texts = (reader.text(name) ?? '').split(',').filter((text) => text.trim() !== '')
  return texts.flatMap((text) => {
    const bytes = decodeKek(text.trim())
    if (!bytes) reader.refuseSecret(name, `must be a comma list of keys of ${KEK_BYTES} bytes in base64`)
    return bytes ? [bytes] : []
  })
}

function decodeKek(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64')
  const canonical = bytes.toString('base64') === text || bytes.toString('base64url') === text
  return canonical && bytes.length === KEK_BYTES ? bytes : undefined
}

/**
 * Reads a generated secret, making it when absent. The new file is complete before it has its name (`link` fails
 * when another process was first), so that two starts at once agree on one secret.
 */
function fromFile(data_dir: string, file: string): [string, SecretSource] {
  const target = path.resolve(data_dir, file)
  const existing = readSecret(target)
  if (existing !== undefined) return [existing, { kind: 'file', path: target }]
  fs.mkdirSync(path.dirname(target), { recursive: true })
  const draft = `${target}.${process.pid}.${randomBytes(4).toString('hex')}`
  fs.writeFileSync(draft, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600, flag: 'wx', flush: true })
  try {
    fs.linkSync(draft, target)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
  } finally {
    fs.unlinkSync(draft)
  }
  const secret = readSecret(target)
  if (secret === undefined) throw new Error(`${target} could not be read back`)
  return [secret, { kind: 'file', path: target }]
}

function readSecret(file: string): string | undefined {
  try {
    const text = fs.readFileSync(file, 'utf8').trim()
    if (text === '') throw new Error(`${file} is empty: delete it to have a new secret made`)
    if ((fs.statSync(file).mode & 0o077) !== 0) fs.chmodSync(file, 0o600)
    return text
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}
