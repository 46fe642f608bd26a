import type { Request } from 'express'

interface Layer {
  match(path: string): boolean
  route?: { path: unknown; methods: Record<string, boolean> }
}

/** The methods that the path of this request is served with; asked only when nothing else matched. */
export function allowedMethods(request: Request): string[] {
  const { stack } = request.app.router as unknown as { stack: Layer[] }
  const path = request.baseUrl + request.path
  const methods = new Set<string>()
  for (const layer of stack) {
    // Routes with a wildcard are Nest's middlewares and fallbacks, which match everything.
    if (!layer.route || String(layer.route.path).includes('*') || !layer.match(path)) continue
    for (const method of Object.keys(layer.route.methods)) {
      if (method !== '_all') methods.add(method.toUpperCase())
    }
  }
  if (methods.has('GET')) methods.add('HEAD')
  return [...methods].sort()
}
