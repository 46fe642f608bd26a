// npm run test:faults | test:freshness | test:full: the suites that kill processes and take minutes, one after the other.
//   --full   as much as the targets ask for (about half an hour) instead of what CI does (about five minutes)
import { spawnSync } from 'node:child_process'
import path from 'node:path'

const [suite, ...rest] = process.argv.slice(2)
const full = rest.includes('--full')
const root = path.join(import.meta.dirname, '..', '..')
const jest = path.join(root, 'node_modules', 'jest', 'bin', 'jest.js')
const patterns = suite === 'all' ? [] : [`/test/${suite}/`]

const { status } = spawnSync(
  process.execPath,
  [
    '--experimental-vm-modules',
    '--disable-warning=ExperimentalWarning',
    jest,
    '--config',
    'test/faults/jest.config.cjs',
    ...patterns,
    ...rest.filter((argument) => argument !== '--full'),
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, AGENTGUARD_TEST_SIZE: full ? 'full' : 'ci' },
  },
)
process.exitCode = status ?? 1
