import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Noise } from './noise.js'

/** One decision that a caller was told. */
export interface Acknowledged {
  readonly id: string
  readonly index: number
  readonly allowed: boolean
  /** Milliseconds from sending to the end of the answer. */
  readonly ms: number
  /** When the answer had been read (`performance.now()`). */
  readonly at: number
}

export type Failure =
  /** Nobody listens: nothing was sent, so a balancer may try elsewhere. */
  | 'refused'
  /** The connection ended before the answer was complete. */
  | 'broken'
  /** No answer within `HANG_MS`. */
  | 'hung'

/** Far beyond the service's own deadline of 2 s: whoever is not answered by then was left hanging. */
const HANG_MS = 6_000

export interface LoadOptions {
  /** Where to send; asked before every request. Undefined: nobody takes requests now, ask again soon. */
  readonly target: () => string | undefined
  readonly connections: number
  /** Key of the agent that asks, and what it asks; called before every request. */
  readonly request: () => { readonly key: string; readonly body: string }
  /** Requests a second over all connections; absent: as fast as the answers come. */
  readonly rate?: number
  /** After that many requests the load ends by itself. */
  readonly total?: number
  /** Told of every failure and of every answer that says `Connection: close`: a balancer stops sending there. */
  readonly leave?: (target: string) => void
}

/** Keep-alive load on `POST /enforce` that remembers everything it was told. */
export class Load {
  readonly acknowledged: Acknowledged[] = []
  readonly statuses = new Map<number, number>()
  /** Codes of answers that were 503. */
  readonly refusals = new Set<string>()
  readonly failures: Record<Failure, number> = { refused: 0, broken: 0, hung: 0 }
  /** The slowest answer of any status, and bodies of answers that are neither 200 nor 503. */
  slowest_ms = 0
  readonly odd: string[] = []
  sent = 0
  private readonly agent: Agent
  private readonly workers: Promise<void>[]
  private readonly noise = new Noise()
  private ended = false
  private readonly began = performance.now()

  constructor(private readonly options: LoadOptions) {
    this.agent = new Agent({ keepAlive: true, maxSockets: options.connections })
    this.workers = Array.from({ length: options.connections }, () => this.work())
  }

  /** What the machine adds to any answer. */
  get noise_ms(): number {
    return this.noise.most_ms
  }

  /** Ends after the requests in flight. */
  async stop(): Promise<void> {
    this.ended = true
    await this.finished()
  }

  /** Resolves when `total` requests have been answered. */
  async finished(): Promise<void> {
    await Promise.all(this.workers)
    await this.noise.stop()
    this.agent.destroy()
  }

  /** Resolves when `count` more decisions have been acknowledged. */
  async more(count: number, timeout_ms = 30_000): Promise<number> {
    const began = performance.now()
    const wanted = this.acknowledged.length + count
    while (this.acknowledged.length < wanted && !this.ended) {
      if (performance.now() - began > timeout_ms)
        throw new Error(`no ${count} decisions within ${timeout_ms} ms: ${this.summary()}`)
      await sleep(5)
    }
    return performance.now() - began
  }

  summary(): string {
    const statuses = [...this.statuses].map(([status, count]) => `${status}: ${count}`).join(', ')
    const { refused, broken, hung } = this.failures
    return `${this.acknowledged.length} acknowledged (${statuses}; refused ${refused}, broken ${broken}, hung ${hung}; slowest ${Math.round(this.slowest_ms)} ms, noise ${Math.round(this.noise_ms)} ms)`
  }

  private async work(): Promise<void> {
    const { target, total = Infinity, rate } = this.options
    while (!this.ended && this.sent < total) {
      const url = target()
      if (url === undefined) {
        await sleep(5)
        continue
      }
      const number = this.sent++
      if (rate !== undefined) {
        const wait = (number / rate) * 1_000 - (performance.now() - this.began)
        if (wait > 1) await sleep(wait)
      }
      const failure = await this.one(url)
      if (failure === undefined) continue
      this.failures[failure]++
      this.options.leave?.(url)
      if (failure === 'refused') this.sent-- // it never left: somebody else gets it
      await sleep(failure === 'refused' ? 50 : 10)
    }
  }

  private one(url: string): Promise<Failure | undefined> {
    const { key, body } = this.options.request()
    return new Promise((resolve) => {
      const began = performance.now()
      const outgoing = request(
        `${url}/enforce`,
        {
          method: 'POST',
          agent: this.agent,
          headers: {
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(body),
            'x-agent-key': key,
          },
          timeout: HANG_MS,
        },
        (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.on('error', () => resolve('broken'))
          response.on('end', () => {
            if (!response.complete) return resolve('broken')
            if (response.headers.connection === 'close') this.options.leave?.(url)
            this.answered(
              response.statusCode ?? 0,
              Buffer.concat(chunks).toString(),
              performance.now() - began,
            )
            resolve(undefined)
          })
        },
      )
      outgoing.on('timeout', () => {
        resolve('hung')
        outgoing.destroy()
      })
      outgoing.on('error', (error: NodeJS.ErrnoException) =>
        resolve(error.code === 'ECONNREFUSED' ? 'refused' : 'broken'),
      )
      outgoing.end(body)
    })
  }

  private answered(status: number, text: string, ms: number): void {
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
    if (ms > this.slowest_ms) this.slowest_ms = ms
    if (status !== 200) {
      if (status === 503) this.refusals.add((JSON.parse(text) as { code: string }).code)
      if (status !== 503 && this.odd.length < 20) this.odd.push(`${status} ${text}`)
      return
    }
    const { decision_id, allowed, log } = JSON.parse(text) as {
      decision_id: string
      allowed: boolean
      log: { index: number }
    }
    this.acknowledged.push({ id: decision_id, index: log.index, allowed, ms, at: performance.now() })
  }
}
