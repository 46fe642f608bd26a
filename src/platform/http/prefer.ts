import type { IncomingMessage } from 'node:http'

/**
 * Whether the request prefers this (RFC 7240): one token of a list, in any case, without a value or with an empty
 * one. Several `Prefer` headers are one list. Preferences that are not known are passed over, as the RFC wants.
 */
export function prefers(request: IncomingMessage, preference: string): boolean {
  const { prefer } = request.headers
  const list = Array.isArray(prefer) ? prefer.join(',') : (prefer ?? '')
  return list.split(',').some((item) => {
    const [token = ''] = item.split(';')
    const [name = '', value = ''] = token.split('=', 2).map((part) => part.trim())
    return name.toLowerCase() === preference && (value === '' || value === '""')
  })
}
