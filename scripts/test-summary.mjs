// .ci/run: the last line, in plain words, from the result file that Jest wrote.
import { existsSync, readFileSync } from 'node:fs'

const file = process.argv[2]
if (!existsSync(file)) {
  console.log('The tests did not run: an earlier step failed, see above.')
  console.log('0 passed, 1 failed')
  process.exit(1)
}
const result = JSON.parse(readFileSync(file, 'utf8'))
// A suite that does not even load has no tests in it, and must not look like a success.
const failed = result.numFailedTests + result.numRuntimeErrorTestSuites
const skipped = result.numPendingTests + result.numTodoTests
console.log(`${result.numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed > 0 || !result.success ? 1 : 0
