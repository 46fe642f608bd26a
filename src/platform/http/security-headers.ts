import type { ServerResponse } from 'node:http'
import helmet from 'helmet'

export type HeaderList = readonly (readonly [name: string, value: string])[]

/** Answers are data: nothing in them may run, load or be framed. */
const API_POLICY = { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] }

/** Swagger UI comes from this origin alone; its page has inline styles and data: images. */
const DOCS_POLICY = {
  'default-src': ["'self'"],
  'script-src': ["'self'"],
  'style-src': ["'self'", "'unsafe-inline'"],
  'img-src': ["'self'", 'data:'],
  'object-src': ["'none'"],
  'base-uri': ["'none'"],
  'frame-ancestors': ["'none'"],
}

/**
 * The dashboard: scripts of this origin and those that stand in the page itself, by their hashes. Forms are sent by
 * scripts alone, so that no password is ever in a URL, also when the script has not come yet.
 */
const pagePolicy = (hashes: readonly string[]) => ({
  'default-src': ["'none'"],
  'script-src': ["'self'", ...hashes],
  'style-src': ["'self'"],
  'img-src': ["'self'", 'data:'],
  'font-src': ["'self'"],
  'connect-src': ["'self'"],
  'form-action': ["'none'"],
  'base-uri': ["'none'"],
  'frame-ancestors': ["'none'"],
})

/** What helmet sets for answers of the API, taken once: a list is cheaper than a middleware of middlewares. */
export const apiHeaders = (): HeaderList => [...helmetHeaders(API_POLICY), ['Cache-Control', 'no-store']]

export const docsHeaders = (): HeaderList => [...helmetHeaders(DOCS_POLICY), ['Cache-Control', 'no-cache']]

/** @param hashes of the page's inline scripts, as the policy quotes them */
export const pageHeaders = (hashes: readonly string[]): HeaderList => helmetHeaders(pagePolicy(hashes))

function helmetHeaders(directives: Record<string, string[]>): HeaderList {
  const headers: [string, string][] = []
  const recorder = {
    setHeader: (name: string, value: string) => headers.push([name, value]),
    removeHeader: () => undefined,
  }
  const middleware = helmet({ contentSecurityPolicy: { useDefaults: false, directives } })
  // Helmet only ever calls these two, and looks at nothing of the request.
  middleware({} as never, recorder as unknown as ServerResponse, (error?: unknown) => {
    if (error) throw new Error('helmet refused its own options', { cause: error })
  })
  return headers
}
