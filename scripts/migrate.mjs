// make migrate: applies pending migrations to DATABASE_URL, or to the embedded database (running or not).
import { Stop, fromBuild, main } from './support/project.mjs'
import { withDatabase } from './support/service.mjs'

await main(async () => {
  const { migrate } = await fromBuild('prisma/migrate.js')
  const applied = await withDatabase((url) => migrate(url, { log: (line) => console.log(line) })).catch(
    (error) => {
      throw new Stop(error.message)
    },
  )
  if (applied.length === 0) console.log('The database is up to date.')
})
