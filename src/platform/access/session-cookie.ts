import type { Request } from 'express'
import type { Settings } from '../config/settings.js'

/** Sent by our own pages with every change; a page of another origin cannot add it without asking (CORS preflight). */
export const CSRF_HEADER = 'x-agentguard-csrf'

/**
 * `__Host-` makes the browser refuse the cookie unless it is Secure, for the whole path, and of this very host: no
 * subdomain and no plain HTTP can plant one (RFC 6265bis 4.1.3.2).
 */
const PREFIX = '__Host-'
const SESSION = 'agentguard_session'

const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])
const LOCAL_HOST = /^(localhost|[a-z0-9-]+\.localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i

/** The settings that say which pages are ours. */
export type Web = Pick<Settings, 'public_url' | 'cors_origins'>

/** A session as a browser presents it. */
export interface SessionCredential {
  readonly token: string
  /** Why this request cannot be believed to come from our own pages; null: it can, or it changes nothing. */
  readonly forgery: string | null
}

/** The session cookie of a request, if it carries one (and not two). */
export function sessionOf(request: Request, settings: Web): SessionCredential | undefined {
  const token = cookieOf(request, sessionCookie(request, settings).name)
  if (token === undefined || token === '') return undefined
  return { token, forgery: SAFE_METHODS.has(request.method) ? null : forgery(request, settings) }
}

/** How the session cookie is called and set, for an answer to this request. */
export const sessionCookie = (request: Request, settings: Pick<Settings, 'public_url'>) =>
  browserCookie(SESSION, request, settings)

/** The same for any cookie of ours. On http://localhost browsers do not take the prefix. */
export function browserCookie(name: string, request: Request, { public_url }: Pick<Settings, 'public_url'>) {
  const local =
    request.protocol === 'http' &&
    LOCAL_HOST.test(request.headers.host ?? '') &&
    !(public_url ?? '').startsWith('https:')
  return {
    name: local ? name : PREFIX + name,
    // No Max-Age: the browser forgets it when it closes, the database whatever the browser does.
    attributes: `Path=/; HttpOnly; SameSite=Lax${local ? '' : '; Secure'}`,
  }
}

/**
 * Whether the page behind this request may act for the person: the custom header, and an `Origin` that is ours or in
 * `CORS_ORIGINS` by name (`*` is nobody). Browsers send `Origin` with every request that is no GET or HEAD.
 */
function forgery(request: Request, settings: Web): string | null {
  if (request.headers[CSRF_HEADER] !== '1') return 'Send the header X-AgentGuard-CSRF: 1.'
  if (request.headers.origin === undefined) return 'Send the header Origin.'
  return foreignOrigin(request, settings)
}

/** Why the page that sent this may not sign anybody in here; null: it may, or no page sent it. */
export function foreignOrigin(request: Request, { public_url, cors_origins }: Web): string | null {
  const { origin, host } = request.headers
  if (origin === undefined) return null
  const own = [
    URL.parse(public_url ?? '')?.origin,
    `https://${host}`,
    ...(request.protocol === 'http' ? [`http://${host}`] : []),
  ]
  if (own.includes(origin) || cors_origins.some((known) => known !== '*' && known === origin)) return null
  return 'The Origin is neither this service’s own (PUBLIC_URL) nor in CORS_ORIGINS.'
}

/** The value of a cookie; undefined when it is absent, or there twice: then somebody else planted one of them. */
export function cookieOf({ headers }: Pick<Request, 'headers'>, name: string): string | undefined {
  const found = (headers.cookie ?? '').split(';').flatMap((part) => {
    const at = part.indexOf('=')
    return part.slice(0, Math.max(0, at)).trim() === name ? [part.slice(at + 1).trim()] : []
  })
  return found.length === 1 ? found[0] : undefined
}
