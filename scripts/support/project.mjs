// What the other scripts share about this checkout: where it is, whether it is installed and built.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url))

/** Something the user has to deal with: shown without a stack. */
export class Stop extends Error {}

/** Runs a script: one line for a Stop, everything for a defect. */
export async function main(work) {
  try {
    process.chdir(root)
    if (existsSync('.env')) process.loadEnvFile('.env') // as the service does; variables that are set win
    await work()
  } catch (error) {
    console.error(error instanceof Stop ? `\n${error.message}` : error)
    process.exitCode = 1
  }
}

/** The Node that npm scripts use: the one from the lock file where there is one for this platform. */
export function nodeProgram() {
  const installed = path.join(root, 'node_modules', '.bin', 'node')
  return existsSync(installed) ? installed : process.execPath
}

/** What `npm start` says to Node: the limits of its memory, then the program. */
export function startArguments() {
  const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  return scripts.start.split(' ').slice(1)
}

/** Installs the packages unless node_modules is what package-lock.json says. */
export async function ensureInstalled() {
  checkNodeVersion()
  if (isInstalled()) return
  await step('Installing packages (about a minute)', () => quietly('npm', ['ci', '--loglevel=error']))
}

/** Builds unless dist is made of exactly these sources. */
export async function ensureBuilt() {
  await ensureInstalled()
  const stamp = path.join(root, 'dist', '.made-of') // nest build empties dist, so a failed build has no stamp
  const sources = hashOfSources()
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === sources) return
  await step('Building', () => quietly('npm', ['run', 'build']))
  await step('Building the dashboard', () => quietly('npm', ['run', 'build:ui', '--', '--if-changed']))
  writeFileSync(stamp, sources)
}

/** Loads a module of the build, for example `prisma/migrate.js`. */
export async function fromBuild(file) {
  await ensureBuilt()
  return import(pathToFileURL(path.join(root, 'dist', file)).href)
}

/** Says what is being done, and for how long: a line that counts on a terminal, a line every 10 s elsewhere. */
export async function step(title, work) {
  const startedAt = Date.now()
  const seconds = () => Math.round((Date.now() - startedAt) / 1000)
  const terminal = process.stdout.isTTY
  if (terminal) process.stdout.write(`  … ${title}`)
  else console.log(`  … ${title}`)
  const show = () =>
    terminal ? process.stdout.write(`\r  … ${title} ${seconds()} s`) : console.log(`    ${seconds()} s`)
  const timer = setInterval(show, terminal ? 1_000 : 10_000)
  try {
    const result = await work()
    console.log(`${terminal ? '\r' : ''}  ✓ ${title} ${seconds()} s`)
    return result
  } catch (error) {
    console.log(`${terminal ? '\r' : ''}  ✗ ${title} ${seconds()} s`)
    throw error
  } finally {
    clearInterval(timer)
  }
}

/** Runs a program and shows its output only when it fails. */
function quietly(program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
    const output = []
    child.stdout.on('data', (chunk) => output.push(chunk))
    child.stderr.on('data', (chunk) => output.push(chunk))
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve()
      else
        reject(
          new Stop(
            `${Buffer.concat(output)}\n"${[program, ...args].join(' ')}" failed; its output is above.`,
          ),
        )
    })
  })
}

function checkNodeVersion() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > 20 || (major === 20 && minor >= 19)) return
  throw new Stop(`AgentGuard needs Node.js 20.19 or newer; this is ${process.versions.node}.`)
}

/** npm writes down in node_modules what it installed; packages for other platforms are missing there. */
function isInstalled() {
  const installedFile = path.join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(installedFile)) return false
  const installed = JSON.parse(readFileSync(installedFile, 'utf8')).packages
  const wanted = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages
  return Object.entries(wanted).every(([name, { version, optional, link }]) => {
    if (!name.includes('node_modules/') || link) return true // this project and its workspaces
    return installed[name] ? installed[name].version === version : optional === true
  })
}

const SOURCES = [
  'src',
  'prisma',
  'package.json',
  'package-lock.json',
  'nest-cli.json',
  'tsconfig.json',
  'sdk',
  'ui',
]
const NOT_SOURCES = new Set([
  'node_modules',
  'dist',
  'out',
  '.next',
  'generated',
  'next-env.d.ts',
  'tsconfig.tsbuildinfo',
])

function hashOfSources() {
  const hash = createHash('sha256')
  for (const source of SOURCES.filter((name) => existsSync(path.join(root, name)))) {
    for (const file of filesOf(path.join(root, source))) {
      hash
        .update(`${path.relative(root, file)}\0`)
        .update(readFileSync(file))
        .update('\0')
    }
  }
  return hash.digest('hex')
}

function filesOf(start) {
  if (!statSync(start).isDirectory()) return [start]
  return readdirSync(start)
    .filter((name) => !NOT_SOURCES.has(name) && !name.endsWith('.spec.ts'))
    .sort()
    .flatMap((name) => filesOf(path.join(start, name)))
}
