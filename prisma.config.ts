import path from 'node:path'
import { defineConfig } from 'prisma/config'

// The CLI would download a native schema engine; this script runs the official WebAssembly build of the same engine.
process.env.PRISMA_SCHEMA_ENGINE_BINARY ??= path.resolve('scripts/prisma-schema-engine.mjs')

export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  datasource: { url: process.env.DATABASE_URL ?? 'postgresql://postgres@127.0.0.1:5432/agentguard' },
})
