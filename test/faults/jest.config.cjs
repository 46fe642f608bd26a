/** The suites that need minutes and a machine of their own: `npm run test:faults`, `npm run test:freshness`. */
const { globalSetup, globalTeardown, ...base } = require('../../jest.config.js')

/** @type {import('jest').Config} */
module.exports = {
  ...base,
  rootDir: '../..',
  roots: ['<rootDir>/test/faults', '<rootDir>/test/freshness'],
  testRegex: '\\.fault-spec\\.ts$',
  maxWorkers: 1,
}
