import { createPrivateKey, createPublicKey, generateKeyPairSync, hash, type KeyObject } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { decodeBase64, encodeBase64 } from '../../src/core/ledger/base64.js'
import type { Witnessed } from '../../src/core/ledger/witness.js'
import { UsageError } from './usage.js'

const KEY_FILE = 'key.pem'
const LOCK_FILE = 'lock'
const LOGS = 'logs'
const FORKS = 'forks'
/** Contradictions that are kept, so that a dishonest log cannot fill the disk. */
const MOST_FORKS = 1000

/**
 * The folder of a witness: its key, and of each log the newest checkpoint that it cosigned, a file each. One process at
 * a time; a file that cannot be read keeps the witness from starting, since without it the log could be rolled back.
 */
export class WitnessMemory {
  private readonly logs = new Map<string, Witnessed>()

  private constructor(
    private readonly dir: string,
    readonly key: KeyObject,
  ) {}

  /** @throws UsageError when another process has the folder, or it is damaged */
  static open(dir: string): WitnessMemory {
    fs.mkdirSync(path.join(dir, LOGS), { recursive: true, mode: 0o700 })
    fs.mkdirSync(path.join(dir, FORKS), { recursive: true, mode: 0o700 })
    takeLock(path.join(dir, LOCK_FILE))
    const memory = new WitnessMemory(dir, openKey(dir))
    memory.load()
    return memory
  }

  /** The raw Ed25519 public key, 32 bytes. */
  get public_key(): Buffer {
    return Buffer.from(createPublicKey(this.key).export({ format: 'jwk' }).x ?? '', 'base64url')
  }

  get size(): number {
    return this.logs.size
  }

  of(origin: string): Witnessed | undefined {
    return this.logs.get(origin)
  }

  /** Returns when it is on disk: its bytes first, then its name. A cosignature may leave only after that. */
  remember(origin: string, { size, root }: Witnessed): void {
    const line = `${JSON.stringify({ origin, size, root: encodeBase64(root) })}\n`
    writeWhole(path.join(this.dir, LOGS, nameOf(origin)), line)
    this.logs.set(origin, { size, root })
  }

  /** Keeps a genuine checkpoint that contradicts one that was cosigned: evidence against the log. */
  keepFork(note: string): void {
    const folder = path.join(this.dir, FORKS)
    const file = path.join(folder, `${hash('sha256', note)}.txt`)
    if (!fs.existsSync(file) && fs.readdirSync(folder).length < MOST_FORKS) writeWhole(file, note)
  }

  close(): void {
    fs.rmSync(path.join(this.dir, LOCK_FILE), { force: true })
  }

  private load(): void {
    for (const name of fs.readdirSync(path.join(this.dir, LOGS))) {
      if (name.endsWith('.draft')) continue // was being written at a crash: nothing was cosigned after it
      const file = path.join(this.dir, LOGS, name)
      const { origin, size, root } = parse(fs.readFileSync(file, 'utf8'))
      const bytes = decodeBase64(root ?? '')
      if (origin === undefined || nameOf(origin) !== name || size === undefined || bytes?.length !== 32)
        throw new UsageError(`${file} is damaged: restore the folder of the witness.`)
      this.logs.set(origin, { size, root: bytes })
    }
  }
}

const nameOf = (origin: string): string => `${hash('sha256', origin)}.json`

function parse(text: string): { origin?: string; size?: number; root?: string } {
  try {
    const { origin, size, root } = JSON.parse(text) as Record<string, unknown>
    return typeof origin === 'string' && typeof root === 'string' && Number.isSafeInteger(size)
      ? { origin, size: Number(size), root }
      : {}
  } catch {
    return {}
  }
}

function openKey(dir: string): KeyObject {
  const file = path.join(dir, KEY_FILE)
  if (!fs.existsSync(file)) {
    if (fs.readdirSync(path.join(dir, LOGS)).length > 0)
      throw new UsageError(`${file} is missing beside what it has cosigned: restore the folder.`)
    const { privateKey } = generateKeyPairSync('ed25519')
    writeWhole(file, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())
    return privateKey
  }
  const key = createPrivateKey(fs.readFileSync(file))
  if (key.asymmetricKeyType !== 'ed25519') throw new UsageError(`${file} is not an Ed25519 key.`)
  return key
}

/** Two witnesses on one folder would each cosign what the other has moved on from. */
function takeLock(file: string): void {
  try {
    fs.writeFileSync(file, String(process.pid), { flag: 'wx' })
    return
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const holder = Number(fs.readFileSync(file, 'utf8'))
  if (holder !== process.pid && isAlive(holder))
    throw new UsageError(`Process ${holder} uses this folder. If it is no witness, delete ${file}.`)
  fs.rmSync(file, { force: true })
  takeLock(file)
}

function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** A file that is whole or not there, also after a crash. */
function writeWhole(file: string, text: string): void {
  const draft = `${file}.draft`
  const handle = fs.openSync(draft, 'w', 0o600)
  try {
    fs.writeSync(handle, text)
    fs.fsyncSync(handle)
  } finally {
    fs.closeSync(handle)
  }
  fs.renameSync(draft, file)
  const folder = fs.openSync(path.dirname(file), 'r')
  try {
    fs.fsyncSync(folder)
  } finally {
    fs.closeSync(folder)
  }
}
