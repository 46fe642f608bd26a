import cluster, { type Worker } from 'node:cluster'
import { AggregatorRegistry } from 'prom-client'
import type { Logger } from 'pino'
import type { CounterReport } from '../throttling/counter-exchange.js'
import { Conversation } from './conversation.js'
import { CounterTotals } from './counter-totals.js'

const MINUTE_MS = 60_000
/** Ends within a minute, a worker, from which on the service is broken and says so by ending itself. */
const ENDS_A_MINUTE = 6
const FIRST_WAIT_MS = 100
const LONGEST_WAIT_MS = 5_000
/** A scrape must not hang on a worker that is busy: it is left out then. */
const SCRAPE_MS = 1_000

/**
 * The first process of a service with several workers: it answers no request itself. It forks the workers, gives them
 * what they start from, forks one again that ended, and is where they share counters and metrics.
 */
export class Primary {
  private readonly workers = new Map<number, { worker: Worker; line: Conversation; ready: boolean }>()
  private readonly totals = new CounterTotals()
  private readonly ends: number[] = []
  private readonly timers = new Set<NodeJS.Timeout>()
  private stopping = false
  private ever_ready = false
  private broken: (error: Error) => void = () => {}
  private all_ready: (url: string) => void = () => {}

  /** Rejects when workers cannot be kept running. */
  readonly failure = new Promise<never>((_, reject) => (this.broken = reject))
  /** Resolves with the address when all workers answer for the first time. */
  readonly ready = new Promise<string>((resolve) => (this.all_ready = resolve))

  /**
   * @param count of workers
   * @param given what every worker starts from; it travels on the channel, not in the environment
   */
  constructor(
    private readonly count: number,
    private readonly given: unknown,
    private readonly log: Logger,
  ) {
    this.failure.catch(() => {})
  }

  start(): void {
    for (let number = 1; number <= this.count; number++) this.fork(number)
  }

  /** Tells every worker to leave; resolves when all have ended. */
  async stop(): Promise<void> {
    this.stopping = true
    for (const timer of this.timers) clearTimeout(timer)
    await Promise.all(
      [...this.workers.values()].map(async ({ worker, line }) => {
        const ended = new Promise((resolve) => worker.once('exit', resolve))
        line.ask('stop', null, SCRAPE_MS).catch(() => worker.kill('SIGTERM'))
        await ended
      }),
    )
  }

  private fork(number: number): void {
    const worker = cluster.fork({ AGENTGUARD_WORKER: String(number) })
    const line = new Conversation(worker)
    const state = { worker, line, ready: false }
    this.workers.set(number, state)
    const name = `${number}/${worker.process.pid}`
    line.answer('start', () => this.given)
    line.answer('ready', (url: string) => {
      state.ready = this.ever_ready = true
      if (this.workers.size === this.count && [...this.workers.values()].every(({ ready }) => ready))
        this.all_ready(url)
    })
    line.answer('counters', (reports: CounterReport[]) => this.totals.report(name, reports))
    line.answer('metrics', () => this.metrics())
    worker.once('exit', (code, signal) => this.ended(number, signal ?? `code ${code}`))
  }

  private ended(number: number, how: string): void {
    this.workers.delete(number)
    if (this.stopping) return
    const now = performance.now()
    this.ends.push(now)
    while ((this.ends[0] ?? now) < now - MINUTE_MS) this.ends.shift()
    if (!this.ever_ready || this.ends.length > ENDS_A_MINUTE * this.count) {
      this.broken(new Error(`worker ${number} ended (${how}) and cannot be kept running`))
      return
    }
    const wait_ms = Math.min(FIRST_WAIT_MS * 2 ** (this.ends.length - 1), LONGEST_WAIT_MS)
    this.log.error(`worker ${number} ended (${how}); another one starts in ${wait_ms} ms`)
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      this.fork(number)
    }, wait_ms)
    this.timers.add(timer)
  }

  /** The metrics of all workers as of one service. */
  private async metrics(): Promise<string> {
    const answers = await Promise.allSettled(
      [...this.workers.values()]
        .filter(({ ready }) => ready)
        .map(({ line }) => line.ask<object[]>('metrics', null, SCRAPE_MS)),
    )
    const all = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
    return AggregatorRegistry.aggregate(all).metrics()
  }
}
