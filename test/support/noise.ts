import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

/** A server that has nothing to do, with an event loop of its own: whoever waits for it waits for the machine. */
const IDLE_SERVER = `
const { createServer } = require('node:http')
const { parentPort } = require('node:worker_threads')
const server = createServer((_, response) => response.end()).listen(0, '127.0.0.1', () => {
  parentPort.postMessage(server.address().port)
})`

/**
 * What the machine, with whatever else it does, adds to any answer: the slowest of one that needs nothing of the
 * product, asked for ten times a second from where the load comes from.
 */
export class Noise {
  most_ms = 0
  private over = false
  private readonly worker = new Worker(IDLE_SERVER, { eval: true })
  private readonly probing = this.probe()

  async stop(): Promise<void> {
    this.over = true
    await this.probing
    await this.worker.terminate()
  }

  private async probe(): Promise<void> {
    const port = await new Promise<number>((resolve) => this.worker.once('message', resolve))
    for (; !this.over; await sleep(100)) {
      const began = performance.now()
      await (await fetch(`http://127.0.0.1:${port}/`)).text()
      this.most_ms = Math.max(this.most_ms, performance.now() - began)
    }
  }
}
