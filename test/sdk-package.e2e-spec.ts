import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, mkdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { createContext, runInContext } from 'node:vm'
import type * as sdk from '../sdk/src/index.js'
import { VERSION } from '../sdk/src/version.js'
import { type RunningApp, startApp } from './support/app.js'
import { buildSdk, SDK } from './support/sdk.js'

const root = path.join(SDK, '..')
const env = { ...process.env, NODE_OPTIONS: '' }
const bin = (name: string) => path.join(root, 'node_modules/.bin', name)
const dist = (name: string) => readFileSync(path.join(SDK, 'dist', name), 'utf8')
/** Every Node on this machine's PATH, by version: CI has the one of npm and often an older one. */
const NODES = [
  ...new Map(
    (process.env.PATH ?? '').split(':').flatMap((folder) => {
      const node = path.join(folder, 'node')
      const { status, stdout } = spawnSync(node, ['--version'], { encoding: 'utf8', env })
      return status === 0 ? ([[stdout.trim(), node]] as const) : []
    }),
  ),
]

beforeAll(() => buildSdk())

describe('the package', () => {
  it('has an entry of at most 40 kB that needs nothing of Node', () => {
    const files = ['index.js', ...dist('index.js').matchAll(/from\s*["']\.\/([^"']+)["']/g)].map((match) =>
      typeof match === 'string' ? match : (match[1] ?? ''),
    )
    const bytes = files.map((name) => statSync(path.join(SDK, 'dist', name)).size).reduce((a, b) => a + b)
    expect(bytes).toBeLessThanOrEqual(40_000)
    for (const name of files) expect(dist(name)).not.toMatch(/node:|\brequire\(|\bBuffer\b|__dirname/)
    const { dependencies, version } = JSON.parse(readFileSync(path.join(SDK, 'package.json'), 'utf8')) as {
      dependencies?: object
      version: string
    }
    expect([dependencies, version]).toEqual([undefined, VERSION])
  })

  it('asks from a place that has only what the web has', async () => {
    const asked: string[] = []
    const fetch = (url: string) => {
      asked.push(url)
      const body = { allowed: true, status: 'allowed', decision_id: 'd' }
      return Promise.resolve(new Response(JSON.stringify(body)))
    }
    const web = {
      URL,
      URLSearchParams,
      Headers,
      AbortController,
      setTimeout,
      clearTimeout,
      crypto,
      performance,
      fetch,
    }
    const load = (name: string): unknown => {
      const module = { exports: {} }
      const local = (other: string) => load(path.join(path.dirname(name), other))
      const context = createContext({ ...web, module, exports: module.exports, require: local })
      runInContext(dist(name), context)
      return module.exports
    }
    const { AgentGuard } = load('index.cjs') as typeof sdk
    const client = new AgentGuard({ agentKey: 'agk_x', baseURL: 'https://guard.example' })
    expect(await client.enforce({ action: 'read' })).toMatchObject({ allowed: true })
    expect(asked).toEqual(['https://guard.example/v1/enforce'])
  })

  it('passes publint --strict and are-the-types-wrong', () => {
    const check = (name: string, ...args: string[]) =>
      spawnSync(process.execPath, [bin(name), ...args], { cwd: SDK, env, encoding: 'utf8' })
    for (const { status, stdout, stderr } of [check('publint', '--strict'), check('attw', '--pack', '.')])
      expect([status, status === 0 ? '' : stdout + stderr]).toEqual([0, ''])
  })
})

describe('installed in an empty project', () => {
  let app: RunningApp
  let folder: string

  beforeAll(async () => {
    app = await startApp()
    folder = mkdtempSync(path.join(tmpdir(), 'agentguard-sdk-'))
    const npm = (args: string[], cwd: string) => execFileSync('npm', args, { cwd, env, encoding: 'utf8' })
    const [packed] = JSON.parse(npm(['pack', '--json', '--pack-destination', folder], SDK)) as {
      filename: string
    }[]
    writeFileSync(path.join(folder, 'package.json'), '{ "name": "empty", "private": true }')
    npm(
      ['install', `./${packed?.filename}`, '--ignore-scripts', '--offline', '--no-audit', '--no-fund'],
      folder,
    )
    const example = readFileSync(path.join(SDK, 'examples/quickstart.mjs'), 'utf8')
    writeFileSync(path.join(folder, 'quickstart.mjs'), example)
    const required = example.replace(/^import (.*) from (.*)$/m, 'const $1 = require($2)')
    const [head, ...body] = required.split(/^(?=const admin)/m)
    writeFileSync(path.join(folder, 'quickstart.cjs'), `${head}void (async () => {\n${body.join('')}\n})()\n`)
    writeFileSync(
      path.join(folder, 'quickstart.mts'),
      example
        .replace('async ({ path })', 'async ({ path }: { path: string })')
        .replace(
          /for \(const \[action, resource\] of \[([\s\S]*?)\n\]\)/,
          'for (const [action, resource] of [$1\n] as const)',
        ),
    )
    writeFileSync(
      path.join(folder, 'quickstart.cts'),
      'import { AgentGuard, type Decision } from "@agentguard/sdk"\nexport const ask = (client: AgentGuard): Promise<Decision> => client.enforce({ action: "read file" })\n// @ts-expect-error an action is needed\nexport const wrong = (client: AgentGuard) => client.enforce({ resource: "x" })\n',
    )
  })
  afterAll(async () => {
    await app?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  const run = (node: string, args: string[]) =>
    promisify(execFile)(node, args, {
      cwd: folder,
      env: { ...env, AGENTGUARD_ADMIN_KEY: app.admin_key, AGENTGUARD_URL: app.url },
    })

  it.each(NODES)('Node %s runs the quickstart as ESM and as CJS', async (_, node) => {
    for (const file of ['quickstart.mjs', 'quickstart.cjs']) {
      const { stdout } = await run(node, [file])
      expect(stdout.match(/^(allow|deny )/gm)).toEqual(['allow', 'allow', 'deny ', 'deny ', 'allow'])
      expect(stdout).toContain('the text of report.pdf')
      expect(stdout).toContain('action.reported  read file report.pdf')
    }
    const { stdout } = await run(node, ['node_modules/.bin/agentguard', 'help'])
    expect(stdout).toContain('verify [bundle|-]')
  })

  it.each([
    ['node16', 'node16', 'es2022'],
    ['nodenext', 'nodenext', 'es2022'],
    ['bundler', 'preserve', 'es2022'],
  ])(
    'TypeScript with moduleResolution %s finds types, and finds mistakes',
    async (moduleResolution, module, target) => {
      const types = path.join(folder, 'node_modules/@types')
      mkdirSync(types, { recursive: true })
      try {
        symlinkSync(path.join(root, 'node_modules/@types/node'), path.join(types, 'node'))
        symlinkSync(
          path.join(
            path.dirname(
              createRequire(path.join(root, 'node_modules/@types/node/x.js')).resolve(
                'undici-types/package.json',
              ),
            ),
          ),
          path.join(folder, 'node_modules/undici-types'),
        )
      } catch {
        // There already.
      }
      const args = [
        '--strict',
        '--noEmit',
        '--target',
        target,
        '--module',
        module,
        '--moduleResolution',
        moduleResolution,
        // Once is enough for the declarations themselves.
        ...(moduleResolution === 'node16' ? [] : ['--skipLibCheck']),
        '--types',
        'node',
      ]
      const tsc = path.join(root, 'node_modules/typescript/bin/tsc')
      const { stdout } = await run(process.execPath, [
        tsc,
        ...args,
        'quickstart.mts',
        'quickstart.cts',
      ]).catch((error: { stdout: string }) => error)
      expect(stdout).toBe('')
    },
  )
})
