import type { Request } from 'express'
import { Problem } from '../core/problems.js'
import type { Settings } from '../platform/config/settings.js'

/**
 * Where the AuthZEN endpoints are: `PUBLIC_URL`, or the address that was asked, which is the caller's own word for this
 * place: it goes back to the caller and is kept nowhere.
 */
export function baseOf({ public_url }: Pick<Settings, 'public_url'>, request: Request): string {
  if (public_url !== undefined) return public_url
  const origin = URL.parse(`${request.protocol}://${request.get('Host') ?? ''}`)?.origin
  if (origin === undefined) throw new Problem('bad_request', { detail: 'The Host header is not an address.' })
  return origin
}
