import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'

const WORKER = path.join(path.dirname(fileURLToPath(import.meta.url)), 'check-worker.js')
/** Pieces of 256 KB under way to a worker: enough to keep it busy, little enough to stay small. */
const MOST_WAITING = 3
const MOST_WORKERS = 4

/**
 * Worker threads that run `checkAlone` on pieces of a bundle while the caller reads on. A piece that nobody has time
 * for is the caller's own. Whatever goes wrong in a worker is an error of `settled`: nothing is taken as checked that
 * was not.
 */
export class SecondHands {
  private readonly hands: { worker: Worker; waiting: number }[]
  private failure: unknown
  private bad = false
  private wake: () => void = () => undefined

  private constructor(origin: string, count: number) {
    this.hands = Array.from({ length: count }, () => {
      const hand = { worker: new Worker(WORKER, { workerData: { origin } }), waiting: 0 }
      hand.worker.on('message', (good: unknown) => {
        hand.waiting--
        this.bad ||= good !== true
        this.wake()
      })
      const failed = (error: unknown) => {
        this.failure ??= error
        this.wake()
      }
      hand.worker.on('error', failed)
      hand.worker.on('messageerror', failed)
      hand.worker.on('exit', (code) => {
        if (hand.waiting > 0) failed(new Error(`a worker ended with ${code}`))
      })
      return hand
    })
  }

  /** Null where one pair of hands is all there is. */
  static of(origin: string): SecondHands | null {
    const count = Math.min(MOST_WORKERS, availableParallelism() - 1)
    return count > 0 && existsSync(WORKER) ? new SecondHands(origin, count) : null
  }

  /** Whether something was wrong with a piece so far. */
  get foundFault(): boolean {
    return this.bad
  }

  /** Gives the bytes away when somebody has time for them; they are not the caller's any more then. */
  take(bytes: ArrayBuffer): boolean {
    const hand = this.hands.find(({ waiting }) => waiting < MOST_WAITING)
    if (!hand || this.failure !== undefined) return false
    hand.waiting++
    hand.worker.postMessage(bytes, [bytes])
    return true
  }

  /** Resolves when every piece was answered: true when all were good. @throws what went wrong in a worker */
  async settled(): Promise<boolean> {
    while (this.failure === undefined && this.hands.some(({ waiting }) => waiting > 0)) {
      await new Promise<void>((resolve) => (this.wake = resolve))
    }
    if (this.failure !== undefined)
      throw this.failure instanceof Error ? this.failure : new Error('a worker failed')
    return !this.bad
  }

  async end(): Promise<void> {
    await Promise.all(this.hands.map(({ worker }) => worker.terminate()))
  }
}
