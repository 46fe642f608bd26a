import path from 'node:path'
import type { NextConfig } from 'next'

/** `next dev` asks the API of another process for what is not a page. */
const api = process.env.API_URL ?? 'http://127.0.0.1:8000'
const isBuild = process.env.NODE_ENV === 'production'

const config: NextConfig = {
  ...(isBuild
    ? { output: 'export' as const }
    : {
        rewrites: async () => [
          { source: '/v1/:path*', destination: `${api}/v1/:path*`, basePath: false as const },
        ],
      }),
  basePath: '/dashboard',
  trailingSlash: true,
  images: { unoptimized: true },
  reactStrictMode: true,
  devIndicators: false,
  // Types come from the folder of the SDK, packages from the root of the repository.
  turbopack: { root: path.join(import.meta.dirname, '..') },
}

export default config
