// npm run test:faults | test:freshness | test:full: the suites that kill processes and take minutes, one after the other.
//   crashes  only the files whose path matches (test:faults)
//   --full   as much as the targets ask for (about half an hour) instead of what CI does (about five minutes)
import { spawnSync } from 'node:child_process'
import path from 'node:path'

const [suite, ...rest] = process.argv.slice(2)
const full = rest.includes('--full')
const root = path.join(import.meta.dirname, '..', '..')
const jest = path.join(root, 'node_modules', 'jest', 'bin', 'jest.js')
// Jest would run what matches any pattern, so one pattern of the caller takes the place of the folder's.
const picked = rest.some((argument) => /^\w+$/.test(argument))
const patterns = suite === 'all' || picked ? [] : [`/test/${suite}/`]

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
