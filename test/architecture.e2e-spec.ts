import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { ESLint } from 'eslint'
import tseslint from 'typescript-eslint'

const root = path.resolve(__dirname, '..')

interface Violation {
  rule: string
  from: string
}

/** Runs the repository's own rules over a little house made of these files. */
function violations(files: Record<string, string>): Violation[] {
  const house = mkdtempSync(path.join(tmpdir(), 'agentguard-house-'))
  try {
    for (const name of ['.dependency-cruiser.cjs', 'tsconfig.json', 'package.json']) {
      copyFileSync(path.join(root, name), path.join(house, name))
    }
    symlinkSync(path.join(root, 'node_modules'), path.join(house, 'node_modules'))
    for (const [name, content] of Object.entries({ ...HOUSE, ...files })) {
      const file = path.join(house, 'src', name)
      mkdirSync(path.dirname(file), { recursive: true })
      writeFileSync(file, content)
    }
    const { stdout, stderr } = spawnSync(
      path.join(root, 'node_modules', '.bin', 'depcruise'),
      ['--config', '.dependency-cruiser.cjs', '--output-type', 'json', 'src'],
      { cwd: house, encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } },
    )
    if (!stdout.startsWith('{')) throw new Error(`dependency-cruiser did not run: ${stderr}`)
    const { summary } = JSON.parse(stdout) as {
      summary: { violations: { rule: { name: string }; from: string }[] }
    }
    return summary.violations.map(({ rule, from }) => ({ rule: rule.name, from: from.replace('src/', '') }))
  } finally {
    rmSync(house, { recursive: true, force: true })
  }
}

/** A house in order: every kind of import that is allowed. */
const HOUSE = {
  'core/ids.ts': `export const id = 'x'`,
  'core/policy/decide.ts': `import { id } from '../ids.js'\nexport const decide = () => id`,
  'core/ids.spec.ts': `import { readFileSync } from 'node:fs'\nimport { id } from './ids.js'\nreadFileSync(id)`,
  'generated/prisma/client.ts': `export type Agent = { id: string }`,
  'platform/database/database.service.ts': `import type { Agent } from '../../generated/prisma/client.js'
    import { id } from '../../core/ids.js'\nexport const find = (agent: Agent) => agent.id + id`,
  'ledger/ledger.service.ts': `import { find } from '../platform/database/database.service.js'
    import { insert } from './ledger.queries.js'\nexport const append = () => [find, insert]`,
  'ledger/ledger.queries.ts': `export const insert = 1`,
  'ledger/ledger.module.ts': `export class LedgerModule {}`,
  'agents/agents.service.ts': `import { append } from '../ledger/ledger.service.js'
    import type { Agent } from '../generated/prisma/client.js'\nexport const create = (agent: Agent) => [append, agent]`,
  'agents/agents.controller.ts': `import { create } from './agents.service.js'\nexport const post = create`,
  'agents/agents.module.ts': `import { post } from './agents.controller.js'\nimport { LedgerModule } from '../ledger/ledger.module.js'
    export class AgentsModule { all = [post, LedgerModule] }`,
  'compat/old.module.ts': `import { AgentsModule } from '../agents/agents.module.js'\nexport class OldModule { all = [AgentsModule] }`,
  'app.module.ts': `import { AgentsModule } from './agents/agents.module.js'\nimport { OldModule } from './compat/old.module.js'
    import { find } from './platform/database/database.service.js'\nexport class AppModule { all = [AgentsModule, OldModule, find] }`,
  'main.ts': `import { AppModule } from './app.module.js'\nnew AppModule()`,
}

it('finds nothing wrong with a house in order, spec files included', () => {
  expect(violations({})).toEqual([])
})

