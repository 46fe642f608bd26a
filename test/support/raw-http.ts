import { connect } from 'node:net'

/** A request as it goes over the wire: nothing is added, checked or reordered. */
export interface RawRequest {
  readonly method: string
  readonly target: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: Buffer
  /** Whether the body leaves a moment after the head. */
  readonly late?: boolean
}

export interface RawAnswer {
  readonly status: number
  /** In the order and spelling in which they came. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly text: string
}

/** Sends one request on a connection of its own and reads the final answer to it; 1xx answers are skipped. */
export function sendRaw(url: string, request: RawRequest): Promise<RawAnswer> {
  const { hostname, port } = new URL(url)
  const head = [
    `${request.method} ${request.target} HTTP/1.1`,
    ...request.headers.map(([name, value]) => `${name}: ${value}`),
  ]
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0)
    const socket = connect({ host: hostname, port: Number(port), noDelay: true }, () => {
      const start = Buffer.from(`${head.join('\r\n')}\r\n\r\n`)
      if (!request.late) return socket.write(Buffer.concat([start, request.body]))
      socket.write(start)
      return setTimeout(() => socket.write(request.body), 3)
    })
    socket.setTimeout(60_000, () => socket.destroy(new Error(`no answer: ${received.toString()}`)))
    socket.on('error', reject)
    socket.on('close', () => reject(new Error(`closed before the whole answer: ${received.toString()}`)))
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      const answer = parse(received)
      if (!answer) return
      resolve(answer)
      socket.removeAllListeners('close').destroy()
    })
  })
}

function parse(bytes: Buffer): RawAnswer | null {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) return null
  const [line = '', ...lines] = bytes.subarray(0, end).toString('latin1').split('\r\n')
  const status = Number(line.split(' ')[1])
  if (status < 200) return parse(bytes.subarray(end + 4))
  const headers = lines.map((text) => {
    const colon = text.indexOf(':')
    return [text.slice(0, colon), text.slice(colon + 1).trim()] as const
  })
  const length = Number(headers.find(([name]) => name.toLowerCase() === 'content-length')?.[1] ?? 0)
  const body = bytes.subarray(end + 4)
  return body.length < length ? null : { status, headers, text: body.subarray(0, length).toString() }
}
