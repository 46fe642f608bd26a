import { sign } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  cosignatureMessage,
  encodeCosignature,
  formatSignature,
  formatVerifierKey,
  makeVerifierKey,
  type VerifierKey,
} from '../../src/core/ledger/note.js'
import { isKeyOf } from '../../src/core/ledger/receipt.js'
import { decodeUtf8 } from '../../src/core/ledger/utf8.js'
import { judgeCheckpoint, parseAddCheckpoint, type WitnessVerdict } from '../../src/core/ledger/witness.js'
import { readKeys } from './check.js'
import { TOOLS } from './crypto.js'
import { UsageError } from './usage.js'
import { WitnessMemory } from './witness-memory.js'

export interface WitnessArguments {
  readonly dir: string
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string
  /** Keys of logs, as text or files. */
  readonly log_keys: readonly string[]
  /** The only logs to be witnessed; empty: every log that a key is for. */
  readonly origins: readonly string[]
  /** Of the key; absent: made from the key. */
  readonly name: string | undefined
}

const PATH = '/add-checkpoint'
/** A proof of 63 hashes and a note of many cosignatures have less than a tenth of it. */
const MAX_BODY_BYTES = 64 * 1024
/** Each log takes a file; whoever holds a log key could otherwise make as many as they like. */
const MOST_LOGS = 100_000
const TIMEOUT_MS = 10_000

/** `agentguard witness`: cosigns checkpoints of logs that only grow (C2SP tlog-witness), until it is told to end. */
export async function witnessCommand(given: WitnessArguments): Promise<number> {
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(given.listen) ?? []
  if (host === undefined || Number(port) > 65_535) throw new UsageError('--listen <host>:<port>')
  const log_keys = given.log_keys.flatMap((key) => readKeys(key, '--log-key'))
  if (log_keys.length === 0) throw new UsageError('Say which logs: --log-key <vkey|file>, once or more.')
  const memory = WitnessMemory.open(given.dir)
  try {
    const witness = new Witness(memory, keyOf(memory, given.name), log_keys, given.origins)
    const server = createServer((request, response) => void witness.answer(request, response))
    server.requestTimeout = TIMEOUT_MS
    server.headersTimeout = TIMEOUT_MS
    await listening(server, host.replace(/^\[(.*)\]$/, '$1'), Number(port))
    const { address, port: taken, family } = server.address() as AddressInfo
    const url = `http://${family === 'IPv6' ? `[${address}]` : address}:${taken}`
    process.stdout.write(`${JSON.stringify({ url, vkey: witness.vkey })}\n`)
    await ended(server)
    return 0
  } finally {
    memory.close()
  }
}

function keyOf(memory: WitnessMemory, name: string | undefined): VerifierKey {
  const { public_key } = memory
  try {
    const own = name ?? `agentguard-witness/${public_key.toString('hex', 0, 8)}`
    return makeVerifierKey(TOOLS.sha256, own, 'cosignature', public_key)
  } catch (error) {
    throw new UsageError(`--name: ${(error as Error).message}.`)
  }
}

class Witness {
  constructor(
    private readonly memory: WitnessMemory,
    private readonly key: VerifierKey,
    private readonly log_keys: readonly VerifierKey[],
    private readonly origins: readonly string[],
  ) {}

  get vkey(): string {
    return formatVerifierKey(this.key)
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url !== PATH) return send(response, 404, `There is only POST ${PATH}.\n`)
    if (request.method !== 'POST') {
      response.setHeader('Allow', 'POST')
      return send(response, 405, 'Only POST.\n')
    }
    const body = await bodyOf(request)
    if (body === 'too_large') {
      response.setHeader('Connection', 'close')
      return send(response, 413, 'The request is larger than 64 KiB.\n')
    }
    if (body === 'aborted') return
    const text = decodeUtf8(body)
    if (text === undefined) return send(response, 400, 'The request is not UTF-8.\n')
    try {
      this.send(response, this.judge(text), text)
    } catch (error) {
      // What could not be remembered is not cosigned.
      process.stderr.write(`${JSON.stringify({ error: String(error) })}\n`)
      send(response, 500, 'The checkpoint could not be remembered.\n')
    }
  }

  /** Judges and remembers in one turn of the event loop, so that no other request comes in between. */
  private judge(text: string): WitnessVerdict {
    const verdict = judgeCheckpoint(
      TOOLS,
      text,
      (origin) => this.keysOf(origin),
      (origin) => this.memory.of(origin),
    )
    if (verdict.status === 200) this.memory.remember(verdict.checkpoint.origin, verdict.checkpoint)
    return verdict
  }

  private keysOf(origin: string): readonly VerifierKey[] {
    if (this.origins.length > 0 && !this.origins.includes(origin)) return []
    if (this.memory.of(origin) === undefined && this.memory.size >= MOST_LOGS) return []
    return this.log_keys.filter(({ name }) => isKeyOf(name, origin))
  }

  private send(response: ServerResponse, verdict: WitnessVerdict, request: string): void {
    switch (verdict.status) {
      case 200:
        return send(response, 200, this.cosign(verdict.text))
      case 409:
        if (verdict.fork) this.report(request)
        return send(response, 409, `${verdict.size}\n`, 'text/x.tlog.size')
      default:
        return send(response, verdict.status, `${verdict.detail}\n`)
    }
  }

  private cosign(text: string): string {
    const { name, id } = this.key
    const time = Math.floor(Date.now() / 1000)
    const signature = sign(null, cosignatureMessage(text, time), this.memory.key)
    return formatSignature({ name, id, signature: encodeCosignature(time, signature) })
  }

  private report(request: string): void {
    const parsed = parseAddCheckpoint(request)
    if (!parsed.ok) return
    const { checkpoint } = parsed.value
    this.memory.keepFork(checkpoint)
    process.stderr.write(`${JSON.stringify({ fork: checkpoint })}\n`)
  }
}

function bodyOf(request: IncomingMessage): Promise<Buffer | 'too_large' | 'aborted'> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    let size = 0
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > MAX_BODY_BYTES)
        resolve('too_large') // what still comes is read and dropped
      else chunks.push(chunk)
    })
    request.on('end', () => resolve(Buffer.concat(chunks)))
    request.on('close', () => resolve('aborted'))
  })
}

function send(
  response: ServerResponse,
  status: number,
  body: string,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) }).end(body)
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(new UsageError(`Cannot listen on ${host}:${port}: ${error.message}`)),
    )
    server.listen(port, host, resolve)
  })
}

/** Until SIGTERM or SIGINT, and until the answers under way have left. */
function ended(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      server.close(() => resolve())
      server.closeIdleConnections()
    }
    process.once('SIGTERM', end)
    process.once('SIGINT', end)
  })
}
