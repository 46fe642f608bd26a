import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto'
import fs from 'node:fs'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { hasCode } from '../platform/http/error-code.js'

export const KEY_FILE = 'key.pem'
export const MEMORY_FILE = 'signed.jsonl'

/** Lines beyond this many for every log are dropped by writing the file anew. */
const LINES_A_LOG = 50
const LINES_AT_LEAST = 10_000

/** The last that was signed of one log. */
export interface Remembered {
  readonly origin: string
  readonly size: number
  /** Base64 of the root. */
  readonly root: string
  /** Why it is not signed any more. */
  readonly halted?: string
}

/**
 * The folder of the signer (ledger.md, Signing): its key, and the size and root it last signed of every log. It lies
 * outside the database, so that a database which was restored or rewritten cannot be signed again as if nothing had
 * happened. The memory is a file of lines that only grows: one write and one fsync before signatures leave, however
 * many they are. A last line that is not whole was being written at a crash, so nothing it names was ever signed.
 */
export class SignerMemory {
  private readonly logs = new Map<string, Remembered>()
  private lines = 0
  private bytes = 0

  private constructor(
    private readonly dir: string,
    readonly key: KeyObject,
  ) {}

  /**
   * Opens the folder; makes it, and the key, at the first use.
   * @throws Error with what to do when the folder cannot be used or its memory is damaged
   */
  static open(dir: string): SignerMemory {
    fs.mkdirSync(dir, { recursive: true, mode: 0o700 })
    const memory = new SignerMemory(dir, openKey(dir))
    memory.load()
    return memory
  }

  /** The raw Ed25519 public key, 32 bytes. */
  get public_key(): Buffer {
    const { x } = createPublicKey(this.key).export({ format: 'jwk' })
    return Buffer.from(x ?? '', 'base64url')
  }

  of(origin: string): Remembered | undefined {
    return this.logs.get(origin)
  }

  all(): Remembered[] {
    return [...this.logs.values()]
  }

  /**
   * Writes what is about to be signed, and returns when it is on disk. Signatures may leave only after that.
   * @throws Error when another process has written here since: two signers must not share a folder
   */
  async remember(signed: readonly Remembered[]): Promise<void> {
    if (signed.length === 0) return
    const file = path.join(this.dir, MEMORY_FILE)
    const handle = await open(file, 'a', 0o600)
    try {
      if ((await handle.stat()).size !== this.bytes) {
        this.load()
        throw new Error(`${file} was written by another process: one signer a folder`)
      }
      const text = Buffer.from(signed.map((log) => `${JSON.stringify(log)}\n`).join(''))
      await handle.writeFile(text)
      await handle.sync()
      this.bytes += text.length
      this.lines += signed.length
    } finally {
      await handle.close()
    }
    for (const log of signed) this.logs.set(log.origin, log)
    if (this.lines > LINES_AT_LEAST + LINES_A_LOG * this.logs.size) this.compact()
  }

  /** The newest line of every log, in a new file that takes the name at once. */
  private compact(): void {
    const text = Buffer.from(
      this.all()
        .map((log) => `${JSON.stringify(log)}\n`)
        .join(''),
    )
    writeWhole(path.join(this.dir, MEMORY_FILE), text)
    this.bytes = text.length
    this.lines = this.logs.size
  }

  /**
   * Reads the memory as it is on disk now.
   * @param mend for the one process that may sign now: a last line that is not whole is dropped. For any other it may
   * be a line that is just being written.
   */
  load(mend = false): void {
    const file = path.join(this.dir, MEMORY_FILE)
    const text = fs.existsSync(file) ? fs.readFileSync(file) : Buffer.alloc(0)
    const whole = text.lastIndexOf('\n') + 1
    this.logs.clear()
    this.lines = 0
    for (const line of text.subarray(0, whole).toString().split('\n').slice(0, -1)) {
      const log = parseLine(line)
      if (!log)
        throw new Error(`${file} is damaged at line ${this.lines + 1}: restore the folder of the signer`)
      this.logs.set(log.origin, log)
      this.lines++
    }
    if (mend && whole < text.length) writeWhole(file, text.subarray(0, whole))
    this.bytes = whole
  }
}

function parseLine(line: string): Remembered | null {
  try {
    const { origin, size, root, halted } = JSON.parse(line) as Partial<Record<keyof Remembered, unknown>>
    if (typeof origin !== 'string' || typeof root !== 'string') return null
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return null
    return { origin, size, root, ...(typeof halted === 'string' && { halted }) }
  } catch {
    return null
  }
}

function openKey(dir: string): KeyObject {
  const file = path.join(dir, KEY_FILE)
  try {
    if ((fs.statSync(file).mode & 0o077) !== 0) fs.chmodSync(file, 0o600)
    const key = createPrivateKey(fs.readFileSync(file))
    if (key.asymmetricKeyType !== 'ed25519') throw new Error(`${file} is not an Ed25519 key`)
    return key
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
  if (fs.existsSync(path.join(dir, MEMORY_FILE))) {
    throw new Error(`${file} is missing beside what it has signed: restore the folder of the signer`)
  }
  const { privateKey } = generateKeyPairSync('ed25519')
  try {
    writeWhole(file, Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' })), 'new')
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
    return openKey(dir) // another worker that starts at this moment was first
  }
  return privateKey
}

/** A file that is whole or not there, also after a crash: its bytes are on disk before it has its name. */
function writeWhole(file: string, bytes: Uint8Array, as: 'new' | 'instead' = 'instead'): void {
  const draft = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`
  const handle = fs.openSync(draft, 'wx', 0o600)
  try {
    fs.writeSync(handle, bytes)
    fs.fsyncSync(handle)
  } finally {
    fs.closeSync(handle)
  }
  if (as === 'instead') fs.renameSync(draft, file)
  else {
    // Unlike a rename, a link replaces nothing.
    try {
      fs.linkSync(draft, file)
    } finally {
      fs.unlinkSync(draft)
    }
  }
  const folder = fs.openSync(path.dirname(file), 'r')
  try {
    fs.fsyncSync(folder)
  } finally {
    fs.closeSync(folder)
  }
}
