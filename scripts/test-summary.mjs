// .ci/run: the last line, in plain words, from the result files that Jest wrote.
import { existsSync, readFileSync } from 'node:fs'

let passed = 0
let failed = 0
let skipped = 0
for (const file of process.argv.slice(2)) {
  if (!existsSync(file)) {
    console.log(`There is no ${file}: these tests did not run, because an earlier step failed, see above.`)
    failed++
    continue
  }
  const result = JSON.parse(readFileSync(file, 'utf8'))
  // A suite that does not even load has no tests in it, and must not look like a success.
  const broken = result.numFailedTests + result.numRuntimeErrorTestSuites
  passed += result.numPassedTests
  failed += broken === 0 && !result.success ? 1 : broken
  skipped += result.numPendingTests + result.numTodoTests
}
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed > 0 ? 1 : 0
