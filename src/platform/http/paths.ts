import { Problem } from '../../core/problems.js'

/** What lives beside `/v1`: documentation, dashboard, standards with their own prefix. */
const OWN_ROOTS = ['/v1', '/docs', '/dashboard', '/.well-known', '/access']

export const METRICS_ROUTE = '/v1/metrics'

/**
 * Gives the routed form of a request target: bare paths are the same as `/v1/…` (design 4), `/metrics` lives
 * where `METRICS_PATH` says, an absolute target (RFC 9112 3.2.2) loses its origin.
 * @throws Problem `bad_request` when the target cannot be decoded or holds a NUL, which no database takes.
 */
export function routedUrl(target: string, metrics_path: string): string {
  const url = target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/?#]*/i, '') || '/'
  if (!url.startsWith('/')) throw new Problem('bad_request', { detail: 'The request target is not a path.' })
  if (url.includes('%')) assertDecodes(url)
  const end = url.search(/[?#]/)
  const path = end < 0 ? url : url.slice(0, end)
  const query = end < 0 ? '' : url.slice(end)
  if (path === metrics_path) return METRICS_ROUTE + query
  // Served only where the operator put it.
  const moved = metrics_path !== '/metrics'
  if (moved && (path === '/metrics' || path === METRICS_ROUTE)) return `/v1/not-here${query}`
  return OWN_ROOTS.some((root) => path === root || path.startsWith(`${root}/`)) ? url : `/v1${url}`
}

function assertDecodes(url: string): void {
  let text: string
  try {
    text = decodeURIComponent(url)
  } catch (cause) {
    throw new Problem('bad_request', { detail: 'The URL has a percent sequence that is not UTF-8.', cause })
  }
  if (text.includes('\0')) throw new Problem('bad_request', { detail: 'The URL holds a NUL character.' })
}
