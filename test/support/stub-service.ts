import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** One request as it arrived. */
export interface Seen {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

export type Respond = (seen: Seen, response: ServerResponse, request: IncomingMessage) => void

/** A small HTTP server that answers as a test says: what a broken network or proxy would make of the service. */
export class StubService {
  readonly seen: Seen[] = []
  respond: Respond = (_, response) => response.writeHead(404).end()
  private readonly server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('error', () => {})
    request.on('end', () => {
      const { method = '', url: path = '', headers } = request
      const seen = { method, path, headers, body: Buffer.concat(chunks).toString() }
      this.seen.push(seen)
      this.respond(seen, response, request)
    })
  })

  static async start(): Promise<StubService> {
    const stub = new StubService()
    await new Promise<void>((done) => stub.server.listen(0, '127.0.0.1', done))
    return stub
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    this.server.closeAllConnections()
    await new Promise((done) => this.server.close(done))
  }
}

export function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, {
    'Content-Type': status < 400 ? 'application/json' : 'application/problem+json',
    ...headers,
  })
  response.end(JSON.stringify(body))
}

let made = 0
/** An answer of `POST /enforce` with an id of its own. */
export const decision = (status: 'allowed' | 'denied' | 'pending', more: object = {}) => ({
  allowed: status === 'allowed',
  status,
  reason: `It is ${status}.`,
  code: status === 'allowed' ? 'allow_rule' : 'deny_rule',
  decision_id: `01900000-0000-7000-8000-${String(++made).padStart(12, '0')}`,
  matched_rule: null,
  policy_version: 1,
  log: { index: made },
  ...more,
})
