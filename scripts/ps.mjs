// make ps: what runs.
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { main, root } from './support/project.mjs'
import { ask, runningService, settings } from './support/service.mjs'

await main(async () => {
  const { dataDir, url, database } = settings()
  const service = runningService()
  const answer = service && (await ask(`${url}/health/ready`))
  const state = answer?.status === 200 ? 'ready' : 'not ready (make logs)'
  const line = (name, text) => console.log(`${name.padEnd(10)} ${text}`)
  line(
    'api',
    service ? `process ${service.pid}, ${url}, since ${service.started_at}, ${state}` : 'not running',
  )
  line('database', process.env.DATABASE_URL ? 'the one of DATABASE_URL' : embedded(database))
  line('data', path.relative(root, dataDir) || '.')
})

function embedded(folder) {
  const file = path.join(folder, 'cluster', 'postmaster.pid')
  if (!existsSync(file)) return 'embedded, not running'
  const [pid, , , port] = readFileSync(file, 'utf8').split('\n')
  return `embedded, process ${pid}, 127.0.0.1:${port}`
}
