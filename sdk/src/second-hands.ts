import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { Piece } from '../../src/core/ledger/pieces.js'
import type { Batch } from './lines.js'

const WORKER = path.join(path.dirname(fileURLToPath(import.meta.url)), 'check-worker.js')
/** Pieces of 256 KB under way to a worker: enough to keep it busy, little enough to stay small. */
const MOST_WAITING = 3
const MOST_WORKERS = 4

/**
 * Worker threads that run `readPiece` on pieces of a bundle. Whatever goes wrong in a worker is an error of the pieces
 * that it had: nothing is taken as checked that was not.
 */
export class SecondHands {
  private readonly hands: readonly Hand[]

  /** As many as there are processors: whoever hands out the pieces has little to do. */
  constructor(origin: string) {
    const count = Math.min(MOST_WORKERS, availableParallelism())
    this.hands = Array.from({ length: count }, () => new Hand(origin))
  }

  /** Whether they are worth their start: not where one thread is all there is. */
  static get exist(): boolean {
    return availableParallelism() > 1 && existsSync(WORKER)
  }

  /** The pieces of a bundle in its order, some of them under way at a time. @throws what went wrong in a worker */
  async *read(batches: AsyncIterable<Batch>): AsyncGenerator<{ piece: Piece; read: number }> {
    const waiting: { piece: Promise<Piece>; read: number }[] = []
    for await (const { bytes, read } of batches) {
      const hand = this.hands.reduce((least, other) => (other.waiting < least.waiting ? other : least))
      const piece = hand.ask(exactly(bytes))
      piece.catch(() => undefined) // told by whoever waits for it, which may be later
      waiting.push({ piece, read })
      const [first] = waiting
      if (!first || waiting.length < this.hands.length * MOST_WAITING) continue
      waiting.shift()
      yield { piece: await first.piece, read: first.read }
    }
    for (const { piece, read: upto } of waiting) yield { piece: await piece, read: upto }
  }

  async end(): Promise<void> {
    await Promise.all(this.hands.map((hand) => hand.end()))
  }
}

interface Asked {
  readonly resolve: (piece: Piece) => void
  readonly reject: (error: Error) => void
}

/** One worker, which answers in the order in which it was asked. */
class Hand {
  private readonly worker: Worker
  private readonly asked: Asked[] = []
  private failure: Error | null = null

  constructor(origin: string) {
    this.worker = new Worker(WORKER, { workerData: { origin } })
    this.worker.on('message', (piece: Piece) => this.asked.shift()?.resolve(piece))
    this.worker.on('error', (error) => this.fail(error))
    this.worker.on('messageerror', (error) => this.fail(error))
    this.worker.on('exit', (code) => this.fail(new Error(`a worker ended with ${code}`)))
  }

  get waiting(): number {
    return this.asked.length
  }

  /** Gives the bytes away: they are not the caller's any more. */
  ask(bytes: ArrayBuffer): Promise<Piece> {
    return new Promise((resolve, reject) => {
      if (this.failure) return reject(this.failure)
      this.asked.push({ resolve, reject })
      this.worker.postMessage(bytes, [bytes])
    })
  }

  async end(): Promise<void> {
    await this.worker.terminate()
  }

  private fail(error: unknown): void {
    this.failure ??= error instanceof Error ? error : new Error('a worker failed')
    for (const { reject } of this.asked.splice(0)) reject(this.failure)
  }
}

/** The bytes in memory of their own, which can be given away. */
function exactly(bytes: Buffer): ArrayBuffer {
  const { buffer, byteOffset, byteLength } = bytes
  if (buffer instanceof ArrayBuffer && byteOffset === 0 && byteLength === buffer.byteLength) return buffer
  return new Uint8Array(bytes).buffer
}
