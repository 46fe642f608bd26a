// Measures `agentguard verify`: node bench/verify.mjs [entries] [rounds] [cli …]
// Makes a bundle of that many entries (default 200,000) and checks it with each command in turn, several rounds, so that
// two builds are compared under the same noise. Says the median of wall clock, of processor time, and the highest RSS.
import { spawnSync } from 'node:child_process'
import { createWriteStream, existsSync, mkdirSync } from 'node:fs'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { rolldown } from 'rolldown'

const root = path.join(import.meta.dirname, '..')
const [entries = '200000', rounds = '5', ...given] = process.argv.slice(2)
const commands = given.length > 0 ? given : [path.join(root, 'sdk/dist/cli.js')]
const folder = path.join(tmpdir(), 'agentguard-bench-verify')
mkdirSync(folder, { recursive: true })

async function makeBundle(file) {
  const code = path.join(folder, 'bundle.mjs')
  const built = await rolldown({
    input: path.join(root, 'test/support/bundle.ts'),
    platform: 'node',
    resolve: { extensionAlias: { '.js': ['.ts', '.js'] } },
  })
  await built.write({ file: code, format: 'esm' })
  const { makeLog } = await import(pathToFileURL(code).href)
  const out = createWriteStream(file)
  for (const line of makeLog(Number(entries)).lines()) if (!out.write(`${line}\n`)) await once(out, 'drain')
  out.end()
  await once(out, 'finish')
}

const bundle = path.join(folder, `${entries}.ndjson`)
if (!existsSync(bundle)) await makeBundle(bundle)

const USAGE = `data:text/javascript,process.on('exit',()=>process.stderr.write('USAGE'+JSON.stringify({...process.resourceUsage(),main:process.threadCpuUsage()})))`

function measure(cli) {
  const begin = performance.now()
  const { status, stderr, stdout } = spawnSync(process.execPath, ['--import', USAGE, cli, 'verify', bundle], {
    encoding: 'utf8',
  })
  const wall = (performance.now() - begin) / 1000
  if (status !== 0) throw new Error(`${cli}: ${status} ${stdout}${stderr}`)
  const usage = JSON.parse(stderr.slice(stderr.lastIndexOf('USAGE') + 5))
  return {
    wall,
    cpu: (usage.userCPUTime + usage.systemCPUTime) / 1e6,
    // On a quiet machine with a processor for each thread, the wall clock is about the busiest thread.
    main: (usage.main.user + usage.main.system) / 1e6,
    rss: usage.maxRSS / 1024,
  }
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
const results = commands.map(() => [])
for (let round = 0; round < Number(rounds); round++)
  for (const [i, cli] of commands.entries()) results[i].push(measure(cli))
const million = 1e6 / Number(entries)
for (const [i, cli] of commands.entries()) {
  const of = (name) => median(results[i].map((result) => result[name]))
  console.log(
    `${cli}: ${of('wall').toFixed(2)} s wall, ${of('cpu').toFixed(2)} s processor, ` +
      `${Math.max(...results[i].map(({ rss }) => rss)).toFixed(0)} MB; ` +
      `a million entries: ${(of('wall') * million).toFixed(1)} s wall, ${(of('cpu') * million).toFixed(1)} s processor, ` +
      `${(of('main') * million).toFixed(1)} s of it in the main thread`,
  )
}
