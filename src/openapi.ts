import { readFileSync, writeFileSync } from 'node:fs'
import { NestFactory } from '@nestjs/core'
import { AppModule } from './app.module.js'
import { buildDocument } from './openapi-document.js'
import { rateLimits } from './platform/throttling/limits.js'
import type { Settings } from './platform/config/settings.js'

/**
 * Writes `openapi.json`, or with `--check` compares it with what the code says now. Nest's preview mode builds the
 * routes without a provider, so neither settings nor a database are needed.
 */
async function main([file = 'openapi.json', mode]: string[]): Promise<void> {
  const app = await NestFactory.create(AppModule.forRoot(PREVIEW, NO_CONNECTIONS), {
    preview: true,
    logger: false,
    abortOnError: false,
  })
  app.setGlobalPrefix('v1', { exclude: ['.well-known/{*path}', 'access/{*path}'] })
  const text = `${JSON.stringify(buildDocument(app), null, 2)}\n`
  if (mode !== '--check') {
    writeFileSync(file, text)
    return
  }
  const committed = readFileSync(file, 'utf8')
  if (committed === text) return
  const line = text.split('\n').findIndex((now, index) => now !== committed.split('\n')[index]) + 1
  throw new Error(`${file} differs from the code at line ${line}: run "npm run openapi" and commit the file`)
}

const NO_CONNECTIONS = { app: {}, hot: {}, close: async () => {} }

const PREVIEW = {
  node_env: 'test',
  database_pool_size: 1,
  log_level: 'silent',
  log_format: 'json',
  rate_limits: rateLimits(),
} as unknown as Settings

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error)
    process.exit(1)
  },
)
