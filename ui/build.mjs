// Builds the dashboard into ui/out: files that the API serves under /dashboard. First the types of openapi.json, which
// it shares with the SDK, then `next build`, which also checks the types.
//   --if-changed  nothing when ui/out was built from the present sources
// Needs the Node of node_modules/.bin, which npm puts first. Reaches no network: fonts and compilers are packages.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

const ui = import.meta.dirname
const stamp = path.join(ui, '.next/.built-from')
const SOURCES = ['app', 'components', 'lib', 'public', 'package.json', 'next.config.ts', 'postcss.config.mjs']
const SHARED = ['tsconfig.json', 'build.mjs', '../openapi.json', '../package-lock.json']

/** Everything the output depends on, by content. */
function fingerprint() {
  const hash = createHash('sha256')
  for (const file of [...SOURCES, ...SHARED].flatMap((name) => filesOf(path.join(ui, name))))
    hash.update(path.relative(ui, file)).update('\0').update(readFileSync(file)).update('\0')
  return hash.digest('hex')
}

function filesOf(start) {
  if (!statSync(start).isDirectory()) return [start]
  return readdirSync(start, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort()
}

function run(...args) {
  const env = { ...process.env, NODE_ENV: 'production', NODE_OPTIONS: '', NEXT_TELEMETRY_DISABLED: '1' }
  const { status } = spawnSync(process.execPath, args, { cwd: ui, stdio: 'inherit', env })
  if (status !== 0) process.exit(status ?? 1)
}

const now = fingerprint()
const same = existsSync(stamp) && existsSync(path.join(ui, 'out')) && readFileSync(stamp, 'utf8') === now
if (!(same && process.argv.includes('--if-changed'))) {
  rmSync(stamp, { force: true })
  run(path.join(ui, '../sdk/build.mjs'), '--types')
  run(createRequire(import.meta.url).resolve('next/dist/bin/next'), 'build')
  writeFileSync(stamp, now)
}
