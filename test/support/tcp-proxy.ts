import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export type ProxyFault =
  | { readonly kind: 'none' }
  /** Every chunk, in both directions, arrives so many milliseconds later. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** Nothing is passed on, and nothing is closed; what was held back goes on when the fault ends. */
  | { readonly kind: 'stall' }
  /**
   * Half-open: what is open now swallows everything in silence for ever, as after the other host lost its power.
   * Connections that are made later work, unless `new_too`.
   */
  | { readonly kind: 'half_open'; readonly new_too: boolean }
  /** Answers are swallowed, questions arrive: what was asked happens, and nobody hears of it. */
  | { readonly kind: 'deaf' }
  /** Everything open is reset, and new connections are refused with a reset. */
  | { readonly kind: 'reset' }

interface Pair {
  readonly client: Socket
  readonly upstream: Socket
  dead: boolean
  deaf: boolean
}

/** A faulty network between the service and PostgreSQL. */
export class TcpProxy {
  private fault: ProxyFault = { kind: 'none' }
  private readonly pairs = new Set<Pair>()
  private readonly held: (() => void)[] = []
  /** All of them: one whose other side died silently belongs to no pair any more. */
  private readonly sockets = new Set<Socket>()

  private constructor(
    private readonly server: Server,
    private readonly target: number,
  ) {
    server.on('connection', (client) => this.accept(client))
  }

  static async start(target: number): Promise<TcpProxy> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return new TcpProxy(server, target)
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  /** Connections now open. */
  get open(): number {
    return this.pairs.size
  }

  set(fault: ProxyFault): void {
    this.fault = fault
    if (fault.kind === 'half_open') for (const pair of this.pairs) pair.dead = true
    if (fault.kind === 'deaf') for (const pair of this.pairs) pair.deaf = true
    if (fault.kind === 'reset')
      for (const { client, upstream } of this.pairs)
        for (const socket of [client, upstream]) socket.resetAndDestroy()
    if (fault.kind !== 'stall') for (const pass of this.held.splice(0)) pass()
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }

  private accept(client: Socket): void {
    if (this.fault.kind === 'reset') {
      client.on('error', () => {})
      client.resetAndDestroy()
      return
    }
    const upstream = connect(this.target, '127.0.0.1')
    const dead = this.fault.kind === 'half_open' && this.fault.new_too
    const pair: Pair = { client, upstream, dead, deaf: this.fault.kind === 'deaf' }
    this.pairs.add(pair)
    for (const socket of [client, upstream]) {
      this.sockets.add(socket)
      socket.on('close', () => this.sockets.delete(socket))
    }
    client.setNoDelay(true)
    upstream.setNoDelay(true)
    this.pipe(pair, client, upstream, false)
    this.pipe(pair, upstream, client, true)
  }

  private pipe(pair: Pair, from: Socket, to: Socket, answers: boolean): void {
    const silent = (): boolean => pair.dead || (pair.deaf && answers)
    from.on('data', (chunk) => {
      if (!silent()) this.pass(() => !silent() && to.writable && to.write(chunk))
    })
    from.on('error', () => {})
    from.on('close', () => {
      this.pairs.delete(pair)
      if (!silent()) this.pass(() => to.destroy())
    })
  }

  private pass(on: () => void): void {
    if (this.fault.kind === 'stall') this.held.push(on)
    else if (this.fault.kind === 'delay') setTimeout(on, this.fault.ms)
    else on()
  }
}
