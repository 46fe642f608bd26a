import type { IncomingMessage } from 'node:http'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { Problem } from '../../core/problems.js'
import { hasCode } from './error-code.js'

/** Bytes of a body on ordinary routes; `@LargeBody()` routes take `MAX_REQUEST_SIZE`. */
export const DEFAULT_BODY_LIMIT = 1_048_576

const unzip = promisify(gunzip)
const JSON_TYPE = /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i

/** Whether the request announces a body. RFC 9112 6: it does so by one of these headers only. */
export function announcesBody(request: IncomingMessage): boolean {
  const { headers } = request
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0'
}

/**
 * Reads a body of at most `limit` bytes, unpacked. What is too large is refused as soon as that is known and is
 * never held; Node discards the rest while the answer is on its way.
 * @returns the bytes, or null when there are none (a chunked body may turn out empty).
 * @throws Problem `unsupported_media_type`, `payload_too_large`, or `bad_request` for a broken stream.
 */
export async function readBody(request: IncomingMessage, limit: number): Promise<Buffer | null> {
  const encoding = (request.headers['content-encoding'] ?? 'identity').trim().toLowerCase()
  if (encoding !== 'identity' && encoding !== 'gzip')
    throw new Problem('unsupported_media_type', { detail: 'Content-Encoding must be identity or gzip.' })
  // Judged before reading, so that nobody uploads what will be refused.
  const mediaType = JSON_TYPE.test(request.headers['content-type'] ?? '')
  const announced = Number(request.headers['content-length'] ?? '0')
  if (announced > 0 && !mediaType) throw wrongType()
  if (announced > limit) throw tooLarge(limit)
  const bytes = await collect(request, limit)
  if (bytes.length === 0) return null
  if (!mediaType) throw wrongType()
  return encoding === 'gzip' ? unpack(bytes, limit) : bytes
}

const wrongType = () =>
  new Problem('unsupported_media_type', { detail: 'Send Content-Type: application/json.' })

const tooLarge = (limit: number) =>
  new Problem('payload_too_large', { detail: `The body may have at most ${limit} bytes here.` })

function collect(request: IncomingMessage, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    const settle = (outcome: () => void) => {
      request.off('data', onData).off('end', onEnd).off('close', onBroken).off('error', onBroken)
      // An error after this moment is the socket's; without a listener it would end the process.
      request.on('error', () => undefined)
      outcome()
    }
    const onData = (chunk: Buffer) => {
      size += chunk.length
      if (size <= limit) chunks.push(chunk)
      else
        settle(() => {
          request.resume()
          reject(tooLarge(limit))
        })
    }
    const onEnd = () =>
      settle(() => resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)))
    const onBroken = (cause?: Error) =>
      settle(() =>
        reject(new Problem('bad_request', { detail: 'The body ended before it was complete.', cause })),
      )
    if (request.destroyed) return onBroken()
    request.on('data', onData).on('end', onEnd).on('close', onBroken).on('error', onBroken)
  })
}

/** `maxOutputLength` stops a bomb at the limit, whatever its ratio. */
async function unpack(bytes: Buffer, limit: number): Promise<Buffer> {
  try {
    return await unzip(bytes, { maxOutputLength: limit })
  } catch (cause) {
    if (hasCode(cause, 'ERR_BUFFER_TOO_LARGE')) throw tooLarge(limit)
    throw new Problem('bad_request', { detail: 'The body is not valid gzip.', cause })
  }
}
