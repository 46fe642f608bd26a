import type { Settings } from '../config/settings.js'
import type { HeaderList } from './security-headers.js'

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']

const ALLOWED_HEADERS = [
  'Content-Type',
  'X-Admin-Key',
  'X-Agent-Key',
  'X-Org-ID',
  'X-Request-ID',
  'Idempotency-Key',
  'If-Match',
  'X-AgentGuard-CSRF',
  'Prefer',
]

const EXPOSED_HEADERS = [
  'X-Request-ID',
  'X-Response-Time',
  'X-Total-Count',
  'X-Total-Count-Relation',
  'Link',
  'ETag',
  'RateLimit',
  'RateLimit-Policy',
  'Retry-After',
  'Idempotent-Replayed',
  'Preference-Applied',
]

/** What `CORS_ORIGINS` allows, for the middleware; undefined when nothing. */
export function corsOptions({ cors_origins }: Pick<Settings, 'cors_origins'>) {
  if (cors_origins.length === 0) return undefined
  const any = cors_origins.includes('*')
  return {
    origin: any ? '*' : [...cors_origins],
    // Cookies never travel with "any origin" (the Fetch standard forbids it).
    credentials: !any,
    methods: METHODS,
    allowedHeaders: ALLOWED_HEADERS,
    exposedHeaders: EXPOSED_HEADERS,
    maxAge: 600,
  }
}

/** What that middleware sets on the answer to a request without `Origin`, which no browser's script sent. */
export function corsHeaders(settings: Pick<Settings, 'cors_origins'>): HeaderList {
  const options = corsOptions(settings)
  if (!options) return []
  return [
    options.origin === '*' ? ['Access-Control-Allow-Origin', '*'] : ['Vary', 'Origin'],
    ...(options.credentials ? [['Access-Control-Allow-Credentials', 'true'] as const] : []),
    ['Access-Control-Expose-Headers', options.exposedHeaders.join(',')],
  ]
}
