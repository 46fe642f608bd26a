// Builds the package into sdk/dist: the types of openapi.json into src/generated, then what tsdown.config.mjs says.
//   --types       only the types (what a type check and a linter need)
//   --if-changed  nothing when sdk/dist was built from the present sources
// Needs the Node of node_modules/.bin (tsdown: 22.18 or newer), which npm puts first.
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'

const sdk = import.meta.dirname
const dist = path.join(sdk, 'dist')
const generated = path.join(sdk, 'src/generated')
const stamp = path.join(dist, '.built-from')
const lock = path.join(sdk, '.building')

/** Everything the output depends on, by content. */
function fingerprint() {
  const hash = createHash('sha256')
  const sources = [
    '../src/core',
    '../src/platform/clock',
    'src',
    '../openapi.json',
    'package.json',
    'tsdown.config.mjs',
    'build.mjs',
  ]
  for (const file of sources.flatMap((name) => filesOf(path.join(sdk, name))))
    hash.update(path.relative(sdk, file)).update('\0').update(readFileSync(file)).update('\0')
  return hash.digest('hex')
}

function filesOf(start) {
  if (!statSync(start).isDirectory()) return [start]
  return readdirSync(start, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.spec.ts'))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => !file.startsWith(generated))
    .sort()
}

// What has a default may be left out of a request.
const OPTIONS = { rootTypes: true, rootTypesNoSchemaPrefix: true, defaultNonNullable: false }

async function types() {
  const { default: openapiTS, astToString } = await import('openapi-typescript')
  const document = new URL('../openapi.json', import.meta.url)
  const text = astToString(await openapiTS(document, OPTIONS))
  const file = path.join(generated, 'openapi.ts')
  if (existsSync(file) && readFileSync(file, 'utf8') === text) return
  mkdirSync(generated, { recursive: true })
  writeFileSync(file, text)
}

async function build() {
  await types()
  const { build: bundle } = await import('tsdown')
  rmSync(dist, { recursive: true, force: true })
  await bundle({ cwd: sdk, config: path.join(sdk, 'tsdown.config.mjs'), clean: false, logLevel: 'warn' })
  // The command reads YAML with it; its licence asks to be passed on with every copy.
  copyFileSync(new URL('../LICENSE', import.meta.resolve('yaml')), path.join(dist, 'yaml.LICENSE'))
}

/** Two test files may want the package at once: the second waits, and then finds it built. */
async function alone(work) {
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' })
      break
    } catch {
      if (!isAlive(lockedBy())) rmSync(lock, { force: true })
      else await wait(50)
    }
  }
  try {
    await work()
  } finally {
    rmSync(lock, { force: true })
  }
}

function lockedBy() {
  try {
    return Number(readFileSync(lock, 'utf8'))
  } catch {
    return 0
  }
}

function isAlive(pid) {
  try {
    return pid > 0 && process.kill(pid, 0)
  } catch {
    return false
  }
}

if (process.argv.includes('--types')) await types()
else
  await alone(async () => {
    const now = fingerprint()
    const same = existsSync(stamp) && readFileSync(stamp, 'utf8') === now
    if (same && process.argv.includes('--if-changed')) return
    await build()
    writeFileSync(stamp, now)
  })
