import type { IncomingMessage } from 'node:http'

const JSON_TYPES: ReadonlySet<string> = new Set([
  'application/json',
  'application/json; charset=utf-8',
  'application/json;charset=UTF-8',
])

/** What the lane needs of a request of the one shape that it takes. */
export interface PlainRequest {
  readonly agent_key: string
  /** Bytes that the body will have, at least 1. */
  readonly length: number
  readonly request_id: string | undefined
}

/**
 * Reads the headers of a POST with a JSON body of at most `max_bytes` and one agent key; null for every other shape.
 * It looks at the headers as they came: what is sent twice, or could mean that the body, the caller or the answer is
 * not the ordinary one, is left to Express.
 */
export function plainRequest(request: IncomingMessage, max_bytes: number): PlainRequest | null {
  if (request.method !== 'POST') return null
  const { rawHeaders } = request
  let agent_key: string | undefined
  let type: string | undefined
  let bytes: string | undefined
  let request_id: string | undefined
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const value = rawHeaders[i + 1]
    switch ((rawHeaders[i] ?? '').toLowerCase()) {
      case 'x-agent-key':
        if (agent_key !== undefined) return null
        agent_key = value
        break
      case 'content-type':
        if (type !== undefined) return null
        type = value
        break
      case 'content-length':
        if (bytes !== undefined) return null
        bytes = value
        break
      case 'x-request-id':
        if (request_id !== undefined) return null
        request_id = value
        break
      case 'x-admin-key':
      case 'x-org-id':
      case 'authorization':
      case 'idempotency-key':
      case 'prefer':
      case 'origin':
      case 'expect':
      case 'upgrade':
      case 'trailer':
      case 'content-encoding':
      case 'transfer-encoding':
        return null
    }
  }
  if (agent_key === undefined || type === undefined || bytes === undefined) return null
  if (!JSON_TYPES.has(type) || !LENGTH.test(bytes)) return null
  const length = Number(bytes)
  return length <= max_bytes ? { agent_key, length, request_id } : null
}

const LENGTH = /^[1-9]\d{0,7}$/

/**
 * Gives the body to `done` when all announced bytes have come. Node ends a request whose body falls short as
 * aborted: then nobody is called, because nobody waits any more.
 */
export function collectBody(request: IncomingMessage, length: number, done: (bytes: Buffer) => void): void {
  let first: Buffer | undefined
  let rest: Buffer[] | undefined
  let size = 0
  request.on('data', (chunk: Buffer) => {
    size += chunk.length
    if (!first) first = chunk
    else (rest ??= []).push(chunk)
    if (size === length) done(rest ? Buffer.concat([first, ...rest]) : first)
  })
}
