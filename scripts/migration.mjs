// make migration MSG="add agent labels": writes the SQL for what changed in prisma/schema.prisma, without applying it.
// The real `prisma migrate dev --create-only`, on a database of its own that is made of the present migrations.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { Stop, ensureInstalled, fromBuild, main, root } from './support/project.mjs'
import { settings, withEmbeddedDatabase } from './support/service.mjs'

await main(async () => {
  const name = (process.env.MSG ?? '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
    .replace(/^_+|_+$/g, '')
  if (!name) throw new Stop('Say what it does: make migration MSG="add agent labels"')
  await ensureInstalled()
  const { migrate } = await fromBuild('prisma/migrate.js')
  await withEmbeddedDatabase(path.join(settings().dataDir, 'migration-postgres'), async (adminUrl) => {
    await migrate(await emptyDatabase(adminUrl))
    create(name, databaseUrl(adminUrl))
  })
  console.log(`
Read and complete the new file in prisma/migrations: row-level security, grants and checks are yours to write.
Then "make migrate" applies it, and "make test" compares the result with prisma/schema.prisma.`)
})

/** Made anew each time: what was tried and discarded earlier must not look like drift. */
async function emptyDatabase(adminUrl) {
  const { default: pg } = await import('pg')
  const client = new pg.Client({ connectionString: adminUrl })
  await client.connect()
  try {
    await client.query('DROP DATABASE IF EXISTS migration WITH (FORCE)')
    await client.query('CREATE DATABASE migration')
  } finally {
    await client.end()
  }
  return databaseUrl(adminUrl)
}

function databaseUrl(adminUrl) {
  const url = new URL(adminUrl)
  url.pathname = '/migration'
  return url.href
}

function create(name, url) {
  const prisma = path.join(root, 'node_modules', '.bin', 'prisma')
  const { status } = spawnSync(prisma, ['migrate', 'dev', '--create-only', '--name', name], {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      DATABASE_URL: url,
      PATH: `${path.dirname(prisma)}${path.delimiter}${process.env.PATH}`,
    },
  })
  if (status !== 0) throw new Stop('The Prisma CLI failed; its message is above.')
}
