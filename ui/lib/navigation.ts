/** Where the dashboard lives; `Link` and `router` of Next add it by themselves. */
export const BASE = '/dashboard'

const SIGN_IN = '/sign-in/'
const RETURN_KEY = 'agentguard.return'

/**
 * A place of this dashboard to go back to, or null. Only a path below `/dashboard/` of this very origin: a link that
 * somebody was sent must not lead them elsewhere after they have signed in.
 */
export function safeReturn(wanted: string | null): string | null {
  if (wanted === null || !wanted.startsWith('/') || wanted.length > 2_000) return null
  // As the browser will read it: it takes "\" for "/" and drops tabs and line ends.
  const url = URL.parse(wanted, location.origin)
  if (url === null || url.origin !== location.origin || !url.pathname.startsWith(`${BASE}/`)) return null
  const place = url.pathname.slice(BASE.length) + url.search
  return place.startsWith('//') || place.startsWith(SIGN_IN) ? null : place
}

/** The sign-in page, with this page as the one to come back to. */
export function signInPlace(): string {
  const here = location.pathname + location.search
  if (safeReturn(here) === null || safeReturn(here) === '/') return SIGN_IN
  return `${SIGN_IN}?return=${encodeURIComponent(here)}`
}

/** Keeps the return address while the browser is at the identity provider, which comes back to the first page. */
export function keepReturn(place: string | null): void {
  if (place === null) sessionStorage.removeItem(RETURN_KEY)
  else sessionStorage.setItem(RETURN_KEY, BASE + place)
}

/** The kept return address, once. */
export function takeReturn(): string | null {
  const kept = safeReturn(sessionStorage.getItem(RETURN_KEY))
  sessionStorage.removeItem(RETURN_KEY)
  return kept
}