const WRONG: [rule: string, file: string, content: string][] = [
  [
    'core-is-pure',
    'core/clock.ts',
    `import { readFileSync } from 'node:fs'\nexport const now = readFileSync`,
  ],
  [
    'core-is-pure',
    'core/http.ts',
    `import { Injectable } from '@nestjs/common'\nexport const x = Injectable`,
  ],
  [
    'core-is-pure',
    'core/row.ts',
    `import type { Agent } from '../generated/prisma/client.js'\nexport type Row = Agent`,
  ],
  [
    'core-is-pure',
    'core/db.ts',
    `import { find } from '../platform/database/database.service.js'\nexport const x = find`,
  ],
  [
    'platform-below-capabilities',
    'platform/http/a.ts',
    `import { create } from '../../agents/agents.service.js'\nexport const x = create`,
  ],
  [
    'platform-below-capabilities',
    'platform/http/b.ts',
    `import type { AgentsModule } from '../../agents/agents.module.js'\nexport type X = AgentsModule`,
  ],
  [
    'front-door',
    'keys/keys.service.ts',
    `import { post } from '../agents/agents.controller.js'\nexport const x = post`,
  ],
  [
    'front-door',
    'keys/keys.queries.ts',
    `import { insert } from '../ledger/ledger.queries.js'\nexport const x = insert`,
  ],
  [
    'front-door',
    'compat/old.controller.ts',
    `import { post } from '../agents/agents.controller.js'\nexport const x = post`,
  ],
  [
    'front-door-for-bootstrap',
    'openapi.ts',
    `import { insert } from './ledger/ledger.queries.js'\nexport const x = insert`,
  ],
  [
    'ledger-below-capabilities',
    'ledger/reader.ts',
    `import { create } from '../agents/agents.service.js'\nexport const x = create`,
  ],
  [
    'bootstrap-on-top',
    'agents/agents.worker.ts',
    `import { AppModule } from '../app.module.js'\nexport const x = AppModule`,
  ],
  [
    'compat-owns-nothing',
    'agents/agents.dto.ts',
    `import { OldModule } from '../compat/old.module.js'\nexport const x = OldModule`,
  ],
  [
    'generated-client',
    'agents/agents.dto.ts',
    `import type { Agent } from '../generated/prisma/client.js'\nexport type X = Agent`,
  ],
  ['shipped-dependencies', 'platform/a.ts', `import fc from 'fast-check'\nexport const x = fc`],
  ['resolvable', 'platform/a.ts', `import { x } from './nowhere.js'\nexport const y = x`],
]

// One run for all: each wrong file violates its own rule and no file of the house is blamed.
describe('a house with one wrong import in each of these files', () => {
  let found: Violation[]
  const files = WRONG.map(([rule, file, content], index) => ({
    rule,
    file: file.replace(/([^/.]+)(\.|$)/, `$1-${index}$2`),
    content,
  }))

  beforeAll(() => {
    found = violations(Object.fromEntries(files.map(({ file, content }) => [file, content])))
  })

  it.each(files)('$rule: $file', ({ rule, file }) => {
    expect(found).toContainEqual({ rule, from: file })
  })

  it('blames nobody else', () => {
    const wrong = new Set(files.map(({ file }) => file))
    expect(found.filter(({ from }) => !wrong.has(from))).toEqual([])
  })
})

it('no-cycles: refuses two files that import each other, and lets pass a cycle of types', () => {
  const other = (name: string) => `import { ${name} } from './${name}.js'\n`
  expect(
    violations({
      'platform/one.ts': `${other('two')}export const one = () => two`,
      'platform/two.ts': `${other('one')}export const two = () => one`,
    }).map(({ rule }) => rule),
  ).toEqual(['no-cycles'])
  expect(
    violations({
      'platform/one.ts': `${other('two').replace('import', 'import type')}export type one = two[]`,
      'platform/two.ts': `${other('one').replace('import', 'import type')}export type two = one[]`,
    }),
  ).toEqual([])
})

describe('the linter in src/core', () => {
  async function complaints(code: string, filePath: string): Promise<(string | null)[]> {
    // Rules that need types would need the file to exist; the rules of purity do not.
    const withoutTypes = {
      ...tseslint.configs.disableTypeChecked,
      languageOptions: { parserOptions: { project: false } },
    }
    const eslint = new ESLint({ cwd: root, overrideConfig: withoutTypes as ESLint.Options['overrideConfig'] })
    const [result] = await eslint.lintText(code, { filePath: path.join(root, filePath) })
    return (result?.messages ?? []).map(({ ruleId }) => ruleId)
  }

  it.each([
    ['no-restricted-properties', 'export const now = () => Date.now()'],
    ['no-restricted-properties', 'export const dice = () => Math.random()'],
    ['no-restricted-syntax', 'export const now = () => new Date()'],
    ['no-restricted-syntax', 'export const later = async (work: Promise<void>) => { await work }'],
    ['no-restricted-globals', 'export const env = () => process.env'],
    ['no-restricted-globals', 'export const id = () => crypto.randomUUID()'],
    ['no-restricted-imports', `export { readFileSync } from 'node:fs'`],
    ['no-restricted-imports', `export { Injectable } from '@nestjs/common'`],
  ])('%s: %s', async (rule, code) => {
    expect(await complaints(code, 'src/core/impure.ts')).toEqual([rule])
    expect(await complaints(code, 'src/platform/impure.ts')).toEqual([])
  })

  it('lets a given instant be read', async () => {
    expect(
      await complaints('export const day = (now: number) => new Date(now).getUTCDay()', 'src/core/pure.ts'),
    ).toEqual([])
  })
})
