import tseslint from 'typescript-eslint'

/** What the purity of src/core means to a linter; its own tsconfig (no Node types) and dependency-cruiser say the rest. */
const PURE = {
  'no-restricted-properties': [
    'error',
    { object: 'Date', property: 'now', message: 'Time comes in as an argument: one `now` a request.' },
    { object: 'Math', property: 'random', message: 'Randomness comes in as an argument.' },
  ],
  'no-restricted-syntax': [
    'error',
    {
      selector: 'NewExpression[callee.name="Date"][arguments.length=0]',
      message: 'Time comes in as an argument: one `now` a request.',
    },
    {
      selector: 'CallExpression[callee.name="Date"]',
      message: 'Time comes in as an argument: one `now` a request.',
    },
    { selector: 'AwaitExpression', message: 'core does no input or output, so it has nothing to wait for.' },
  ],
  'no-restricted-globals': [
    'error',
    ...[
      'process',
      'Buffer',
      'crypto',
      'performance',
      'fetch',
      'console',
      'setTimeout',
      'setInterval',
      'setImmediate',
      'queueMicrotask',
      'globalThis',
    ].map((name) => ({ name, message: 'core is pure: what it needs comes in as an argument.' })),
  ],
  'no-restricted-imports': [
    'error',
    {
      patterns: [
        { regex: '^(?!\\.{1,2}/)', message: 'core imports core only: no packages, no Node modules.' },
      ],
    },
  ],
}

export default tseslint.config(
  {
    ignores: [
      'dist/',
      'coverage/',
      'src/generated/',
      'sdk/src/generated/',
      'node_modules/',
      '.data/',
      'ui/out/',
      'ui/.next/',
      'ui/next-env.d.ts',
      'sdk/dist/',
    ],
  },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: {
      parserOptions: { project: './tsconfig.test.json', tsconfigRootDir: import.meta.dirname },
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      // The part of ESLint's own recommendation that the compiler does not already say.
      'no-constant-condition': ['error', { checkLoops: false }],
      'no-control-regex': 'error',
      'no-empty': 'error',
      'no-self-assign': 'error',
      'no-unreachable-loop': 'error',
      'no-unsafe-finally': 'error',
      'no-useless-escape': 'error',
      'no-var': 'error',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-console': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      // Knows that a class which a decorated constructor injects must stay a value import: Nest reads it at run time.
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', ignoreRestSiblings: true }],
      // Many methods are async because their interface is; a promise that was not awaited is caught above.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
    },
  },
  {
    // The dashboard is compiled on its own, for browsers. What it shows was often chosen by an agent: text, never HTML.
    files: ['ui/**/*.{ts,tsx}'],
    languageOptions: {
      parserOptions: { project: './ui/tsconfig.json', tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector: 'JSXAttribute[name.name="dangerouslySetInnerHTML"]',
          message: 'The dashboard shows text. What agents send must never become HTML.',
        },
        {
          selector: 'JSXAttribute[name.name="style"]',
          message: 'The policy of the pages (CSP) refuses style attributes: use a class.',
        },
      ],
      'no-restricted-properties': [
        'error',
        ...['innerHTML', 'outerHTML', 'insertAdjacentHTML'].map((property) => ({
          property,
          message: 'The dashboard shows text. What agents send must never become HTML.',
        })),
      ],
    },
  },
  { files: ['src/core/**/*.ts'], ignores: ['**/*.spec.ts'], rules: PURE },
  {
    // Programs talk to their user.
    files: ['src/*.ts', 'prisma/*.ts', 'scripts/**', 'bench/**', 'sdk/examples/**', 'test/global-*.ts'],
    rules: { 'no-console': 'off' },
  },
  {
    // Bodies of HTTP answers are untyped where they are only compared; an index that is absent fails the test anyway.
    files: ['test/**/*.ts', '**/*.spec.ts'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  // Plain JavaScript is not part of a TypeScript project: no rules that need types.
  { files: ['**/*.{js,mjs,cjs}'], ...tseslint.configs.disableTypeChecked },
  { files: ['**/*.cjs', '*.js'], rules: { '@typescript-eslint/no-require-imports': 'off' } },
)
