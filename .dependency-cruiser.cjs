// The house's import rules (docs: design, section 3). Imports go one way:
//   core ← platform ← capabilities ← the files directly in src/ (app.module, main, openapi)
// A capability is a folder of src/ that is none of these. Type imports count like any others; specs are exempt.
// test/architecture.e2e-spec.ts proves that each rule bites.

const NOT_A_CAPABILITY = '(?:core|platform|generated)'
const CAPABILITY = `^src/(?!${NOT_A_CAPABILITY}/)[^/]+/`
const FRONT = '\\.(module|service|dto)\\.ts$'

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'core-is-pure',
      comment: 'core decides; time, randomness, hashing and data come in as arguments.',
      severity: 'error',
      from: { path: '^src/core/' },
      to: { pathNot: '^src/core/' },
    },
    {
      name: 'platform-below-capabilities',
      comment:
        'platform is infrastructure: it knows core and itself. Let the capability register what platform calls.',
      severity: 'error',
      from: { path: '^src/platform/' },
      to: { path: CAPABILITY },
    },
    {
      name: 'front-door',
      comment: 'A capability is imported only through its module, service and dto files.',
      severity: 'error',
      from: { path: `^src/(?!${NOT_A_CAPABILITY}/)([^/]+)/` },
      to: { path: CAPABILITY, pathNot: ['^src/$1/', FRONT] },
    },
    {
      name: 'front-door-for-bootstrap',
      comment: 'The files directly in src/ put capabilities together; they too use the front door.',
      severity: 'error',
      from: { path: '^src/[^/]+\\.ts$' },
      to: { path: CAPABILITY, pathNot: FRONT },
    },
    {
      name: 'ledger-below-capabilities',
      comment: 'Every writer imports ledger; ledger imports none of them.',
      severity: 'error',
      from: { path: '^src/ledger/' },
      to: { path: CAPABILITY, pathNot: '^src/ledger/' },
    },
    {
      name: 'bootstrap-on-top',
      comment: 'Nothing imports app.module, main or openapi, except each other.',
      severity: 'error',
      from: { path: '^src/[^/]+/' },
      to: { path: '^src/[^/]+\\.ts$' },
    },
    {
      name: 'compat-owns-nothing',
      comment: 'Old spellings of routes call the present ones, never the other way round.',
      severity: 'error',
      from: { path: '^src/[^/]+/', pathNot: '^src/compat/' },
      to: { path: '^src/compat/' },
    },
    {
      name: 'generated-client',
      comment: 'The Prisma client is used by platform/database, its types by services, queries and workers.',
      severity: 'error',
      from: {
        pathNot: ['^src/(generated|platform/database)/', '^src/.+\\.(service|queries|worker|store)\\.ts$'],
      },
      to: { path: '^src/generated/' },
    },
    {
      name: 'no-cycles',
      comment: 'A cycle has no place to start reading. Cycles of types only vanish when compiled.',
      severity: 'error',
      from: { pathNot: '^src/generated/' },
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'shipped-dependencies',
      comment: 'What runs in production must be a dependency, not a development one.',
      severity: 'error',
      from: { path: '^(src|prisma)/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'resolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '\\.(spec|e2e-spec)\\.ts$' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    combinedDependencies: false,
  },
}
