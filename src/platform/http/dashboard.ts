import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { NestExpressApplication } from '@nestjs/platform-express'
import type { NextFunction, Request, Response } from 'express'
import { Problem } from '../../core/problems.js'
import { sendProblem } from './problem-response.js'
import { pageHeaders } from './security-headers.js'
import { ROOT } from './version.js'

const PREFIX = '/dashboard'
const BUILT = path.join(ROOT, 'ui/out')
const NOT_BUILT = 'The dashboard is not built. Run "npm run build:ui", then start the service again.'

/** A script that stands in the page itself; one with `src` is covered by `'self'`. */
const INLINE = /<script(?![^>]*\ssrc=)[^>]*>([\s\S]*?)<\/script>/g

/**
 * Serves the dashboard, which is nothing but files: pages that ask the API as any client does, with the visitor's own
 * session. So nothing here needs credentials, and nothing here is anybody's.
 *
 * Each page gets a policy (CSP) that names the hashes of its own inline scripts, which Next writes into every page, so
 * that no other script runs, whatever an agent manages to have shown. They are taken once, at start: a page that is
 * put there later runs nothing inline until the next start.
 */
export function serveDashboard(app: NestExpressApplication, folder = BUILT): void {
  if (!existsSync(path.join(folder, 'index.html'))) {
    app.use(PREFIX, (request: Request, response: Response) =>
      sendProblem(request, response, new Problem('not_found', { detail: NOT_BUILT })),
    )
    return
  }
  const policies = policiesOf(folder)
  const immutable = path.join(folder, '_next/static') + path.sep
  app.useStaticAssets(folder, {
    prefix: PREFIX,
    setHeaders: (response: Response, file: string) => {
      for (const [name, value] of policies.get(file) ?? []) response.setHeader(name, value)
      // What is below has the hash of its content in its name.
      const cache = file.startsWith(immutable) ? 'public, max-age=31536000, immutable' : 'no-cache'
      response.setHeader('Cache-Control', cache)
    },
  })
  const missing = path.join(folder, '404.html')
  const headers = policies.get(missing)
  if (!headers) return
  const page = readFileSync(missing)
  app.use(PREFIX, (request: Request, response: Response, next: NextFunction) => {
    const isPage = request.method === 'GET' && request.accepts(['json', 'html']) === 'html'
    if (!isPage) return next()
    for (const [name, value] of headers) response.setHeader(name, value)
    response.status(404).type('html').send(page)
  })
}

function policiesOf(folder: string): ReadonlyMap<string, ReturnType<typeof pageHeaders>> {
  const pages = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.html'),
  )
  return new Map(
    pages.map((name) => {
      const file = path.join(folder, name)
      const scripts = [...readFileSync(file, 'utf8').matchAll(INLINE)]
      const hashes = scripts.map(
        ([, text = '']) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`,
      )
      return [file, pageHeaders([...new Set(hashes)])]
    }),
  )
}
