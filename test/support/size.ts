/** How much the fault and freshness suites do: `full` (`npm run test:full`) proves the targets, `ci` that nothing broke. */
const FULL = process.env.AGENTGUARD_TEST_SIZE === 'full'

export const sized = <T>(ci: T, full: T): T => (FULL ? full : ci)

/** A line of the report. Jest's own console would wrap it in a stack trace. */
export function report(line: string): void {
  process.stderr.write(`  ${line}\n`)
}
