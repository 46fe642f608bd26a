import { createHmac, timingSafeEqual } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { until } from './proofs.js'

export interface Received {
  readonly path: string
  readonly headers: http.IncomingHttpHeaders
  readonly text: string
  readonly body: { type: string; timestamp: string; data: Record<string, unknown> }
}

type Answer = (response: http.ServerResponse, request: Received, count: number) => void

/** A real HTTP server that keeps what it gets and answers as it is told. */
export class Receiver {
  readonly received: Received[] = []
  answer: Answer = (response) => response.end()

  private constructor(private readonly server: http.Server) {}

  static async start(answer?: Answer): Promise<Receiver> {
    const server = http.createServer()
    const receiver = new Receiver(server)
    if (answer) receiver.answer = answer
    server.on('request', (request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('error', () => undefined)
      request.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        const got = { path: request.url ?? '', headers: request.headers, text, body: JSON.parse(text) }
        receiver.received.push(got)
        receiver.answer(response, got, receiver.received.length)
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return receiver
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/hook`
  }

  /** Waits until that many requests have arrived. */
  arrived(count: number, timeout_ms = 60_000): Promise<readonly Received[]> {
    return until(async () => (this.received.length >= count ? this.received : null), timeout_ms)
  }

  get events(): string[] {
    return this.received.map(({ body }) => body.type)
  }

  close(): Promise<void> {
    this.server.closeAllConnections()
    return new Promise((resolve) => this.server.close(() => resolve()))
  }
}

/**
 * A verifier of Standard Webhooks as a receiver would write it from the specification, sharing nothing with ours.
 * @returns whether one of the signatures is made with the secret, and the message is not older than five minutes
 */
export function verifyStandardWebhook(
  secret: string,
  headers: http.IncomingHttpHeaders | Record<string, string>,
  body: string,
  now_s = Date.now() / 1000,
): boolean {
  const id = String(headers['webhook-id'])
  const timestamp = String(headers['webhook-timestamp'])
  if (!/^\d+$/.test(timestamp) || Math.abs(now_s - Number(timestamp)) > 300) return false
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
  const wanted = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`, 'utf8').digest()
  return String(headers['webhook-signature'])
    .split(' ')
    .some((part) => {
      const [version, signature = ''] = part.split(',')
      const given = Buffer.from(signature, 'base64')
      return version === 'v1' && given.length === wanted.length && timingSafeEqual(given, wanted)
    })
}
