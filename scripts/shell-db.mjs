// make shell-db: psql as superuser on the embedded database, or on DATABASE_URL.
import { spawnSync } from 'node:child_process'
import { Stop, main } from './support/project.mjs'
import { withDatabase } from './support/service.mjs'

await main(() =>
  withDatabase((text) => {
    const url = new URL(text)
    const password = decodeURIComponent(url.password)
    url.password = '' // goes by the environment: the arguments of a process can be read by everybody
    const { error } = spawnSync('psql', [url.href], {
      stdio: 'inherit',
      env: { ...process.env, PGPASSWORD: password },
    })
    if (error?.code === 'ENOENT')
      throw new Stop('psql is not installed (Debian and Ubuntu: postgresql-client).')
  }),
)
